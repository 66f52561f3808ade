"""A batch in parts of similar lengths: loss and gradient are those of all rows at once, on any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sunfish.config import Config, TrainingConfig
from sunfish.config.presets import preset
from sunfish.rng import BatchNoise, Share, make_generator
from sunfish.training.loss import Losses, losses_at, training_loss
from sunfish.training.parallel import parts_of, parts_of_rows
from sunfish.training.ranks import Ranks
from sunfish.training.step import TrainingStep
from sunfish.training.time_sampling import (
    complementary_masks,
    fixed_count_mask,
    sample_training_times,
    short_block_weights,
)
from sunfish.types import Batch
from tests.helpers import CONFIG, END, batch, model, process_of

WIDTHS = (8, 16, 8, 12, 16, 8, 8, 12)  # multiples of a block, so that no block is cut
LENGTHS = (8, 16, 7, 11, 13, 6, 8, 12)


def texts_of(widths: Sequence[int] = WIDTHS, lengths: Sequence[int] = LENGTHS) -> Batch:
    """Rows of ``lengths`` in a batch that says how wide each is computed."""
    whole = batch(rows=len(lengths))
    x0 = whole.x0.clone()
    for row, length in enumerate(lengths):
        x0[row, length - 1 :] = END
    return whole._replace(x0=x0, lengths=torch.tensor(lengths), widths=tuple(widths))


def gradients(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def learn_parts(
    parts: Sequence[Batch], process: str, block_length: int, training: TrainingConfig
) -> tuple[list[Losses], dict[str, Tensor]]:
    """The losses of each part, and the sum of their gradients."""
    network = model(process=process)
    corruption, losses = process_of(process, network), []
    for part in parts:
        losses.append(training_loss(network, corruption, part, make_generator("s"), block_length, training))
        losses[-1].total.backward()
    return losses, gradients(network)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The network computes in float64; its losses are float32, and so is the gradient of the output layer."""
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("complementary", [False, True])
def test_parts_are_the_padded_whole_whose_padding_is_hidden(complementary: bool) -> None:
    """In the whole, positions after a row's width are known, so that nothing is asked of them.

    Blocks of four positions see only themselves and the text before, so these positions change nothing else.
    """
    texts, training = texts_of(), TrainingConfig(complementary=complementary, prompt_dropout=0.5)
    losses, found = learn_parts(parts_of(texts, training), "masked", 4, training)
    assert len(losses) == 3

    network = model()
    corruption, generator = process_of("masked", network), make_generator("s")
    t = sample_training_times(texts, 4, corruption, training, generator)
    rng = BatchNoise(generator)
    dropped = rng.uniform(len(texts.x0)) < training.prompt_dropout
    noise, t = fixed_count_mask(t, 4, rng)
    beyond = torch.arange(16) >= torch.tensor(WIDTHS)[:, None]
    noise, t = noise.masked_fill(beyond, 0), t.masked_fill(beyond, 0)
    if complementary:
        noise, t = complementary_masks(noise, t)
    x0 = texts.x0.repeat(1, t.shape[1] // 16)
    x_t = corruption.corrupt(x0, noise, rng)
    condition = network.encode(texts.prompt, texts.prompt_mask).drop(dropped)
    weight = training.next_token_weight
    weights = None if complementary else short_block_weights(t)
    whole = losses_at(network, corruption, texts, condition, x_t, t, 4, weight, weights=weights)
    whole.total.backward()
    for name in ("canvas", "next_token"):
        added = torch.stack([getattr(part, name) for part in losses]).sum()
        torch.testing.assert_close(added, getattr(whole, name), atol=0, rtol=1e-6)
    assert sum(part.scored for part in losses) == whole.scored
    expected = gradients(network)
    if complementary:  # a second canvas counts its draft tokens from the end of the first, which is shorter
        found, expected = (
            {name: g for name, g in all_.items() if not name.startswith("draft_head")}
            for all_ in (found, expected)
        )
    for name in (name for name in found if name.startswith("draft_head")):
        found[name] = found[name] * texts.tokens / whole.drafted
    same(found, expected)


def test_pure_autoregression_in_parts_is_that_of_the_padded_whole() -> None:
    """The next token is asked of real tokens only, and no position sees what comes after it."""
    training = TrainingConfig(next_token_weight=1.0, prompt_dropout=0.5)
    texts = texts_of(widths=LENGTHS)
    losses, found = learn_parts(parts_of(texts, training), "masked", 4, training)
    assert len(losses) == len(set(LENGTHS))
    (whole,), expected = learn_parts([texts], "masked", 4, training)
    torch.testing.assert_close(
        torch.stack([part.total for part in losses]).sum(), whole.total, atol=0, rtol=1e-6
    )
    same(found, expected)


@pytest.mark.parametrize(
    ("process", "block_length"),
    [
        *(("masked", 5), ("uniform", 24), ("mixed", 5), ("gaussian", 24)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("masked", 24), ("uniform", 5), ("mixed", 24), ("gaussian", 5))
        ),
    ],
)
def test_parts_are_their_rows_alone(process: str, block_length: int) -> None:
    """Whatever the process, and where blocks and the whole text end with the row."""
    texts, training = texts_of(widths=LENGTHS), TrainingConfig(prompt_dropout=0.5)
    parts, found = learn_parts(parts_of(texts, training), process, block_length, training)
    alone = [texts.part([row], length) for row, length in enumerate(LENGTHS)]
    rows, expected = learn_parts(alone, process, block_length, training)
    assert len(parts) < len(rows)
    total = torch.stack([losses.total for losses in rows]).sum()
    torch.testing.assert_close(
        torch.stack([losses.total for losses in parts]).sum(), total, atol=0, rtol=1e-6
    )
    same(found, expected)


