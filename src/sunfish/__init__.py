"""SunFish: a diffusion language model that you train on your own computer and steer with prompts.

Names are loaded when they are first used, so that ``import sunfish`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sunfish.checkpoint.folder import load_checkpoint
    from sunfish.config import Config, GenerationConfig
    from sunfish.config.presets import preset
    from sunfish.sampling.generated import Generated
    from sunfish.sampling.hub_pipeline import HubPipeline
    from sunfish.sampling.pipeline import Pipeline
    from sunfish.training.trainer import train

_HOMES = {
    "Config": "sunfish.config",
    "GenerationConfig": "sunfish.config",
    "Generated": "sunfish.sampling.generated",
    "HubPipeline": "sunfish.sampling.hub_pipeline",
    "Pipeline": "sunfish.sampling.pipeline",
    "load_checkpoint": "sunfish.checkpoint.folder",
    "preset": "sunfish.config.presets",
    "train": "sunfish.training.trainer",
}
__all__ = [
    "Config",
    "Generated",
    "GenerationConfig",
    "HubPipeline",
    "Pipeline",
    "load_checkpoint",
    "preset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sunfish' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
