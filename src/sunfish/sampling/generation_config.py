"""How a checkpoint is best sampled: the settings that ``sunfish bench`` found, and those of a text in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sunfish.checkpoint.metadata import SAMPLING
from sunfish.config import GenerationConfig
from sunfish.config.effects import refuse_ineffective_generation
from sunfish.config.generation import FILLING
from sunfish.disk.json_file import read_json
from sunfish.sampling.unmasking import get_policy

GUIDED = {"guidance_scale", "negative_prompt", "plausibility"}  # settings of guidance above 1
BEST, FAST = "best", "fast"  # the best text; the best within a second, where there is one


def write_generation_config(checkpoint: Path, configs: dict[str, GenerationConfig]) -> Path:
    """Write the recommended settings next to the weights; only what differs from the defaults is written."""
    default = asdict(GenerationConfig())
    content = {
        name: {key: value for key, value in asdict(config).items() if value != default[key]}
        for name, config in configs.items()
    }
    path = checkpoint / SAMPLING
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def read_generation_config(checkpoint: Path, which: str = BEST) -> GenerationConfig:
    """The settings ``best`` or ``fast`` of a checkpoint; the defaults where it has no file.

    Raises:
        ValueError: The file cannot be understood, or ``fast`` is asked for and nothing was found.
    """
    path = checkpoint / SAMPLING
    if not path.is_file():
        if which != BEST:
            raise ValueError(
                f"{checkpoint} has no {SAMPLING}; measure what is fast: sunfish bench sample {checkpoint}"
            )
        return GenerationConfig()
    try:
        content: dict[str, dict[str, Any]] = read_json(path)
        missing = which != BEST and which not in content
        config = GenerationConfig(**content[BEST if missing else which])
        if config.has_policy:
            get_policy(config.sampler)
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise ValueError(f"{path} is damaged ({why}); delete it, or run sunfish bench sample again") from why
    if missing:
        raise ValueError(f"sunfish bench sample found no setting {which!r} for {path}; leave out --{which}")
    return config


def settings_for(
    base: GenerationConfig,
    given: Mapping[str, Any],
    *,
    prompted: bool,
    fills: bool = False,
    default_sampler: str,
) -> GenerationConfig:
    """What a user gave, in the place of what suits the checkpoint.

    Args:
        base: The checkpoint's own settings.
        given: Fields with their values.
        prompted: Whether there is a prompt to guide by; without one, both sides of guidance are the same.
        fills: Whether gaps are filled: by ``FILLING``, whatever suits the checkpoint's texts.
        default_sampler: Of the model's process: what a number of steps asks for where no sampler is given.

    Raises:
        UsageError: A setting is wrong, or has no effect.
    """
    if fills:
        base = FILLING
        if given.keys() & GUIDED:
            base = replace(base, guidance_scale=GenerationConfig.guidance_scale)
    stepped = base.is_verified and "sampler" not in given and "num_steps" in given
    config = base.changed(**({"sampler": default_sampler} if stepped else {}), **given)
    if fills and not config.is_verified and "temperature" not in given:
        # A canvas samples no posterior: the temperature would sharpen the drawn tokens alone.
        config = replace(config, temperature=GenerationConfig.temperature)
    if not prompted and not config.negative_prompt:
        config = replace(config, guidance_scale=0.0)
    refuse_ineffective_generation(config, given)
    if config.has_policy:
        get_policy(config.sampler)
    return config
