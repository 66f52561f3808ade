"""The loops that write: steps, blocks, drafts and windows, each by hand, and every argument of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import sunfish.sampling.block_diffusion as block_module
import sunfish.sampling.speculative as speculative_module
from sunfish.config import GenerationConfig
from sunfish.model.transformer import Transformer
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.block_diffusion import Snapshot, block_diffusion
from sunfish.sampling.corrected import corrected_decoding
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.sliding_window import sliding_window
from sunfish.sampling.speculative import speculative_accept, speculative_decoding
from sunfish.sampling.unmasking import get_policy
from sunfish.tokenizers import build_tokenizer
from sunfish.utils import UsageError
from tests.helpers import CONFIG, END, batch, finished, model, process_of, row_generators
from tests.settings.table import covers, spy

Patch = pytest.MonkeyPatch
MASK = CONFIG.vocab_size


@covers(GenerationConfig, "num_steps", "block_length", "sampler")
@pytest.mark.parametrize(("sampler", "block_length", "num_steps"), [("leftmost", 6, 3), ("confidence", 4, 2)])
def test_steps_of_each_block(monkeypatch: Patch, sampler: str, block_length: int, num_steps: int) -> None:
    config = GenerationConfig(
        sampler=sampler, num_steps=num_steps, block_length=block_length, temperature=1.0
    )
    steps, policies = spy(monkeypatch, MaskedProcess, "step"), spy(monkeypatch, block_module, "get_policy")
    states = list(block(model(), config, length=12))
    assert [s.start for s in states if s.done] == list(range(0, 12, block_length))
    grid = [1 - i / num_steps for i in range(num_steps + 1)]
    times = [(pytest.approx(t), pytest.approx(s)) for t, s in pairwise(grid)] * (12 // block_length)
    assert [(step["t"], step["s"]) for step in steps] == times
    assert {call["sampler"] for call in policies} == {sampler}
    assert all(step["policy"] is policies[0]["return"] for step in steps)
    seeds = {step["rng"].generators[0].initial_seed() for step in steps}
    assert len(seeds) == 12 // block_length  # what a block draws depends on none before it
    free = block_length - 1  # of the first block, whose start mark is known
    committed = steps[0]["return"][0] != MASK
    assert int(committed.sum()) == 1 + -(-free // num_steps)
    if sampler == "leftmost":
        assert bool(committed[: int(committed.sum())].all())


def pipeline() -> Pipeline:
    return Pipeline(model(), process_of(), build_tokenizer("characters", 23, ["abcdefghijklmnop"]))


def block(network: Transformer, config: GenerationConfig, length: int, **changed: Any) -> Iterator[Snapshot]:
    """:func:`block_diffusion` after the start mark, without an end, with some arguments changed."""
    b = batch()
    arguments: dict[str, Any] = dict(
        denoiser=network,
        process=process_of(),
        condition=network.encode(b.prompt[:1], b.prompt_mask[:1]),
        ids=torch.full((1, length), END),
        free=torch.arange(length)[None] > 0,
        rng=row_generators("sample"),
        config=config,
    )
    return block_diffusion(**{**arguments, **changed})


@covers(block_diffusion, "denoiser", "process", "condition", "ids", "free", "rng", "config", "end")
@torch.no_grad()
def test_denoising_by_hand() -> None:
    """The greedy text, one position a step: each block by itself after a causal pass over those before it."""
    network, b = model(), batch()
    config = GenerationConfig(sampler="leftmost", temperature=0.0, num_steps=4, block_length=4)
    ids, free = torch.full((1, 12), END), torch.arange(12)[None] > 0
    ids[0, 6], free[0, 6] = 9, False
    for row in (0, 1):
        condition = network.encode(b.prompt[row : row + 1], b.prompt_mask[row : row + 1])
        text, cache = ids.masked_fill(free, MASK), None
        for start in range(0, 12, 4):
            window = text[:, start : start + 4]
            for place in range(4):
                if int(window[0, place]) == MASK:
                    t = (window == MASK).double()
                    window[0, place] = network.denoise(window, t, condition, cache, start)[0, place].argmax()
            _, cache = network.prefill(window, condition, cache)
        written = finished(block(network, config, 12, condition=condition, ids=ids, free=free))
        assert torch.equal(written, text) and int(written[0, 6]) == 9
    warm = replace(config, temperature=4.0)
    one, again, other = (
        finished(block(network, warm, 12, rng=row_generators(name))).tolist() for name in ("a", "a", "b")
    )
    assert one == again != other
    stop = int(written[0, 5])
    stopped = finished(block(network, config, 12, condition=condition, ids=ids, free=free, end=stop))
    assert stopped.shape[1] == 4 * (1 + (written[0, 1:] == stop).nonzero()[0, 0].add(1).item() // 4)
    with pytest.raises(UsageError, match="sampler is 'leftmost', but the samplers of this model's process"):
        next(block(model(process="uniform"), config, 12, process=process_of("uniform")))


@covers(speculative_decoding, "denoiser", "process", "condition", "prefix", "length", "rng", "config", "end")
@covers(corrected_decoding, "denoiser", "process", "condition", "prefix", "length", "rng", "config", "end")
@pytest.mark.parametrize("sampler", ["verified", "verified:1", "corrected"])
@torch.no_grad()
def test_a_text_of_the_causal_mode_by_hand(monkeypatch: Patch, sampler: str) -> None:
    """The greedy text is that of the causal mode, whatever is drafted."""
    network, b = model(), batch()
    prefix = torch.tensor([[END, 5, 9]])

    def write(
        row: int = 0, length: int = 15, name: str = "a", end: int | None = None, **config: Any
    ) -> list[int]:
        condition = network.encode(b.prompt[row : row + 1], b.prompt_mask[row : row + 1])
        settings = GenerationConfig(**{"sampler": sampler, "temperature": 0.0, "block_length": 4, **config})
        decode = speculative_decoding if settings.is_verified else corrected_decoding
        states = decode(network, process_of(), condition, prefix, length, row_generators(name), settings, end)
        written: list[int] = finished(states)[0].tolist()
        return written

    texts = []
    for row in (0, 1):
        condition, text = network.encode(b.prompt[row : row + 1], b.prompt_mask[row : row + 1]), prefix
        while text.shape[1] < 15:
            token = network.prefill(text, condition)[0][:, -1:].argmax(-1)
            text = torch.cat([text, token], dim=1)
        texts.append(text[0, 3:].tolist())
        assert write(row) == texts[-1]
    assert texts[0] != texts[1] and write(length=9) == texts[0][:6]
    assert write(temperature=4.0) == write(temperature=4.0) != write(temperature=4.0, name="b")
    stop = texts[0][4]
    first = texts[0].index(stop)
    assert write(end=stop)[: first + 1] == texts[0][: first + 1] and set(write(end=stop)[first:]) == {stop}
    corrupted = spy(monkeypatch, MaskedProcess, "corrupt")
    if sampler == "corrected":
        write(block_length=6, num_steps=1)
        assert [call["x0"].shape[1] for call in corrupted] == [7, 7]
        return
    write(block_length=1)
    assert not corrupted
    write(block_length=3)
    widths = {call["x0"].shape[1] for call in corrupted}
    assert widths == ({3} if sampler == "verified" else {3, 9})


@covers(GenerationConfig, "lenience")
@covers(speculative_accept, "draft_ids", "draft_probabilities", "target", "rng", "lenience")
def test_lenience_of_a_draft(monkeypatch: Patch) -> None:
    """A token of q = 0.8 and p = 0.4 is kept with chance p / (l q): half of the time, or always at l = 0.5."""
    rows = 4000
    q = torch.tensor([0.8, 0.2]).expand(rows, 1, 2)
    p = torch.tensor([0.4, 0.6]).expand(rows, 2, 2)
    drafted = torch.zeros(rows, 1, dtype=torch.long)
    for lenience, share in ((1.0, 0.5), (0.8, 0.625), (0.5, 1.0)):
        rng = RowGenerators([make_generator("accept", lenience.hex())])
        tokens, counts = speculative_accept(drafted, q, p, rng, lenience)
        assert float((counts == 2).float().mean()) == pytest.approx(share, abs=0.03)
        assert bool((tokens[counts == 1, 0] == 1).all())
    accepted = spy(monkeypatch, speculative_module, "speculative_accept")
    for value in (1.0, 0.25):
        accepted.clear()
        pipeline().generate(["cab"], GenerationConfig(lenience=value), seq_len=12)
        assert {call["lenience"] for call in accepted} == {value}


@covers(GenerationConfig, "sampler")
@pytest.mark.parametrize(("sampler", "passes"), [("verified", 0), ("verified:2", 0), ("verified:1", 1)])
def test_passes_of_a_round(monkeypatch: Patch, sampler: str, passes: int) -> None:
    joint = spy(monkeypatch, Transformer, "prefill_and_draft")
    pipeline().generate(["cab"], GenerationConfig(sampler=sampler), seq_len=12)
    assert bool(joint) == bool(passes)
    assert get_policy("threshold:0.7") != get_policy("leftmost")


@covers(sliding_window, "write", "start", "length", "context", "rng", "end")
def test_windows_of_a_long_text() -> None:
    """Each begins with the start mark and the last half of the window before it, with random numbers of its own."""
    asked: list[tuple[list[int], int, int]] = []
    numbers = iter(range(100, 1000))

    def write(prefix: Tensor, length: int, rng: RowGenerators) -> Iterator[Snapshot]:
        asked.append((prefix[0].tolist(), length, rng.generators[0].initial_seed()))
        known = prefix.shape[1]
        new = torch.tensor([[next(numbers) for _ in range(length - known)]])
        yield Snapshot(known, torch.full_like(new, 5), False)
        yield Snapshot(0, torch.cat([prefix, new], dim=1), True)  # a block that reaches back into the prefix

    rng, start = row_generators("windows"), torch.tensor([[1]])
    states = list(sliding_window(write, start, 18, 10, rng, end=119))
    done = [state for state in states if state.done]
    assert torch.cat([state.x for state in done], dim=1)[0].tolist() == [1, *range(100, 117)]
    assert [state.start for state in states] == [0, 1, 1, 10, 10, 15, 15]
    assert [(prefix, length) for prefix, length, _ in asked] == [
        ([1], 10),
        ([1, 105, 106, 107, 108], 10),
        ([1, 110, 111, 112, 113], 8),
    ]
    seeds = [seed for _, _, seed in asked]
    assert len(set(seeds)) == 3 and seeds[0] == rng.generators[0].initial_seed()
    numbers, asked[:] = iter(range(100, 1000)), []
    stopped = list(sliding_window(write, start, 20, 10, rng, end=104))
    assert len(asked) == 1 and stopped[-1].x[0].tolist() == list(range(100, 109))
