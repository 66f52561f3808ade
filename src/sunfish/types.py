"""The values and protocols that every package speaks; the shape legend and the glossary.

Shape legend, used in every docstring:
B batch, N positions, P prompt positions, D width, E embedding, V vocabulary, H heads, L layers, C cached positions.
Times live in [0, 1]: 0 is clean, 1 is pure noise. A known token is a token whose time is 0.

Glossary:
    canvas          a block of positions that is denoised together, bidirectionally
    text            clean tokens, processed causally; their keys and values fill the cache
    cache           keys and values of the text so far (KVCache)
    causal pass     a pass over text; predicts each next token
    canvas pass     a pass over a canvas after the cache; predicts the clean token of each position
    joint pass      a whole text and canvases over it in one pass; training
    prefill         a causal pass that appends to the cache
    layout          which positions a pass has, where they stand, who sees whom
    block length    positions denoised together; 1 is autoregression, the whole text is full diffusion
    process         the forward corruption, its loss and its reverse step
    unmask, remask  commit a drawn token; turn a committed one back into noise
    policy          which positions a denoising step unmasks and remasks
    draft, accept   tokens proposed by the canvas; those that verification keeps (speculative decoding)
    guidance        steering by the difference that a prompt makes (classifier-free guidance)
    copy head       the last part of the network, which points at tokens of the prompt and the text
    smear           a part of the neighboring tokens added to each input
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.rng import WHOLE, RowGenerators, Share

State = Tensor  # [B, N] token ids of discrete processes; [B, N, 2E] vectors and their estimates of continuous ones
# Where a pass begins in the text: one position, or one for each row [B], which then sees so many cached tokens.
Start = int | Tensor


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
    share: Share = WHOLE  # which rows of the step's batch these are
    widths: tuple[
        int, ...
    ] = ()  # of all rows of the step's batch, how many positions are computed; none: N each

    @property
    def tokens(self) -> int:
        """Real tokens of the whole batch, start marks not counted."""
        return self.share.tokens or int((self.lengths - 1).sum())

    @property
    def rows(self) -> int:
        """Rows of the whole batch."""
        return self.share.size or len(self.x0)

    @property
    def width(self) -> int:
        """Positions of the widest row of the whole batch."""
        return self.share.width or self.x0.shape[1]

    @property
    def positions(self) -> int:
        """Positions of the whole batch that are computed, padding included."""
        return sum(self.widths) or self.rows * self.x0.shape[1]

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return self._with(lambda part: part.to(device))

    def part(self, rows: Sequence[int], length: int) -> Batch:
        """The first ``length`` positions of some rows; their noise and the weight of their loss are as in the whole."""
        numbers = tuple(self.share.rows[row] for row in rows) if self.share.size else tuple(rows)
        share = Share(numbers, self.rows, self.width, self.tokens)
        index = torch.tensor(rows, device=self.x0.device)
        part = self._with(lambda part: part[index])
        return part._replace(x0=part.x0[:, :length], share=share, widths=())

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        x0, lengths, prompt, prompt_mask = map(change, self[:4])
        return Batch(x0, lengths, prompt, prompt_mask, self.share, self.widths)


class Condition(NamedTuple):
    """What the denoiser cross-attends to: the encoded prompt as keys and values of every block and the copy head.

    Slot 0 is a learned null prompt, the same in training and sampling, and it is always visible. Encoding once for each
    text and keeping keys and values means that no denoising step pays for the prompt again.
    """

    keys: Tensor  # [L+1, B, H, 1+P, D/H]; of the copy head alone, [1, ...], in a model without prompts
    values: Tensor  # the same
    mask: Tensor  # [B, 1+P] bool; slot 0 is always True
    scale: Tensor | None = None  # [B] guidance scale, for networks that take it in; None: 1

    def at_scale(self, scale: float) -> Condition:
        """The same prompts, with the guidance scale as an input."""
        return self._replace(scale=torch.full((self.mask.shape[0],), scale, device=self.mask.device))

    def drop(self, rows: Tensor) -> Condition:
        """Hide the prompt of the rows where ``rows [B]`` is True, so that only the null slot stays visible."""
        keep = ~rows[:, None] & self.mask
        return self._replace(mask=torch.cat([self.mask[:, :1], keep[:, 1:]], dim=1))

    def without_prompts(self) -> Condition:
        """The same rows, every prompt hidden."""
        return self.drop(torch.ones(self.mask.shape[0], dtype=torch.bool, device=self.mask.device))

    def with_null(self) -> Condition:
        """The rows as they are, then the same rows with their prompts dropped: ``[2B, ...]`` for guidance."""
        return self.concat(self.without_prompts())

    def concat(self, other: Condition) -> Condition:
        """The rows of this condition, then those of ``other``."""
        return Condition.stack((self, other))

    @staticmethod
    def stack(conditions: Sequence[Condition]) -> Condition:
        """The rows of all ``conditions``, one after the other; shorter ones get hidden prompt positions."""
        longest = max(part.mask.shape[1] for part in conditions)
        parts = [part._padded(longest) for part in conditions]
        scale = None
        if any(part.scale is not None for part in parts):
            ones = (part.mask.new_ones(len(part.mask), dtype=torch.float32) for part in parts)
            scale = torch.cat([o if p.scale is None else p.scale for o, p in zip(ones, parts, strict=True)])
        return Condition(
            torch.cat([part.keys for part in parts], dim=1),
            torch.cat([part.values for part in parts], dim=1),
            torch.cat([part.mask for part in parts], dim=0),
            scale,
        )

    def first(self, count: int) -> Condition:
        """The first ``count`` rows."""
        return self._map(lambda part, rows: part.narrow(rows, 0, count))

    def repeat(self, count: int) -> Condition:
        """Each row ``count`` times, one after the other."""
        return self._map(lambda part, rows: part.repeat_interleave(count, rows))

    def _map(self, change: Callable[[Tensor, int], Tensor]) -> Condition:
        """Every part with ``change`` applied along the dimension of its rows."""
        scale = None if self.scale is None else change(self.scale, 0)
        return Condition(change(self.keys, 1), change(self.values, 1), change(self.mask, 0), scale)

    def _padded(self, length: int) -> Condition:
        extra = length - self.mask.shape[1]
        if not extra:
            return self
        keys, values = (F.pad(part, (0, 0, 0, extra)) for part in (self.keys, self.values))
        return Condition(keys, values, F.pad(self.mask, (0, extra), value=False), self.scale)


class StepInfo(NamedTuple):
    """What an unmasking policy sees of one denoising step, from signal alpha_t to alpha_s > alpha_t."""

    logits: Tensor  # [B, N, V] what the model predicts, before any temperature
    confidence: Tensor  # [B, N] the probability of each drawn token in that prediction
    masked: Tensor  # [B, N] bool: not committed yet
    alpha_t: float
    alpha_s: float
    rng: RowGenerators

    @property
    def unmask_rate(self) -> float:
        """The posterior's rate (alpha_s - alpha_t) / (1 - alpha_t) at which a masked position is unmasked."""
        return (self.alpha_s - self.alpha_t) / (1 - self.alpha_t)


