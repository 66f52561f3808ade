"""What laws are checked against: all texts over a tiny vocabulary, their exact distribution, chi-square."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.kv_cache import KVCache
from sunfish.rng import make_generator
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.types import Condition, Process, Start, State
from tests.helpers import NO_PROMPT, finished, row_generators


class Enumeration(NamedTuple):
    """Every text of N tokens out of V, and a fixed, correlated distribution over them in float64."""

    texts: Tensor  # [V^N, N]
    probabilities: Tensor  # [V^N]
    vocab_size: int

    @classmethod
    def of(cls, vocab_size: int, length: int, spread: float = 1.5) -> Enumeration:
        """``spread``: standard deviation of the logits."""
        texts = torch.tensor(list(itertools.product(range(vocab_size), repeat=length)))
        logits = torch.randn(len(texts), generator=make_generator("data"), dtype=torch.float64)
        return cls(texts, torch.softmax(spread * logits, dim=0), vocab_size)

    @property
    def one_hot(self) -> Tensor:
        """``[V^N, N, V]``."""
        return F.one_hot(self.texts, self.vocab_size).double()

    @property
    def entropy(self) -> float:
        """Nats of a text."""
        return -float((self.probabilities * self.probabilities.log()).sum())

    def chi_square(self, ids: Tensor) -> float:
        """Of sampled texts ``[rows, N]`` against the distribution; V^N - 1 degrees of freedom."""
        places = self.vocab_size ** torch.arange(ids.shape[1] - 1, -1, -1)
        counts = torch.bincount((ids * places).sum(-1), minlength=len(self.texts))
        return chi_square(counts, len(ids) * self.probabilities)


def chi_square(counts: Tensor, expected: Tensor) -> float:
    """Of ``counts`` against what was ``expected``; nothing impossible may have been counted."""
    possible = expected > 0
    assert not counts[~possible].any()
    return float(((counts - expected)[possible].square() / expected[possible]).sum())


class Oracle:
    """A denoiser for one block that needs no cache; subclasses know the exact posterior."""

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        """Logits ``[B, N, V]`` of every position given the others."""
        raise NotImplementedError

    def prefill(self, ids: Tensor, condition: Condition, cache: KVCache | None = None) -> None:
        raise AssertionError("one block needs no cache")


class Constant(Oracle):
    """The same prediction everywhere."""

    def __init__(self, logits: Tensor) -> None:
        """``logits [V]``."""
        self.logits = logits

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        return self.logits.expand(*x.shape[:2], -1)


def sample(
    denoiser: Oracle,
    process: Process,
    ids: Tensor,
    free: Tensor,
    sampler: str,
    steps: int,
    temperature: float = 1.0,
) -> Tensor:
    """Texts ``[B, N]``, all positions in one block, with the free ones drawn."""
    config = GenerationConfig(
        num_steps=steps, block_length=0, sampler=sampler, temperature=temperature, guidance_scale=1.0
    )
    rng = row_generators("sample", sampler, steps)
    return finished(block_diffusion(denoiser, process, NO_PROMPT, ids, free, rng, config))


def sample_whole(
    denoiser: Oracle, process: Process, rows: int, length: int, sampler: str, steps: int
) -> Tensor:
    """Texts ``[rows, length]`` of which nothing is known."""
    ids = torch.zeros(rows, length, dtype=torch.long)
    return sample(denoiser, process, ids, torch.ones_like(ids, dtype=torch.bool), sampler, steps)
