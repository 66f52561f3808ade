"""Where random numbers come from: one generator a row, noise by its place in a batch, and exact categorical draws."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sunfish.casts import at_least_float32

BELOW_ONE = 1 - 2**-53  # the largest float64 below 1
# Two draws begin the golden ratio's part of 2**128 numbers apart, as in NumPy's ``jumped``: states of a PCG64 that are
# a power of two apart share their lower bits.
DRAW_DISTANCE = 0x9E3779B97F4A7C15F39CC0605CEDC835


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any parts, so that streams with different names never overlap by arithmetic accident."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


@dataclass(frozen=True)
class Share:
    """Some rows of a batch that is computed in parts.

    Attributes:
        rows: which rows of the batch; none: the part is the whole batch.
        size: rows of the batch.
        width: positions of its widest row.
        tokens: real tokens of the batch, start marks not counted.
    """

    rows: Sequence[int] = ()
    size: int = 0
    width: int = 0
    tokens: int = 0

    def of(self, numbers: Tensor) -> Tensor:
        """The rows of this part from ``numbers [size, ...]``."""
        return numbers[torch.tensor(self.rows)] if self.size else numbers


WHOLE = Share()


class RowGenerators:
    """Random numbers for a batch, drawn on the CPU in float64 so that every device sees the same ones.

    With one generator for each row, row b's numbers do not depend on the other rows of the batch. One generator draws
    for all rows.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)

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
            return source((rows, *shape), generator=self.generators[0], dtype=torch.float64)
        if len(self.generators) == rows:
            return torch.stack([source(shape, generator=g, dtype=torch.float64) for g in self.generators])
        raise ValueError(f"{rows} rows need {rows} generators or one, but there are {len(self.generators)}")


class BatchNoise(RowGenerators):
    """Random numbers for some rows of a training batch, each a function of its row and of its place in the row.

    So a process draws its own rows only, and a row has the same noise in whatever parts, on whatever processes, its
    batch is computed, however far it is padded. All processes have the numbers of one PCG64DXSM (O'Neill 2014, "PCG: a
    family of simple fast space-efficient statistically good algorithms for random number generation"), which can skip
    to any place. In a draw, the rows of the batch follow one another; the next draw begins far away.
    """

    def __init__(self, generator: torch.Generator, share: Share = WHOLE) -> None:
        """Numbers of the rows of ``share``; ``generator`` gives the seed, which is the same on every process."""
        super().__init__([generator])
        self.share = share
        self._bits = np.random.PCG64DXSM(int(torch.randint(2**63 - 1, (), generator=generator)))
        self._numbers = np.random.Generator(self._bits)
        self._next, self._place = 0, 0  # where the next draw begins, and where the sequence is

    def uniform(self, rows: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Uniform float64 numbers ``[rows, *shape]`` in [0, 1); the first size of ``shape`` is the length of the rows."""
        numbers = np.empty((rows, *shape))
        first, self._next = self._next, self._next + DRAW_DISTANCE
        if self.share.size:
            size = math.prod((self.share.width, *shape[1:])) if shape else 1  # of a row of the whole batch
            for number, row in enumerate(self.share.rows):
                self._fill(numbers[number : number + 1], first + row * size)
        else:
            self._fill(numbers, first)
        return torch.from_numpy(numbers).to(device)

    def normal(self, rows: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Standard normal float64 numbers ``[rows, *shape]``, by inversion of the distribution function."""
        uniform = self.uniform(rows, *shape).clamp(min=2.0**-54)
        numbers: Tensor = torch.special.ndtri(uniform)
        return numbers.to(device)

    def _fill(self, numbers: NDArray[np.float64], place: int) -> None:
        self._bits.advance((place - self._place) % 2**128)
        self._numbers.random(out=numbers)
        self._place = place + numbers.size


def softmax(logits: Tensor) -> Tensor:
    """Probabilities ``[..., V]`` in float32, or in float64 for logits of that type."""
    return torch.softmax(at_least_float32(logits), dim=-1)


def sample_categorical(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw ids ``[...]`` with ``probabilities [..., V]``, which need not be normalized, and ``uniform [...]``.

    By inversion of the cumulative distribution in float64: float32 Gumbel noise truncates the tails and so lowers the
    temperature without saying so (Zheng et al. 2024, "Masked diffusion models are secretly time-agnostic masked
    models").

    Raises:
        ValueError: There is nothing to draw from: NaN, or no probability at all. Every token of every sampler is drawn
            here, but for those of a draft, and what comes before hands NaN on; so this is the one place that looks for
            it. A draft hands it on to where it is verified.
    """
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[..., -1:]
    if not bool((total > 0).all()):
        refuse_nan(total.masked_fill(total <= 0, torch.nan))
    # Below 1, and so the threshold is below the total: the first id above it is one that has a probability.
    threshold = uniform.double().clamp(max=BELOW_ONE).unsqueeze(-1) * total
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)


def gumbel_noise(uniform: Tensor) -> Tensor:
    """Gumbel noise of float64 ``uniform`` numbers: the largest of logits plus noise is a draw from their softmax.

    Its tails end where those of float64 do, so it is no coarser than :func:`sample_categorical`.
    """
    return -(-uniform.log()).log()


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
