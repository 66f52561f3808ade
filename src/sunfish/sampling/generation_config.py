"""How a checkpoint is best sampled: the settings that ``sunfish bench`` found, in its generation_config.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sunfish.config import GenerationConfig
from sunfish.disk.json_file import read_json
from sunfish.sampling.unmasking import get_policy

FILE = "generation_config.json"
BEST, FAST = "best", "fast"  # the best text; the best within a second, where there is one


def write_generation_config(checkpoint: Path, configs: dict[str, GenerationConfig]) -> Path:
    """Write the recommended settings next to the weights; only what differs from the defaults is written."""
    default = asdict(GenerationConfig())
    content = {
        name: {key: value for key, value in asdict(config).items() if value != default[key]}
        for name, config in configs.items()
    }
    path = checkpoint / FILE
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def read_generation_config(checkpoint: Path, which: str = BEST) -> GenerationConfig:
    """The settings ``best`` or ``fast`` of a checkpoint; the defaults where it has no file.

    Raises:
        ValueError: The file cannot be understood, or ``fast`` is asked for and nothing was found.
    """
    path = checkpoint / FILE
    if not path.is_file():
        if which != BEST:
            raise ValueError(
                f"{checkpoint} has no {FILE}; measure what is fast: sunfish bench sample {checkpoint}"
            )
        return GenerationConfig()
    try:
        content: dict[str, dict[str, Any]] = read_json(path)
        missing = which != BEST and which not in content
        config = GenerationConfig(**content[BEST if missing else which])
        if not config.is_verified:
            get_policy(config.sampler)
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise ValueError(f"{path} is damaged ({why}); delete it, or run sunfish bench sample again") from why
    if missing:
        raise ValueError(f"sunfish bench sample found no setting {which!r} for {path}; leave out --{which}")
    return config
