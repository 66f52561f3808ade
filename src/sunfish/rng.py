"""Where random numbers come from: one generator a row, and exact categorical draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

BELOW_ONE = 1 - 2**-53  # the largest float64 below 1


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any parts, so that streams with different names never overlap by arithmetic accident."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


@dataclass(frozen=True)
class Share:
    """Some rows of a batch that is computed in parts, and the first positions of these rows.

    Each part draws the numbers of the whole batch and keeps its own, so that a row has the same noise in whatever
    parts, on whatever processes, its batch is computed.

    Attributes:
        rows: which rows of the batch; none: the part is the whole batch.
        size: rows of the batch.
        width: positions of its widest row.
        length: positions of this part's rows.
        tokens: real tokens of the batch, start marks not counted.
    """

    rows: Sequence[int] = ()
    size: int = 0
    width: int = 0
    length: int = 0
    tokens: int = 0

    def of(self, numbers: Tensor) -> Tensor:
        """The rows of this part from ``numbers [size, ...]``."""
        return numbers[torch.tensor(self.rows)] if self.size else numbers

    def draw(self, source: Callable[..., Tensor], rows: int, *shape: int) -> Tensor:
        """This part's numbers ``[rows, *shape]`` of those that ``source`` draws for the batch.

        The first size of ``shape``, where there is one, is the length of the rows or a multiple of it, for several
        canvases.
        """
        if not self.size or not shape:
            return self.of(source(self.size or rows, *shape))
        copies = shape[0] // self.length
        numbers = self.of(source(self.size, copies * self.width, *shape[1:]))
        beginnings: Tensor = numbers.unflatten(1, (copies, self.width))[:, :, : self.length]
        return beginnings.flatten(1, 2)


WHOLE = Share()


class RowGenerators:
    """Random numbers for a batch, drawn on the CPU in float64 so that every device sees the same ones.

    With one generator for each row, row b's numbers do not depend on the other rows of the batch. One generator for all
    rows draws those of the whole batch, of which ``share`` is kept.
    """

    def __init__(self, generators: Sequence[torch.Generator], share: Share = WHOLE) -> None:
        self.generators = list(generators)
        self.share = share

    @classmethod
    def for_rows(cls, seed: int, first: int, rows: int) -> RowGenerators:
        """Generators for the samples ``first .. first + rows - 1`` of the run with this seed."""
        return cls([make_generator("sample", seed, first + row) for row in range(rows)])

    def fork(self, *name: int | str) -> RowGenerators:
        """Generators of the same seeds and another name, at their beginning; these ones do not move."""
        return RowGenerators([make_generator("fork", g.initial_seed(), *name) for g in self.generators])

    def uniform(self, rows: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Uniform float64 numbers ``[rows, *shape]`` in [0, 1)."""
        return self._draw(torch.rand, rows, shape).to(device)

    def normal(self, rows: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Standard normal float64 numbers ``[rows, *shape]``."""
        return self._draw(torch.randn, rows, shape).to(device)

    def _draw(self, source: Callable[..., Tensor], rows: int, shape: tuple[int, ...]) -> Tensor:
        if len(self.generators) == 1:
            numbers = partial(source, generator=self.generators[0], dtype=torch.float64)
            return self.share.draw(numbers, rows, *shape)
        if len(self.generators) == rows:
            return torch.stack([source(shape, generator=g, dtype=torch.float64) for g in self.generators])
        raise ValueError(f"{rows} rows need {rows} generators or one, but there are {len(self.generators)}")


def softmax(logits: Tensor) -> Tensor:
    """Probabilities ``[..., V]`` in float32, or in float64 for logits of that type."""
    return torch.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)


def sample_categorical(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw ids ``[...]`` with ``probabilities [..., V]``, which need not be normalized, and ``uniform [...]``.

    By inversion of the cumulative distribution in float64: float32 Gumbel noise truncates the tails and so lowers the
    temperature without saying so (Zheng et al. 2024, "Masked diffusion models are secretly time-agnostic masked
    models").

    Raises:
        ValueError: There is nothing to draw from: NaN, or no probability at all. Every token of every sampler is drawn
            here, and what comes before hands NaN on; so this is the one place that looks for it.
    """
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[..., -1:]
    if not bool((total > 0).all()):
        refuse_nan(total.masked_fill(total <= 0, torch.nan))
    # Below 1, and so the threshold is below the total: the first id above it is one that has a probability.
    threshold = uniform.double().clamp(max=BELOW_ONE).unsqueeze(-1) * total
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)


def refuse_nan(numbers: Tensor) -> None:
    """Raise ``ValueError`` where ``numbers [B, ...]``, computed from a network's output, hold NaN."""
    wrong = numbers.isnan().nonzero().tolist()
    if wrong:
        row, *place = wrong[0]
        where = f"text {row} of its batch" + (f", position {place[0]} of the pass" if len(place) > 1 else "")
        raise ValueError(
            f"the network returned NaN for {where}: the checkpoint is damaged, or its training diverged; use an earlier "
            "checkpoint"
        )


def sample_logits(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw ids ``[...]`` from softmax(``logits [..., V]``) with ``uniform [...]``; also their probabilities."""
    probabilities = softmax(logits)
    ids = sample_categorical(probabilities, uniform)
    return ids, probabilities.gather(-1, ids[..., None]).squeeze(-1)
