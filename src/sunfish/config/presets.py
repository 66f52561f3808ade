"""The sizes: one name for each, from a toy to a cluster's."""

from __future__ import annotations

from typing import Any

from sunfish.config import Config
from sunfish.config.rules import did_you_mean, shown
from sunfish.utils import UsageError

# What differs from the defaults of the classes in sunfish.config, which are micro's.
_PRESETS: dict[str, dict[str, Any]] = {
    "nano": dict(
        vocab_size=1536,
        n_layer=2,
        n_head=2,
        n_embd=64,
        mlp_ratio=8 / 3,
        stories=20_000,
        batch_size=8,
        learning_rate=0.03,
        max_minutes=5.0,
    ),
    "tiny": dict(
        vocab_size=2560,
        n_layer=2,
        n_head=5,
        n_embd=120,
        mlp_ratio=8 / 3,
        learning_rate=0.03,
        max_minutes=20.0,
    ),
    "small": dict(
        vocab_size=4096,
        n_head=5,
        n_embd=320,
        mlp_ratio=8 / 3,
        max_minutes=60.0,
    ),
    "micro": {},
    "base": dict(
        vocab_size=16_384,
        n_layer=12,
        n_head=12,
        mlp_ratio=8 / 3,
        context_length=1024,
        prompt_length=128,
        batch_size=32,
        max_minutes=24 * 60.0,
    ),
    "full": dict(
        vocab_size=32_768,
        n_layer=18,
        n_head=16,
        n_embd=2048,
        mlp_ratio=8 / 3,
        context_length=2048,
        prompt_length=128,
        n_prompt_layer=2,
        batch_size=64,
        max_minutes=7 * 24 * 60.0,
    ),
}
PRESETS: tuple[str, ...] = tuple(_PRESETS)


def preset(name: str, /, **values: Any) -> Config:
    """The preset ``name``, with some fields changed.

    Raises:
        UsageError: for a name that is not in ``PRESETS``, and as :meth:`Config.with_fields` for ``values``.
    """
    if name not in _PRESETS:
        near = did_you_mean(name, PRESETS)
        raise UsageError(f"config is {shown(name)}; the presets are: {', '.join(PRESETS)}{near}")
    return Config().with_fields(name=name, **_PRESETS[name]).with_fields(**values)
