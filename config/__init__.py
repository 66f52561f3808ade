"""The presets for editing: train.py --config NAME begins with NAME_config.py (full: model_config.py)."""

from __future__ import annotations

import importlib

from sunfish.config import Config

FILES = {"full": "model_config"}


def get_config(name: str) -> Config:
    """The configuration of the file of preset ``name``, without printing anything."""
    module = importlib.import_module(f"config.{FILES.get(name, name + '_config')}")
    return getattr(module, f"get_{name}_config")(show=False)