class UnmaskingPolicy(NamedTuple):
    """Which masked positions a step unmasks and, if any, which committed ones it remasks: ``[B, N]`` bool each."""

    unmask: Callable[[StepInfo], Tensor]
    remask: Callable[[StepInfo], Tensor] | None = None
    eta: float = 1.0  # for vectors: the share of fresh noise in a step, 0 for none (DDIM)
    draws_tokens: bool = False  # for vectors: whether a step heads for drawn tokens, not for the mean of all


@runtime_checkable
class Process(Protocol):
    """A forward corruption q(x_t | x_0) with its loss and its reverse step."""

    @property
    def state_kind(self) -> str:
        """What a state holds: ``masks`` (tokens or [MASK], never changed again), ``tokens`` or ``vectors``."""
        ...

    @property
    def time_conditioned(self) -> bool:
        """Whether the prediction depends on the time and not only on the state."""
        ...

    @property
    def self_conditioned(self) -> bool:
        """Whether the state keeps the last estimate of the clean embeddings."""
        ...

    @property
    def is_elbo(self) -> bool:
        """Whether :meth:`loss` is a proven bound of the negative log-likelihood."""
        ...

    @property
    def fixed_count(self) -> bool:
        """Whether training may corrupt exactly the drawn share of a block in place of each token by chance.

        In blocks shorter than the text it then draws bell-shaped shares, and weighs corrupted tokens alike.
        """
        ...

    @property
    def default_sampler(self) -> str:
        """The unmasking policy for denoising steps where none is named."""
        ...

    def with_embeddings(self, table: Tensor) -> Process:
        """The same process over the token embeddings ``table [V+1, E]``; itself for processes over ids."""
        ...

    def corrupt(self, x0: Tensor, t: Tensor, rng: RowGenerators) -> State:
        """Draw x_t ~ q(x_t | x_0). ``x0 [B, N]`` ids, ``t [B, N]`` times."""
        ...

    def with_self_conditioning(self, logits: Tensor, x_t: State, t: Tensor) -> State:
        """The state that remembers the estimate made from ``logits [B, N, V]``; ``x_t`` for processes without one."""
        ...

    def loss_mask(self, x_t: State, t: Tensor) -> Tensor:
        """``[B, N]`` bool: the positions whose loss can differ from 0; no logits are needed elsewhere."""
        ...

    def weight(self, x_t: State, t: Tensor) -> Tensor:
        """The factor of each token's cross-entropy in training, ``[...]``; 0 where a token is known."""
        ...

    def log_likelihood(self, x_t: State, t: Tensor) -> Tensor | None:
        """log q(x_t | x_0 = v) of each token itself ``[..., V]``, up to a constant for each; None where constant.

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
        rng: RowGenerators,
        policy: UnmaskingPolicy,
        model_logits: Tensor | None = None,
    ) -> State:
        """One reverse step from time ``t`` to ``s < t``; every position is treated as free.

        Args:
            logits: [B, N, V] what tokens are drawn from, at the temperature asked for.
            x_t: The state.
            t: Where the step begins.
            s: Where it ends; at 0 everything is committed.
            rng: Random numbers, one generator a row.
            policy: Which positions the step unmasks and remasks.
            model_logits: [B, N, V] what the policy judges by, before any temperature; None: ``logits``.
        """
        ...

    def decode(self, x: State) -> Tensor:
        """The token ids ``[B, N]`` of a state at time 0."""
        ...
