"""How a text is drawn: the settings of sampling, their defaults, help and rules."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sunfish.config.rules import check_types, shown
from sunfish.utils import UsageError

# Samplers with loops of their own, not unmasking policies.
VERIFIED = "verified"  # speculative decoding
CORRECTED = "corrected"  # the causal mode corrects what the canvas drafts, in so many steps
LOOPS = (VERIFIED, CORRECTED)
# Of a verified round: the canvas drafts, the causal pass checks. verified:1 has both in one.
DEFAULT_PASSES = 2
MAX_STEPS = 100_000
MAX_TEXTS = 100_000  # of one prompt, in one call
NUM_PARTICLES = 32  # fills of a gap that are compared
MAX_PARTICLES = 1024
MIN_SAMPLE_SIZE = 2.0  # effective sample size of fills below which chance decides
MAX_PENALTY = 10.0  # for a repeated token
MIN_WEIGHT = 0.001  # of a further prompt, whose weight is relative to that of the first


def check_guidance(scale: float, plausibility: float) -> None:
    """Refuse a guidance scale or a plausibility that is out of range.

    Raises:
        UsageError: for the first of them.
    """
    if not 0 <= scale < math.inf:
        raise UsageError(f"guidance_scale is {scale}: give 0 (ignore the prompt), 1 (follow it) or more")
    if not 0 <= plausibility <= 1:
        raise UsageError(f"plausibility is {plausibility}: give a share from 0 (plain guidance) to 1")


@dataclass(frozen=True)
class GenerationConfig:
    """Everything that decides how a text is drawn, less its prompt, length and seed."""

    sampler: str = VERIFIED
    """verified (the canvas drafts, the causal mode checks; verified:1: both in one pass), corrected (the canvas drafts a
    block, the causal mode corrects it, in so many steps), or an unmasking policy:
    leftmost, prefix:0.5, threshold:0.9, entropy:0.1, confidence, remask:0.05, first-hitting, ancestral (exact); for
    gaussian models ddpm, ddim:0."""
    num_steps: int = 20
    """Denoising steps of each block, at most one token each; verified needs none."""
    block_length: int = 8
    """Positions that are denoised together; 0: the whole text is one block."""
    temperature: float = 0.5
    """Below 1 sharpens each token's distribution; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw only among the likeliest tokens that together have this probability; 1: among all."""
    top_k: int = 0
    """Draw only among this many likeliest tokens; 0: among all."""
    min_p: float = 0.0
    """Draw only tokens with at least this share of the likeliest token's probability; 0: any."""
    repetition_penalty: float = 1.0
    """verified: above 1, tokens that the text has already become rarer; 1: none."""
    lenience: float = 1.0
    """verified: 1 is exact; 0.5 accepts drafted tokens up to twice as often as the model would, and is faster."""
    guidance_scale: float = 3.0
    """0 ignores the prompt, 1 follows it, above 1 insists."""
    plausibility: float = 0.3
    """With guidance above 1, drop tokens below this share of the likeliest token's conditional probability; 0: none."""
    negative_prompt: str = ""
    """What guidance above 1 leads away from, in place of no prompt."""
    composed_prompts: tuple[tuple[str, float], ...] = ()
    """Further prompts with their weights; the first prompt's weight is 1 (--also TEXT WEIGHT, repeatable)."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.num_steps < 1:
            raise UsageError(f"num_steps is {self.num_steps}, but denoising needs at least 1 step")
        if self.num_steps > MAX_STEPS:
            raise UsageError(f"num_steps is {self.num_steps}, but a block takes at most {MAX_STEPS:,} steps")
        if self.block_length < 0:
            raise UsageError(f"block_length is {self.block_length}: give 1 or more, or 0 for the whole text")
        if self.sampler.startswith(f"{CORRECTED}:"):
            raise UsageError(
                f"sampler is {shown(self.sampler)}, but {CORRECTED} takes no number; num_steps is that of a block's steps"
            )
        if self.is_verified and self.block_length == 0:
            raise UsageError(
                "block_length is 0, but verified drafts a block at a time; give 4 to 16, or 1 for no draft"
            )
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature is {self.temperature}: give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}: give a probability above 0, up to 1")
        if self.top_k < 0:
            raise UsageError(f"top_k is {self.top_k}: give a number of tokens, or 0 for all")
        if not 0 <= self.min_p <= 1:
            raise UsageError(f"min_p is {self.min_p}: give a share from 0 (any token) to 1 (the likeliest)")
        self._check_verified_only()
        check_guidance(self.guidance_scale, self.plausibility)
        if self.negative_prompt and self.guidance_scale <= 1:
            raise UsageError(
                f"negative_prompt is {shown(self.negative_prompt)}, but guidance_scale is {self.guidance_scale:g}, "
                "which does not use it; give a scale above 1"
            )
        for text, weight in self.composed_prompts:
            if not MIN_WEIGHT <= weight <= 1 / MIN_WEIGHT:
                raise UsageError(
                    f"the weight of the further prompt {shown(text)} is {weight}: give {MIN_WEIGHT:g} to "
                    f"{1 / MIN_WEIGHT:g}; the first prompt has 1. For what a text should avoid, give a negative prompt"
                )

    def _check_verified_only(self) -> None:
        """The rules of the settings that only ``verified`` has."""
        if not 0 < self.lenience <= 1:
            raise UsageError(
                f"lenience is {self.lenience}: give 1 (exact), or less, such as 0.5, to be faster"
            )
        if self.lenience < 1 and not self.is_verified:
            raise UsageError(
                f"lenience is {self.lenience}, but sampler is {self.sampler}, which verifies nothing; leave it out"
            )
        if not 1 / MAX_PENALTY <= self.repetition_penalty <= MAX_PENALTY:
            raise UsageError(
                f"repetition_penalty is {self.repetition_penalty}: give 1 (none) or more, such as 1.2, up to "
                f"{MAX_PENALTY:g}"
            )
        if self.repetition_penalty != 1 and not self.is_verified:
            raise UsageError(
                f"repetition_penalty is {self.repetition_penalty}, but sampler is {self.sampler}, which writes tokens "
                f"in no fixed order, so that none is the repeated one; give {VERIFIED}, or leave the penalty out"
            )

    @property
    def is_verified(self) -> bool:
        """Whether the causal mode checks what the canvas drafts, so that there are no denoising steps."""
        return self.passes_per_round > 0

    @property
    def passes_per_round(self) -> int:
        """Passes in a round of ``verified``; 0 for every other sampler."""
        kind, colon, number = self.sampler.partition(":")
        if kind != VERIFIED:
            return 0
        if colon and number not in ("1", "2"):
            raise UsageError(
                f"sampler is {shown(self.sampler)}: give {VERIFIED}:1, one pass a round, or {VERIFIED}:2, the usual two"
            )
        return int(number) if colon else DEFAULT_PASSES

    @property
    def is_corrected(self) -> bool:
        """Whether the causal mode corrects, in each step, what the canvas drafts."""
        return self.sampler == CORRECTED

    @property
    def has_policy(self) -> bool:
        """Whether the sampler is an unmasking policy."""
        return not self.is_verified and not self.is_corrected

    def changed(self, **given: Any) -> GenerationConfig:
        """These settings with ``given`` in their place, for settings that a checkpoint came with.

        What only ``verified`` has is not carried over to another sampler.
        """
        kind = str(given.get("sampler", self.sampler)).partition(":")[0]
        kept = {} if kind == VERIFIED else {"lenience": 1.0, "repetition_penalty": 1.0}
        return replace(self, **{**kept, **given})


# Of gaps, whatever suits a checkpoint's texts: their own posterior. Guidance has less to add where the text is given on
# both sides, and the temperature sharpens the text on the right as well.
FILLING = GenerationConfig(guidance_scale=1.0, temperature=0.7)
