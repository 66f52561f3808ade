"""How a text is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

GUIDANCE_SCALE = 3.0  # where a prompt is given and no scale
CONSTANT, RISING = "constant", "rising"  # schedules of guidance

VERIFIED = "verified"  # not a choice of positions but another loop: sunfish.sampling.speculative
PASSES = 2  # of a round of it, the canvas's and the memory's; verified:1 has both in one


def verified_passes(name: str) -> int:
    """Passes in a round of the sampler ``name``; 0 if it is not verified. ``ValueError`` for a wrong number."""
    kind, colon, text = name.partition(":")
    if kind != VERIFIED:
        return 0
    if colon and text not in ("1", "2"):
        raise ValueError(
            f"sampler is {name!r}: give {VERIFIED}:1, one pass a round, or {VERIFIED}:2, the usual two"
        )
    return int(text) if colon else PASSES


@dataclass(frozen=True)
class SamplingSettings:
    """How a text is drawn. ``num_steps`` denoising steps are walked in every block."""

    num_steps: int = 20
    """Denoising steps of each block; more are slower and better, up to one token a step. verified needs none."""
    block_length: int = 8
    """Positions that are denoised together; 0: the whole text is one block."""
    sampler: str = VERIFIED
    """verified: the canvas drafts, the memory checks (verified:1: both in one pass). Others: SAMPLING.md."""
    temperature: float = 0.5
    """Below 1 sharpens each token's distribution; 0 takes the likeliest token."""
    plausibility: float = 0.3
    """Under guidance above 1, tokens below this share of the likeliest one's probability are out; 0: none are."""
    negative_prompt: str = ""
    """What guidance above 1 shall lead away from, in place of no prompt."""
    also: tuple[tuple[str, float], ...] = ()
    """Further prompts with their weights, beside the first one, whose weight is 1."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """The part of each block's denoising, 0 (all noise) to 1, in which guidance is on."""
    guidance_schedule: str = CONSTANT
    """constant, or rising: from scale 1 at the beginning of each block's denoising to the full scale at its end."""
    revisions: int = 0
    """Rounds in which the memory reads each block and the canvas writes anew what it finds unlikely."""
    top_p: float = 1.0
    """Draw only among the likeliest tokens that together have this probability; 1: among all."""
    lenience: float = 1.0
    """verified takes a drafted token that is less likely than in the draft by up to this factor; 1: exact."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}, but denoising needs at least 1 step")
        if self.block_length < 0:
            raise ValueError(f"block_length is {self.block_length}: give 1 or more, or 0 for the whole text")
        if self.verifies and self.block_length == 0:
            raise ValueError(
                "block_length is 0, but verified drafts a block at a time; give 4 to 16, or 1 for no draft"
            )
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}: give 0 (greedy) or more")
        if self.revisions < 0:
            raise ValueError(f"revisions is {self.revisions}, but it must not be negative")
        if self.revisions and self.verifies:
            raise ValueError(
                "revisions is for the samplers of the canvas; verified reads every token already"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: give a probability above 0, up to 1")
        if not 0 < self.lenience <= 1:
            raise ValueError(
                f"lenience is {self.lenience}: give 1 (exact), or less, such as 0.5, to be faster"
            )
        if self.lenience < 1 and not self.verifies:
            raise ValueError(
                f"lenience is for verified, which judges a draft; {self.sampler} has none: leave it out"
            )
        low, high = self.guidance_interval
        if not 0 <= low < high <= 1:
            raise ValueError(
                f"guidance_interval is {low:g} {high:g}: give two numbers, 0 <= first < second <= 1"
            )
        if self.guidance_schedule not in (CONSTANT, RISING):
            raise ValueError(
                f"guidance_schedule is {self.guidance_schedule!r}; the schedules are: {CONSTANT}, {RISING}"
            )
        if self.verifies and ((low, high) != (0, 1) or self.guidance_schedule != CONSTANT):
            raise ValueError(
                "guidance_interval and guidance_schedule need denoising steps, and verified has none; choose another "
                "sampler, such as leftmost"
            )
        if not 0 <= self.plausibility <= 1:
            raise ValueError(
                f"plausibility is {self.plausibility}: give a share from 0 (plain guidance) to 1"
            )

    @property
    def verifies(self) -> bool:
        """Whether the memory checks what the canvas drafts, so that there are no denoising steps."""
        return verified_passes(self.sampler) > 0

    def changed(self, **given: Any) -> SamplingSettings:
        """These settings with ``given`` in their place, for settings that a checkpoint came with.

        What only the other kind of sampler has is not carried over to the one that is given.
        """
        verifies = verified_passes(given.get("sampler", self.sampler)) > 0
        others = ("revisions", "guidance_interval", "guidance_schedule") if verifies else ("lenience",)
        return replace(self, **{name: getattr(SamplingSettings, name) for name in others} | given)