def rank_batch(texts: Batch, rank: int, size: int) -> Batch:
    """The rows of one process, as the loader gives them to it."""
    rows = range(rank, len(texts.x0), size)
    return texts.part(rows, texts.x0.shape[1])._replace(widths=texts.widths)


@pytest.mark.parametrize(
    ("size", "accumulation"),
    [*((2, 1), (4, 2)), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, 2), (4, 1)))],
)
def test_processes_have_equally_many_parts_and_together_all_rows(size: int, accumulation: int) -> None:
    texts = texts_of()
    training = replace(TrainingConfig(), batch_size=8, gradient_accumulation=accumulation)
    parts = [parts_of(rank_batch(texts, rank, size), training) for rank in range(size)]
    assert len({len(of_rank) for of_rank in parts}) == 1
    seen = [row for of_rank in parts for part in of_rank for row in part.share.rows]
    assert sorted(seen) == list(range(8))
    for part in (part for of_rank in parts for part in of_rank):
        assert {WIDTHS[row] for row in part.share.rows} == {part.x0.shape[1]}
        assert len(part.x0) <= 8 // size // accumulation or accumulation == 1
    _, expected = learn_parts([texts.part([row], WIDTHS[row]) for row in range(8)], "masked", 4, training)
    _, found = learn_parts([part for of_rank in parts for part in of_rank], "masked", 4, training)
    same(found, expected)


def test_rows_of_equal_width_are_divided_only_where_they_must() -> None:
    assert parts_of_rows([7, 5, 7, 5], most=4) == [[1, 3], [0, 2]]
    assert parts_of_rows([7, 5, 7, 5], most=1) == [[1], [3], [0], [2]]
    assert parts_of_rows([5, 5, 5, 5, 9], most=5, count=3) == [[0, 2], [1, 3], [4]]
    assert parts_of_rows([5, 5, 5, 5, 9], most=5, count=5) == [[0], [2], [1], [3], [4]]


def test_a_batch_of_one_width_stays_whole() -> None:
    texts = texts_of(widths=[16] * 8)
    assert parts_of(texts, TrainingConfig())[0] is texts and texts.positions == 8 * 16
    assert texts_of().positions == sum(WIDTHS)


def test_a_copy_of_a_teacher_is_trained_whole() -> None:
    """Its losses are means over all positions, which parts cannot add up to."""
    texts = texts_of()
    assert parts_of(texts, replace(TrainingConfig(), teacher="some.ckpt")) == [texts]


def test_a_step_learns_from_the_sum_of_the_parts() -> None:
    """The gradient before clipping and the figures of the log, on one process."""
    texts = texts_of()
    training = replace(TrainingConfig(), batch_size=8, block_lengths=(4,))
    network = model()
    corruption = process_of("masked", network)
    config = replace(preset("nano"), model=CONFIG, training=training)
    assert isinstance(config, Config)
    step = TrainingStep.build(config, network, corruption, torch.float32)
    assert step.ranks == Ranks()
    losses = step._learn(texts, make_generator("s"), 0)
    parts, expected = learn_parts(parts_of(texts, training), "masked", 4, training)
    drafted = sum(part.drafted for part in parts)
    for name in (name for name in expected if name.startswith("draft_head")):
        expected[name] = expected[name] * texts.tokens / drafted
    same(gradients(network), expected)
    scored = sum(part.scored for part in parts)
    means = sum(float(part.cross_entropy) * part.scored for part in parts) / scored
    assert (losses.scored, losses.drafted) == (scored, drafted)
    assert float(losses.cross_entropy) == pytest.approx(means)
    assert float(losses.canvas) == pytest.approx(sum(float(part.canvas) for part in parts))


def test_a_share_without_rows_is_everything() -> None:
    numbers = torch.arange(6.0)
    assert torch.equal(Share().of(numbers), numbers)
