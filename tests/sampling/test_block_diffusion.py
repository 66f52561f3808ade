"""The denoising loop with a network whose answers are known: where it stops, what it asks, by what policies judge."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.kv_cache import KVCache
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.block_diffusion import Snapshot, block_diffusion
from sunfish.sampling.unmasking import policies_for
from sunfish.types import Condition, Start, State
from tests.helpers import CONFIG, END, NO_PROMPT, finished, normal, process_of, row_generators

V = CONFIG.vocab_size


class KnownLogits:
    """Says the same of a place whatever the others hold, and counts its passes."""

    def __init__(self, logits: Tensor) -> None:
        """``logits [B, N, V]``."""
        self.logits = logits
        self.denoised: list[int] = []  # where each canvas began
        self.prefilled: list[int] = []  # where each text began
        self.times: list[list[float]] = []  # of each canvas, its first row

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        assert isinstance(start, int) and start == (0 if cache is None else cache.length)
        self.denoised.append(start)
        self.times.append(t[0].tolist())
        return self.logits[:, start : start + x.shape[1]]

    def prefill(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        known = 0 if cache is None else cache.length
        self.prefilled.append(known)
        return self.logits, KVCache(torch.zeros(1, 2, len(ids), 1, known + ids.shape[1], 1))


def writing(texts: list[list[int]]) -> KnownLogits:
    """A network that is sure of ``texts``."""
    return KnownLogits(50.0 * torch.nn.functional.one_hot(torch.tensor(texts), V).double())


def run(
    network: KnownLogits, config: GenerationConfig, end: int | None = None, process: str = "masked"
) -> list[Snapshot]:
    """All states of texts of which the start mark alone is known."""
    rows, length, _ = network.logits.shape
    ids, free = torch.full((rows, length), END), torch.arange(length).expand(rows, -1) > 0
    rng = RowGenerators([make_generator("known", row) for row in range(rows)])
    return list(block_diffusion(network, process_of(process), NO_PROMPT, ids, free, rng, config, end))


# Texts of 16 positions; each ends at another place, and the start mark is the same id as the end.
ENDS = [5, 2, 9, 15]
TEXTS = [[END, *range(3, 2 + at), END, *[7] * (15 - at)] for at in ENDS]


@pytest.mark.parametrize(
    ("rows", "blocks"),
    [
        ([1], [0]),
        ([0], [0, 4]),
        ([0, 1], [0, 4]),  # the end of row 1 is remembered
        ([2], [0, 4, 8]),
        ([0, 1, 2], [0, 4, 8]),
        ([0, 1, 3], [0, 4, 8, 12]),
    ],
)
def test_it_stops_after_the_block_in_which_the_last_row_ends(rows: list[int], blocks: list[int]) -> None:
    network = writing([TEXTS[row] for row in rows])
    config = GenerationConfig(sampler="leftmost", block_length=4, num_steps=2)
    states = run(network, config, END)
    assert [state.start for state in states if state.done] == blocks
    assert finished(states).tolist() == [TEXTS[row][: blocks[-1] + 4] for row in rows]


def test_an_end_at_the_first_place_of_a_block_counts() -> None:
    text = [END, 3, 4, 5, END, *[7] * 11]
    config = GenerationConfig(sampler="leftmost", block_length=4, num_steps=2)
    assert [state.start for state in run(writing([text]), config, END) if state.done] == [0, 4]


def test_no_pass_is_made_that_nobody_needs() -> None:
    """The last block is never read, a canvas without free places never denoised, an unchanged one only once."""
    network = writing(TEXTS[:1])
    run(network, GenerationConfig(sampler="leftmost", block_length=4, num_steps=2))
    assert network.prefilled == [0, 4, 8] and network.denoised == [0, 0, 4, 4, 8, 8, 12, 12]
    ids = torch.tensor(TEXTS[:1])
    free = torch.zeros_like(ids, dtype=torch.bool)
    network, rng = writing(TEXTS[:1]), row_generators("none free")
    config = GenerationConfig(sampler="leftmost", block_length=0, num_steps=2)
    states = list(block_diffusion(network, process_of(), NO_PROMPT, ids, free, rng, config))
    assert network.denoised == [] and finished(states).tolist() == TEXTS[:1]
    network = writing([TEXTS[0][:3]])
    run(network, GenerationConfig(sampler="ancestral", block_length=0, num_steps=200))
    assert 1 <= len(network.denoised) <= 2  # one for each change of the canvas, not one for each step


def test_a_network_that_must_know_the_time_is_asked_at_every_step() -> None:
    """Even where a step changed nothing; known places are at time 0."""
    network = writing([[END, 3, 4]])
    config = GenerationConfig(sampler="ancestral", block_length=0, num_steps=8)
    states = run(network, config, process="uniform")
    assert network.times == [[0.0, 1 - i / 8, 1 - i / 8] for i in range(8)]
    assert len(states) < 8 and finished(states).tolist() == [[END, 3, 4]]


def test_policies_judge_by_what_the_network_says_at_any_temperature() -> None:
    """Greedy draws are certain; the network's own probabilities are 0.8, 0.7, 0.6, and order the places."""
    p = torch.full((1, 4, V), 1e-6, dtype=torch.float64)
    p[0, :, 5] = torch.tensor([1.0, 0.6, 0.8, 0.7])
    p[0, :, 6] = 1 - p[0, :, 5]
    for sampler in ("threshold:0.9", "entropy:0.01", "confidence"):
        config = GenerationConfig(sampler=sampler, block_length=0, num_steps=3, temperature=0.0)
        masked = [(state.x == V).int().tolist()[0] for state in run(KnownLogits(p.log()), config)]
        assert masked[:4] == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("sampler", policies_for(process_of()))
def test_a_committed_token_stays_unless_it_is_masked_again(sampler: str) -> None:
    """Each step draws for all places; those of committed ones are not used."""
    config = GenerationConfig(sampler=sampler, block_length=0, num_steps=8, temperature=1.0)
    states = run(KnownLogits(normal(4, 16, V)), config)
    changed = 0
    for before, after in pairwise(state.x for state in states):
        committed = (before != V) & (after != V)
        assert torch.equal(before[committed], after[committed])
        changed += int((before != after).sum())
    assert changed >= 4 * 15


def test_remasking_continues_after_all_places_are_filled() -> None:
    config = GenerationConfig(sampler="remask:1", block_length=0, num_steps=12, temperature=1.0)
    uniform, reopened = torch.zeros(1, 3, V, dtype=torch.float64), 0
    ids, free = torch.full((1, 3), END), torch.tensor([[False, True, True]])
    for seed in range(20):
        rng = row_generators("remask", seed)
        states = block_diffusion(KnownLogits(uniform), process_of(), NO_PROMPT, ids, free, rng, config)
        counts = [int((state.x == V).sum()) for state in states]
        reopened += any(before == 0 < after for before, after in pairwise(counts))
        assert counts[0] == 2 and counts[-1] == 0
    assert reopened


def test_each_block_and_each_row_has_draws_of_its_own() -> None:
    """Places 1 to 7 of three blocks, which have the same numbers if their generators begin alike."""
    uniform = torch.zeros(2, 24, V, dtype=torch.float64)
    config = GenerationConfig(sampler="leftmost", block_length=8, num_steps=1, temperature=1.0)
    ids = finished(run(KnownLogits(uniform), config))[:, 1:]
    blocks = [tuple(block) for row in ids.tolist() for block in (row[:7], row[8:15], row[16:23])]
    assert len(set(blocks)) == len(blocks)
