"""How a checkpoint is best sampled: the settings that ``sunfish bench`` found, in its generation_config.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from sunfish.config.sampling import GUIDANCE_SCALE, SamplingSettings
from sunfish.sampling.unmasking import get_sampler

FILE = "generation_config.json"
BEST, FAST = "best", "fast"  # the best text; the best within a second, where there is one


class Generation(NamedTuple):
    """One way to write."""

    settings: SamplingSettings = SamplingSettings()
    guidance_scale: float = GUIDANCE_SCALE


def write_generation(checkpoint: Path, found: dict[str, Generation]) -> Path:
    """Keep what was found beside the weights; only what differs from the defaults is written."""
    usual = asdict(SamplingSettings())
    content = {
        name: {key: value for key, value in asdict(one.settings).items() if value != usual[key]}
        | {"guidance_scale": one.guidance_scale}
        for name, one in found.items()
    }
    path = checkpoint / FILE
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def read_generation(checkpoint: Path, which: str = BEST) -> Generation:
    """The settings ``best`` or ``fast`` of a checkpoint; the defaults where it has no file.

    ``ValueError`` for a file that cannot be understood, and where ``fast`` is asked for and nothing was found.
    """
    path = checkpoint / FILE
    if not path.is_file():
        if which != BEST:
            raise ValueError(
                f"{checkpoint} has no {FILE}; measure what is fast: sunfish bench sample {checkpoint}"
            )
        return Generation()
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        absent = which != BEST and which not in content
        found = dict(content[BEST if absent else which])
        scale = float(found.pop("guidance_scale"))
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
        }
        generation = Generation(SamplingSettings(**values), scale)
        if not generation.settings.verifies:
            get_sampler(generation.settings.sampler)
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise ValueError(f"{path} is damaged ({why}); delete it, or run sunfish bench sample again") from why
    if absent:
        raise ValueError(f"sunfish bench sample found no setting {which!r} for {path}; leave out --{which}")
    return generation
