"""The presets for editing: train.py --config NAME begins with NAME_config.py (full: model_config.py)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sunfish.config import FIELD_GROUPS, Config
from sunfish.config.presets import preset
from sunfish.utils import UsageError

FILES = {"full": "model_config"}


def get_config(name: str) -> Config:
    """The configuration of the file of preset ``name``, without printing anything."""
    module = importlib.import_module(f"config.{FILES.get(name, name + '_config')}")
    return getattr(module, f"get_{name}_config")(show=False)


def build(name: str, values: Mapping[str, Any], show: bool) -> Config:
    """Preset ``name`` with the fields that a file of this folder sets.

    Args:
        name: the preset.
        values: the globals of the file.
        show: whether to print the size and the shape of the model.

    Raises:
        UsageError: for a number or text among ``values`` that is no field, and for a wrong value.
    """
    mistyped = [
        field
        for field, value in values.items()
        if isinstance(value, (int, float, str, tuple))
        and field not in FIELD_GROUPS
        and not field.startswith("_")
    ]
    if mistyped:
        raise UsageError(
            f"the file of config {name} sets {', '.join(mistyped)}, which is no field; "
            "see sunfish train --help-all"
        )
    config = preset(name, **{field: value for field, value in values.items() if field in FIELD_GROUPS})
    if show:
        from sunfish.model.cost import describe

        print(describe(config))
    return config
