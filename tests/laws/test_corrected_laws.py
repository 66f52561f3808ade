"""Drafting and correcting against tokens drawn one after the other, from the same random numbers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser
from sunfish.model.draft import Draft, likely_ids_of
from sunfish.model.kv_cache import KVCache
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import RowGenerators, sample_categorical, softmax
from sunfish.sampling.corrected import corrected_decoding
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.sampling.logits import warp
from sunfish.types import Condition, Start, State
from tests.helpers import finished
from tests.laws.enumeration import chi_square
from tests.laws.table_denoiser import PROMPT, N, TableDenoiser, V, autoregressive

PROCESS = MaskedProcess(V)
START = torch.zeros(1, 1, dtype=torch.long)


def config_of(block_length: int, num_steps: int, temperature: float = 1.0) -> GenerationConfig:
    return GenerationConfig(
        sampler="corrected", block_length=block_length, num_steps=num_steps, temperature=temperature
    )


def one_after_the_other(
    denoiser: Denoiser, rng: RowGenerators, config: GenerationConfig, length: int
) -> Tensor:
    """The text of the causal mode, without a cache: a token for each random number of its block."""
    ids, step = START, config.block_length or length
    for start in range(1, length, step):
        uniform = rng.fork(start).uniform(1, min(step, length - start))
        for number in uniform[0]:
            logits = denoiser.prefill(ids, PROMPT)[0][:, -1]
            token = sample_categorical(softmax(warp(logits, config)), number[None])
            ids = torch.cat([ids, token[None]], dim=1)
    return ids


class Oracle(TableDenoiser):
    """Its canvas knows the causal mode's own next-token logits after every forecast: the best of all drafts."""

    def draft(self, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start) -> Draft:
        self.draft_passes += 1
        text, prompted = [*self._text(cache, start, 0), int(x[0, 0])], bool(condition.mask[0, 1])

        def conditional_logits(previous: Tensor) -> Tensor:
            ids = previous[0, 1:].tolist()
            return torch.stack(
                [self.logits("next", prompted, *text, *ids[:i]) for i in range(previous.shape[1])]
            )[None]

        def marginal_logits(rows: int) -> Tensor:
            return conditional_logits(x[:rows, :-1].clamp(max=V - 1))

        likely_ids = likely_ids_of(marginal_logits)
        return Draft(V, marginal_logits, likely_ids, lambda candidates: conditional_logits)


@pytest.mark.parametrize(
    ("block_length", "scale", "temperature"), [(1, 1.0, 1.0), (2, 2.0, 0.7), (3, 0.0, 1.0), (0, 1.5, 2.0)]
)
def test_as_many_steps_as_positions_write_what_the_causal_mode_writes(
    block_length: int, scale: float, temperature: float
) -> None:
    """Whatever the canvas forecasts; a single step does not."""
    guided, different = ClassifierFreeGuidance(TableDenoiser(), scale), 0
    config = config_of(block_length, block_length or N - 1, temperature)
    for seed in range(40):
        rng = RowGenerators.for_rows(seed, 0, 1)
        expected = one_after_the_other(guided, rng, config, N)
        written = finished(corrected_decoding(guided, PROCESS, PROMPT, START, N, rng, config))
        assert written.tolist() == expected[:, 1:].tolist()
        if config.num_steps > 1:
            fewer = config_of(block_length, 1, temperature)
            short = finished(corrected_decoding(guided, PROCESS, PROMPT, START, N, rng, fewer))
            different += not torch.equal(short, written)
    assert different > 0 or config.num_steps == 1


def test_after_n_steps_n_tokens_are_those_of_the_causal_mode() -> None:
    tables, wrong = TableDenoiser(), 0
    for steps, seed in itertools.product(range(1, N), range(40)):
        config, rng = config_of(0, steps), RowGenerators.for_rows(seed, 0, 1)
        expected = one_after_the_other(tables, rng, config, N)[:, 1:]
        written = finished(corrected_decoding(tables, PROCESS, PROMPT, START, N, rng, config))
        assert torch.equal(written[:, :steps], expected[:, :steps])
        wrong += not torch.equal(written, expected)
    assert wrong > 10


def test_the_texts_have_the_distribution_of_the_causal_mode() -> None:
    """Of all 81 texts, by enumeration."""
    config, rows, runs = config_of(2, 2, 0.9), 150, 1500
    guided = ClassifierFreeGuidance(TableDenoiser(), 2.0)
    expected = runs * autoregressive(guided, config)
    counts = torch.zeros_like(expected)
    prompts = Condition(PROMPT.keys, PROMPT.values, PROMPT.mask.expand(rows, -1))
    for first in range(0, runs, rows):
        rng = RowGenerators.for_rows(3, first, rows)
        ids = finished(corrected_decoding(guided, PROCESS, prompts, START.expand(rows, 1), N, rng, config))
        counts += torch.bincount((ids * torch.tensor([27, 9, 3, 1])).sum(1), minlength=len(counts))
    common = expected >= 5
    observed, wanted = (torch.cat([n[common], n[~common].sum()[None]]) for n in (counts, expected))
    freedom = len(wanted) - 1
    assert chi_square(observed, wanted) < freedom + 4.5 * math.sqrt(2 * freedom) + 5


def test_a_forecast_that_is_right_is_settled_in_one_step() -> None:
    """A block of three: the first token is drawn right, and two refinements make the others so."""
    for seed in range(20):
        oracle, rng, config = Oracle(), RowGenerators.for_rows(seed, 0, 1), config_of(3, 3)
        written = finished(corrected_decoding(oracle, PROCESS, PROMPT, START, 4, rng, config))
        assert oracle.draft_passes == 1
        assert torch.equal(written, one_after_the_other(oracle, rng, config, 4)[:, 1:])


def test_a_text_depends_on_no_other_of_its_batch_and_ends_at_its_end_mark() -> None:
    tables, end, config = TableDenoiser(), 2, config_of(2, 2)
    rows, texts = 30, []
    prompts = Condition(PROMPT.keys, PROMPT.values, PROMPT.mask.expand(rows, -1))
    states = corrected_decoding(
        tables, PROCESS, prompts, START.expand(rows, 1), N, RowGenerators.for_rows(0, 0, rows), config, end
    )
    together = finished(states)
    for row in range(rows):
        rng = RowGenerators.for_rows(0, row, 1)
        expected = one_after_the_other(tables, rng, config, N)[0, 1:].tolist()
        kept = expected[: expected.index(end)] if end in expected else expected
        alone = finished(corrected_decoding(tables, PROCESS, PROMPT, START, N, rng, config, end))[0].tolist()
        for text in (alone, together[row].tolist()):
            assert text[: len(kept)] == kept
            assert set(text[len(kept) :]) <= {end}
        texts.append((len(kept), len(alone)))
    assert (0, 2) in texts or (1, 2) in texts  # nothing is written after the block in which all have ended
    assert any(kept > 2 for kept, _ in texts)
