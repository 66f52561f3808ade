"""The presets for editing: train.py --config NAME begins with NAME_config.py (full: model_config.py)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sunfish.config import Config
from sunfish.config.presets import preset

FILES = {"full": "model_config"}


def get_config(name: str) -> Config:
    """The configuration of the file of preset ``name``, without printing anything."""
    module = importlib.import_module(f"config.{FILES.get(name, name + '_config')}")
    return getattr(module, f"get_{name}_config")(show=False)


def build(name: str, values: Mapping[str, Any], show: bool) -> Config:
    """Preset ``name`` with the fields that a file of this folder sets; ``show`` prints size and shape.

    ``values`` are the file's globals. A number or text among them that is no field is a ``ValueError``.
    """
    groups = (getattr(Config(), group.name) for group in fields(Config))
    known = {field.name for group in groups for field in fields(group)}
    mistyped = [
        field
        for field, value in values.items()
        if isinstance(value, (int, float, str, tuple)) and field not in known and not field.startswith("_")
    ]
    if mistyped:
        raise ValueError(
            f"the file of config {name} sets {', '.join(mistyped)}, which is no field; see sunfish train --help"
        )
    config = preset(name, **{field: value for field, value in values.items() if field in known})
    if show:
        from sunfish.model.cost import describe

        print(describe(config))
    return config
