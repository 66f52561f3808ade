"""What every process must obey, at every schedule and block length, by its name alone."""

from __future__ import annotations

import pytest
import torch

from sunfish.config import Config, ProcessConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.processes import PROCESSES, build_process
from sunfish.processes.schedules import SCHEDULES
from sunfish.rng import Streams, generator_of
from sunfish.sampling.block_diffusion import generate
from sunfish.training.loss import block_times, losses_at
from sunfish.types import Process
from tests.helpers import CONFIG, batch, model, trained_and_cached

EVERY = pytest.mark.parametrize(
    "config",
    [ProcessConfig(process=name, schedule=schedule) for name in PROCESSES for schedule in SCHEDULES],
    ids=lambda config: f"{config.process}-{config.schedule}",
)
TABLE = torch.randn(
    CONFIG.vocab_size + 1, CONFIG.n_embd, generator=generator_of("table"), dtype=torch.float64
)
X0 = torch.randint(CONFIG.vocab_size, (3, 40), generator=generator_of("x0"))


def corrupt(process: Process, x0: torch.Tensor, time: float) -> torch.Tensor:
    t = torch.full(x0.shape, time, dtype=torch.float64)
    return process.corrupt(x0, t, TABLE, Streams([generator_of("noise")]))


@EVERY
def test_no_time_keeps_the_text_and_all_of_it_leaves_nothing(config: ProcessConfig) -> None:
    process = build_process(config)
    assert torch.equal(process.decode(corrupt(process, X0, 0.0), TABLE), X0)
    other = (X0 + 1) % CONFIG.vocab_size
    assert torch.equal(corrupt(process, X0, 1.0), corrupt(process, other, 1.0))  # same noise, any text
    evidence = process.evidence(corrupt(process, X0, 1.0), torch.ones(X0.shape, dtype=torch.float64), TABLE)
    assert evidence is None or float(evidence.abs().max()) < 1e-6


@EVERY
def test_more_time_is_more_noise(config: ProcessConfig) -> None:
    process, clean = build_process(config), corrupt(build_process(config), X0, 0.0)
    kept = [
        float((corrupt(process, X0, time) - clean).abs().double().mean()) for time in (0.0, 0.3, 0.6, 1.0)
    ]
    assert kept == sorted(kept) and kept[0] == 0 < kept[1] and len(set(kept)) == 4


@EVERY
def test_only_unknown_tokens_have_a_loss(config: ProcessConfig) -> None:
    process = build_process(config)
    t = torch.rand(X0.shape, generator=generator_of("t"), dtype=torch.float64)
    t[:, ::3] = 0
    x_t = process.corrupt(X0, t, TABLE, Streams([generator_of("noise")]))
    logits = torch.randn(*X0.shape, CONFIG.vocab_size, generator=generator_of("logits"), dtype=torch.float64)
    losses = process.loss(logits, X0, x_t, t)
    assert losses.shape == X0.shape and bool(losses.isfinite().all()) and float(losses.min()) >= -1e-9
    assert not losses[~process.scored(x_t, t, TABLE)].any()
    assert not process.scored(x_t, t, TABLE)[:, ::3].any()


@pytest.mark.parametrize("block", [1, 3, 8, 0])
@EVERY
def test_known_tokens_stay_and_a_text_does_not_depend_on_its_batch(config: ProcessConfig, block: int) -> None:
    process = build_process(config)
    m = model(config=Config(model=CONFIG, process=config).model)
    b, free = batch(), torch.rand(3, 16, generator=generator_of("free")) < 0.6
    free[:, 0] = False

    def write(rows: slice, sampler: str) -> torch.Tensor:
        cond = m.encode(b.prompt[rows], b.prompt_mask[rows])
        rng = Streams.for_rows(9, rows.start, len(range(3)[rows]))
        settings = SamplingSettings(num_steps=3, block_length=block, sampler=sampler)
        return torch.cat(list(generate(m, process, cond, b.x0[rows], free[rows], rng, settings)), 1)

    for sampler in process.samplers:
        together = write(slice(0, 3), sampler)
        assert torch.equal(together[~free], b.x0[~free])
        assert int(together.max()) < CONFIG.vocab_size
        for row in range(3):
            assert torch.equal(write(slice(row, row + 1), sampler), together[row : row + 1])


@pytest.mark.parametrize("block", [4, 0])
@pytest.mark.parametrize("name", PROCESSES)
def test_losses_are_what_they_say(name: str, block: int) -> None:
    """What is minimised, its unweighted form and what is reported, from all logits at once in float64."""
    config = ProcessConfig(process=name)
    process, m, b = build_process(config), model(config=Config(model=CONFIG, process=config).model), batch()
    t = block_times(b, block, 0.0, 1.0, generator_of("t")).double()
    x_t = process.corrupt(b.x0, t, m.table, Streams([generator_of("x")]))
    cond, tokens = m.encode(b.prompt, b.prompt_mask), (b.lengths - 1).sum()
    past, _ = m.remember(b.x0, cond)
    logits = m(x_t, t, cond, past, 0, block)
    evidence, scored = process.evidence(x_t, t, m.table), process.scored(x_t, t, m.table)
    posterior = torch.log_softmax(logits if evidence is None else logits + evidence, -1)
    cross_entropy = -posterior.gather(-1, b.x0[..., None]).squeeze(-1) * scored
    reported = process.loss(logits, b.x0, x_t, t) if process.has_bound else cross_entropy
    for expected, flags in (
        (process.weight(x_t, t, m.table) * cross_entropy, {}),
        (cross_entropy, {"unweighted": True}),
        (reported, {"evaluates": True}),
    ):
        found = losses_at(m, process, b, cond, x_t, t, block, 0.0, **flags)
        torch.testing.assert_close(
            found.canvas.double(), expected.sum().detach() / tokens, rtol=2e-5, atol=1e-5
        )


@pytest.mark.parametrize("block", [1, 4, 0])
@pytest.mark.parametrize("name", PROCESSES)
def test_training_and_cached_sampling_give_the_same_logits(name: str, block: int) -> None:
    config = ProcessConfig(process=name)
    together, cached = trained_and_cached(
        model(config=Config(model=CONFIG, process=config).model), build_process(config), block
    )
    torch.testing.assert_close(cached, together, atol=1e-10, rtol=0)
