"""What every process must obey at every block length, by its name alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.processes import process_builders
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.sampling.unmasking import policies_for
from sunfish.training.loss import losses_at
from sunfish.training.time_sampling import sample_block_times
from sunfish.types import Process
from tests.helpers import (
    CONFIG,
    ONE_LAYER,
    batch,
    finished,
    model,
    process_of,
    row_generators,
    separate_passes,
)

EVERY_PROCESS = pytest.mark.parametrize("name", process_builders())
X0 = torch.randint(CONFIG.vocab_size, (3, 40), generator=make_generator("x0"))


def with_table(name: str) -> Process:
    """The process over the embeddings of a model."""
    return process_of(name, model(process=name))


def corrupt(process: Process, x0: Tensor, time: float) -> Tensor:
    """All of ``x0`` at one time, always with the same noise."""
    return process.corrupt(x0, torch.full(x0.shape, time, dtype=torch.float64), row_generators("noise"))


@EVERY_PROCESS
def test_a_process_has_what_the_protocol_asks(name: str) -> None:
    process = with_table(name)
    assert isinstance(process, Process)
    assert process.state_kind in ("masks", "tokens", "vectors")
    assert process.default_sampler in policies_for(process)


@EVERY_PROCESS
@torch.no_grad()
def test_at_time_0_the_text_is_kept_and_at_time_1_nothing_is_left(name: str) -> None:
    process = with_table(name)
    assert torch.equal(process.decode(corrupt(process, X0, 0.0)), X0)
    noise, other = corrupt(process, X0, 1.0), (X0 + 1) % CONFIG.vocab_size
    assert torch.equal(noise, corrupt(process, other, 1.0))  # the same noise, whatever the text
    likelihood = process.log_likelihood(noise, torch.ones(X0.shape, dtype=torch.float64))
    assert likelihood is None or float(likelihood.abs().max()) < 1e-6


@EVERY_PROCESS
@torch.no_grad()
def test_more_time_is_more_noise(name: str) -> None:
    process = with_table(name)
    clean = corrupt(process, X0, 0.0)
    distances = [
        float((corrupt(process, X0, time) - clean).abs().double().mean()) for time in (0.0, 0.3, 0.6, 1.0)
    ]
    assert distances == sorted(distances) and distances[0] == 0 < distances[1] and len(set(distances)) == 4


@EVERY_PROCESS
@torch.no_grad()
def test_only_unknown_tokens_have_a_loss(name: str) -> None:
    process = with_table(name)
    t = torch.rand(X0.shape, generator=make_generator("t"), dtype=torch.float64)
    t[:, ::3] = 0
    x_t = process.corrupt(X0, t, row_generators("noise"))
    generator = make_generator("logits")
    logits = torch.randn(*X0.shape, CONFIG.vocab_size, generator=generator, dtype=torch.float64)
    losses, scored = process.loss(logits, X0, x_t, t), process.loss_mask(x_t, t)
    assert losses.shape == X0.shape and bool(losses.isfinite().all()) and float(losses.min()) >= -1e-9
    weight = process.weight(x_t, t)
    assert not losses[~scored].any() and not weight[~scored].any()
    torch.testing.assert_close(weight[scored], 1 / t[scored])  # -alpha' / (1 - alpha), where alpha is 1 - t
    assert bool(scored.any()) and not scored[:, ::3].any()


@pytest.mark.parametrize(
    ("block_length", "scale"),
    [
        (0, 1.0),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 1.0), (1, 2.0), (3, 1.0), (3, 2.0))),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((8, 1.0), (8, 2.0), (0, 2.0))),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((99, 1.0), (99, 2.0))),
    ],
)
@EVERY_PROCESS
def test_known_tokens_stay_and_a_text_does_not_depend_on_its_batch(
    name: str, block_length: int, scale: float
) -> None:
    network, texts = model(config=ONE_LAYER, process=name), batch()
    process, free = process_of(name, network), torch.rand(3, 16, generator=make_generator("free")) < 0.6
    free[:, 0] = False

    def generate(rows: slice, sampler: str) -> Tensor:
        condition = network.encode(texts.prompt[rows], texts.prompt_mask[rows])
        rng = RowGenerators.for_rows(9, rows.start, len(range(3)[rows]))
        config = GenerationConfig(num_steps=3, block_length=block_length, sampler=sampler)
        guided = ClassifierFreeGuidance(network, scale)
        ids = texts.x0[rows], free[rows]
        return finished(block_diffusion(guided, process, condition, *ids, rng, config))

    for sampler in policies_for(process):
        together = generate(slice(0, 3), sampler)
        assert torch.equal(together[~free], texts.x0[~free])
        assert int(together.max()) < CONFIG.vocab_size
        for row in range(3):
            assert torch.equal(generate(slice(row, row + 1), sampler), together[row : row + 1])


@pytest.mark.parametrize("block_length", [4, 16])
@EVERY_PROCESS
def test_losses_are_what_they_say(name: str, block_length: int) -> None:
    """What is minimized and what is reported, from all logits at once in float64."""
    network, texts = model(process=name), batch()
    process = process_of(name, network)
    t = sample_block_times(texts, block_length, 0.0, 1.0, make_generator("t")).double()
    with torch.no_grad():
        x_t = process.corrupt(texts.x0, t, row_generators("x"))
    condition, tokens = network.encode(texts.prompt, texts.prompt_mask), (texts.lengths - 1).sum()
    _, hidden = separate_passes(network, texts.x0, x_t, t, condition, block_length)
    logits, likelihood = network.head(hidden), process.log_likelihood(x_t, t)
    posterior = torch.log_softmax(logits if likelihood is None else logits + likelihood, -1)
    cross_entropy = -posterior.gather(-1, texts.x0[..., None]).squeeze(-1) * process.loss_mask(x_t, t)
    reported = process.loss(logits, texts.x0, x_t, t) if process.is_elbo else cross_entropy
    for expected, evaluating in ((process.weight(x_t, t) * cross_entropy, False), (reported, True)):
        losses = losses_at(network, process, texts, condition, x_t, t, block_length, 0.0, evaluating)
        mean = expected.sum().detach() / tokens
        torch.testing.assert_close(losses.canvas.double(), mean, rtol=2e-5, atol=1e-5)
