"""The denoising loop: block by block, streaming, with memory, for every process and every infill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sunfish.randomness import Streams
from sunfish.revision import Reader, revised
from sunfish.samplers import VERIFIED, get_sampler, verified_passes
from sunfish.schedules import time_grid
from sunfish.types import Condition, Denoiser, Past, Process, State

GUIDANCE_SCALE = 3.0  # where a prompt is given and no scale
CONSTANT, RISING = "constant", "rising"  # schedules of guidance


@dataclass(frozen=True)
class SamplingSettings:
    """How a text is drawn. ``num_steps`` denoising steps are walked in every block."""

    num_steps: int = 20
    """Denoising steps of each block; more are slower and better, up to one token a step. verified needs none."""
    block_length: int = 8
    """Positions that are denoised together; 0: the whole text is one block."""
    sampler: str = VERIFIED
    """verified: the canvas drafts, the memory checks (verified:1: both in one pass). Others: ``sunfish.samplers``."""
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
        if not self.verifies:
            get_sampler(self.sampler)
        elif self.block_length == 0:
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


def sharpen(logits: Tensor, settings: SamplingSettings) -> Tensor:
    """Logits ``[..., V]`` at the settings' temperature (0: all mass on the likeliest token), cut to their nucleus.

    The nucleus (Holtzman et al. 2020, arXiv:1904.09751, eq. 3) is the smallest set of likeliest tokens whose
    probability, after the temperature, reaches ``top_p``.
    """
    if settings.temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter_(-1, best, 0.0)
    if settings.temperature != 1:
        logits = logits / settings.temperature
    if settings.top_p < 1:
        ordered, order = torch.softmax(logits.double(), dim=-1).sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= settings.top_p)
        logits = logits.masked_fill(outside, -torch.inf)
    return logits


class Snapshot(NamedTuple):
    """A block ``x [B, <= block_length]`` that begins at position ``start``, after one denoising step.

    ``done``: it is finished, and ``x`` holds ids. Before that it is the state of the process.
    """

    start: int
    x: State
    done: bool


def generate(
    denoiser: Denoiser,
    process: Process,
    cond: Condition,
    given: Tensor,
    free: Tensor,
    rng: Streams,
    settings: SamplingSettings,
    end: int | None = None,
) -> Iterator[Tensor]:
    """The ids of each block ``[B, <= block_length]`` as it is done; see :func:`snapshots`."""
    for snapshot in snapshots(denoiser, process, cond, given, free, rng, settings, end):
        if snapshot.done:
            yield snapshot.x


@torch.inference_mode()
def snapshots(
    denoiser: Denoiser,
    process: Process,
    cond: Condition,
    given: Tensor,
    free: Tensor,
    rng: Streams,
    settings: SamplingSettings,
    end: int | None = None,
) -> Iterator[Snapshot]:
    """Denoise the free positions block by block; yield the state after every step, and each block as it is done.

    ``given [B, N]`` holds the known ids, ``free [B, N]`` is True where a token shall be drawn; the known ones have
    time 0 and never change. With ``end`` the loop stops after the block in which every row has that id at a
    position after the first, so that nothing behind the end of a text is computed.
    """
    length = given.shape[1]
    block = settings.block_length or length
    grid = time_grid(settings.num_steps)
    sampler = get_sampler(settings.sampler)
    if settings.sampler.partition(":")[0] not in process.samplers:
        raise ValueError(
            f"sampler is {settings.sampler!r}, but the samplers of this model's process are: "
            f"{', '.join(process.samplers)}, {VERIFIED}"
        )
    past: Past | None = None
    last: Tensor | None = None  # what the memory expects at the block's first position
    ended = torch.zeros(given.shape[0], dtype=torch.bool, device=given.device)
    for start in range(0, length, block):
        known, open_ = given[:, start : start + block], free[:, start : start + block]
        # Blocks draw from streams of their own: rows need different numbers of steps, and wait for one another.
        block_rng = rng.fork(start)
        x = process.corrupt(known, open_.double(), denoiser.table, block_rng)
        yield Snapshot(start, x, False)
        logits: Tensor | None = None
        belief: Tensor | None = None
        for t, s in pairwise(grid):
            if not bool(open_.any()):
                break
            if logits is None or process.sees_time:
                belief = denoiser(x, t * open_.float(), cond, past, start)
                logits = sharpen(belief, settings)
            stepped = process.step(logits, x, t, s, denoiser.table, block_rng, sampler, belief)
            moved = torch.where(open_ if x.ndim == 2 else open_[..., None], stepped, x)
            # Where the time is not seen, the same canvas has the same logits: no pass is repeated.
            if not torch.equal(moved, x):
                x, logits = moved, None
                yield Snapshot(start, x, False)
                if (
                    not process.sees_time
                    and sampler.reopen is None
                    and not bool(process.scored(x, open_.float(), denoiser.table).any())
                ):
                    break
        ids = process.decode(x, denoiser.table)
        if settings.revisions and bool(open_.any()):
            reader = Reader(denoiser, cond, past, last)
            sharp = partial(sharpen, settings=settings)
            for version in revised(reader, process, ids, open_, start, settings.revisions, sharp, block_rng):
                ids = version
                yield Snapshot(start, ids, False)
        yield Snapshot(start, ids, True)
        if end is not None:
            ended = ended | (ids[:, 1:] if start == 0 else ids).eq(end).any(dim=1)
            if bool(ended.all()):
                return
        if start + block < length:
            past, logits = denoiser.remember(ids, cond, past)
            last = logits[:, -1:]
