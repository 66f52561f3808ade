"""The protocols and batch types that every other file speaks; the shape legend.

Shape legend, used in every docstring and annotation of the project:
B batch, N positions, P prompt positions, D width, E embedding, V vocabulary, H heads, L layers.
Times live in [0, 1]: 0 is clean, 1 is pure noise. A known token is a token whose time is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.rng import Streams

State = Tensor  # [B, N] token ids of the discrete processes, [B, N, 2E] vectors and their estimates of the continuous
Past = Tensor  # [L+1, 2, B, H, M, D/H]: keys and values of the M remembered tokens, of every layer and the pointer
# Where a pass begins: one position, or one for each row [B], which then sees so many of the remembered tokens.
Start = int | Tensor


class Draft(NamedTuple):
    """What a canvas says of its positions 1 to W - 1: logits ``[B, W - 1, V]``."""

    alone: Tensor  # each position as if the others were unknown
    # Each told the token before it, of ids [B, W - 1]; None: the canvas has no such part.
    told: Callable[[Tensor], Tensor] | None

    def through(
        self, change: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] = lambda ids: ids
    ) -> Draft:
        """The same draft, its logits sent through ``change``, and the ids that it is told through ``before``."""
        told = self.told
        return Draft(change(self.alone), told and (lambda ids: change(told(before(ids)))))


# The drafts of canvases behind several tokens: from the one to go on behind, [B], to its draft; None: there are none.
Drafts = Callable[[Tensor], Draft] | None


class Proposal(NamedTuple):
    """What a sampler sees of one denoising step, from signal alpha_t to alpha_s > alpha_t."""

    logits: Tensor  # [B, N, V] what the model believes, before any temperature
    confidence: Tensor  # [B, N] the probability of each drawn token in that belief
    open: Tensor  # [B, N] bool: not committed yet
    alpha_t: float
    alpha_s: float
    rng: Streams

    @property
    def reveal(self) -> float:
        """The posterior's rate (alpha_s - alpha_t) / (1 - alpha_t) at which an open position is revealed."""
        return (self.alpha_s - self.alpha_t) / (1 - self.alpha_t)


class Sampler(NamedTuple):
    """Which open positions a step commits and, if any, which committed ones it reopens: ``[B, N]`` bool each."""

    commit: Callable[[Proposal], Tensor]
    reopen: Callable[[Proposal], Tensor] | None = None
    eta: float = 1.0  # for vectors: the share of fresh noise in a step, 0 for none
    draws: bool = False  # for vectors: whether a step heads for drawn tokens, not for the mean of all
    extrapolates: bool = False  # for vectors: whether the last two estimates say where the next one will be


class Example(NamedTuple):
    """One document of a corpus: what the user would type, and the text that answers it."""

    prompt: str
    text: str


class Batch(NamedTuple):
    """What one training step sees. Rows are padded with the end-of-text id, prompts are masked."""

    x0: Tensor  # [B, N] clean ids; position 0 is always the end-of-text id, known and never corrupted
    lengths: Tensor  # [B] number of real positions of each row (start and end mark included)
    prompt: Tensor  # [B, P] prompt ids
    prompt_mask: Tensor  # [B, P] bool, True where the prompt has a token

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return Batch(*(part.to(device) for part in self))


class Condition(NamedTuple):
    """What the denoiser cross-attends to: the encoded prompt as keys and values of every layer and of the pointer.

    Slot 0 is a learned null prompt, the same in training and sampling, and it is always visible. Encoding
    once per text and keeping keys and values means that no denoising step pays for the prompt again.
    """

    keys: Tensor  # [L+1, B, H, 1+P, D/H]; of the pointer alone, [1, ...], in a model without prompts
    values: Tensor  # the same
    mask: Tensor  # [B, 1+P] bool; slot 0 is always True
    scale: Tensor | None = None  # [B] guidance scale, for networks that were taught to take it in; None: 1

    def at_scale(self, scale: float) -> Condition:
        """The same prompts, with the guidance scale as an input."""
        return self._replace(scale=torch.full((self.mask.shape[0],), scale, device=self.mask.device))

    def drop(self, rows: Tensor) -> Condition:
        """Hide the prompt of the rows where ``rows [B]`` is True, so that only the null slot stays visible."""
        keep = ~rows[:, None] & self.mask
        return self._replace(mask=torch.cat([self.mask[:, :1], keep[:, 1:]], dim=1))

    def with_null(self) -> Condition:
        """The rows as they are, then the same rows with their prompts dropped: ``[2B, ...]`` for guidance."""
        return self.beside(
            self.drop(torch.ones(self.mask.shape[0], dtype=torch.bool, device=self.mask.device))
        )

    def beside(self, other: Condition) -> Condition:
        """The rows of this condition, then those of ``other``; the shorter one gets hidden prompt positions."""
        longest = max(self.mask.shape[1], other.mask.shape[1])
        one, two = self._padded(longest), other._padded(longest)
        scale = None
        if self.scale is not None or other.scale is not None:
            scale = torch.cat(
                [
                    c.mask.new_ones(len(c.mask), dtype=torch.float32) if c.scale is None else c.scale
                    for c in (self, other)
                ]
            )
        return Condition(
            torch.cat([one.keys, two.keys], dim=1),
            torch.cat([one.values, two.values], dim=1),
            torch.cat([one.mask, two.mask], dim=0),
            scale,
        )

    def _padded(self, length: int) -> Condition:
        extra = length - self.mask.shape[1]
        if not extra:
            return self
        keys, values = (F.pad(part, (0, 0, 0, extra)) for part in (self.keys, self.values))
        return Condition(keys, values, F.pad(self.mask, (0, extra), value=False), self.scale)


@runtime_checkable
class Process(Protocol):
    """A forward corruption q(x_t | x_0) with its loss and its reverse step."""

    @property
    def sees_time(self) -> bool:
        """Whether the prediction depends on the time and not only on the state."""
        ...

    @property
    def has_bound(self) -> bool:
        """Whether :meth:`loss` is a proven bound of the negative log-likelihood."""
        ...

    @property
    def samplers(self) -> tuple[str, ...]:
        """The samplers that its steps understand, the usual one first."""
        ...

    def corrupt(self, x0: Tensor, t: Tensor, table: Tensor, rng: Streams) -> State:
        """Draw x_t ~ q(x_t | x_0). ``x0 [B, N]`` ids, ``t [B, N]`` times, ``table [V+1, E]`` embeddings."""
        ...

    def estimated(self, logits: Tensor, x_t: State, t: Tensor, table: Tensor) -> State:
        """The state that remembers what the denoiser made of it, for processes that keep that; else ``x_t``."""
        ...

    def scored(self, x_t: State, t: Tensor, table: Tensor) -> Tensor:
        """``[B, N]`` bool: the positions whose loss can differ from 0; no logits are needed elsewhere."""
        ...

    def weight(self, x_t: State, t: Tensor, table: Tensor) -> Tensor:
        """The factor of each token's cross-entropy in training, ``[...]``; 0 where a token is known."""
        ...

    def evidence(self, x_t: State, t: Tensor, table: Tensor) -> Tensor | None:
        """log q(x_t | x_0 = v) of each token itself ``[..., V]``, up to a constant for each; None where it is constant.

        Logits are what the *other* positions say of one; with this added they are those of p(x_0 | x_t).
        """
        ...

    def loss(self, logits: Tensor, x0: Tensor, x_t: State, t: Tensor) -> Tensor:
        """The bound's integrand for each token, nats, unreduced: ``logits [..., V]``, all else ``[...]``."""
        ...

    def step(
        self,
        logits: Tensor,
        x_t: State,
        t: float,
        s: float,
        table: Tensor,
        rng: Streams,
        sampler: Sampler,
        belief: Tensor | None = None,
    ) -> State:
        """One reverse step from scalar time ``t`` to ``s < t``; every position is treated as free.

        ``sampler`` chooses the positions that the step commits and reopens, judging by ``belief`` (the logits before
        any temperature; None: ``logits``); at ``s = 0`` all are committed.
        """
        ...

    def decode(self, x: State, table: Tensor) -> Tensor:
        """The token ids ``[B, N]`` of a state at time 0."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """Predicts clean-token logits from a corrupted canvas, a prompt and the remembered earlier tokens."""

    @property
    def table(self) -> Tensor:
        """Token embeddings ``[V+1, E]``; the mask is row V."""
        ...

    def __call__(
        self,
        x: State,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: Start = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Logits ``[B, N, V]`` for a canvas that begins at position ``start``.

        The canvas falls into blocks of ``block_length`` positions (0: it is one block); each sees itself and
        the remembered tokens before it.
        """
        ...

    def remember(
        self, ids: Tensor, cond: Condition, past: Past | None = None, start: Start | None = None
    ) -> tuple[Past, Tensor]:
        """Causal pass over clean ids ``[B, N]``: grown memory, and next-token logits ``[B, N, V]``.

        The ids begin at ``start``; None: behind all that is remembered.
        """
        ...

    def draft(self, x: State, t: Tensor, cond: Condition, past: Past | None, start: Start) -> Draft:
        """The draft of a canvas ``x [B, W]`` that begins at ``start``."""
        ...

    def read_and_draft(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: State, t: Tensor
    ) -> tuple[Past, Tensor, Drafts]:
        """:meth:`remember` from ``start`` on, and in the same pass a canvas behind every id of ``ids [B, N]``.

        ``states [B, N W]`` at times ``t [B, N W]`` are N canvases of W positions; number i sees the memory and
        ``ids[:, : i + 1]``. Its draft is had by the numbers ``[B]``. None in place of that: this denoiser needs a pass
        of its own for drafts.
        """
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back. ``end`` is the id that begins and ends every text."""

    size: int
    end: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


@runtime_checkable
class Source(Protocol):
    """One corpus. Resuming is a larger ``start``; ``rank`` of ``world`` reads every world-th example."""

    def examples(self, split: str, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Example]:
        """The examples of ``split`` in a fixed order."""
        ...
