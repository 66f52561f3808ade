"""The arithmetic of a model: the formulas beside the operations and matrices of real networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sunfish.config import Config, ModelConfig, ProcessConfig, TrainingConfig
from sunfish.model.cost import describe, disk_needed, flops_per_token, layer_parameters, matrix_parameters
from sunfish.model.transformer import Transformer, count_parameters
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.training.loss import training_loss
from sunfish.training.optimizer import UPDATE_INTERVAL, Muon, build_optimizers, newton_schulz
from sunfish.training.throughput import optimizer_flops
from sunfish.types import Batch

PLAIN = ModelConfig(
    vocab_size=256, n_layer=3, n_head=2, n_embd=64, context_length=16, prompt_length=0, draft_head=False
)
PROMPTED = replace(PLAIN, prompt_length=6, n_prompt_layer=2, n_layer=2, mlp_ratio=2.0)


def products(config: ModelConfig, weight: float) -> float:
    """Operations a token of all matrix products of a training step, attention left out, as PyTorch counts them."""
    rows, length = 32, config.context_length
    network = Transformer(config).init_weights(make_generator("cost"))
    ids = torch.randint(1, config.vocab_size, (rows, length), generator=make_generator("ids"))
    nothing = torch.zeros(rows, 0, dtype=torch.long)
    batch = Batch(ids, torch.full((rows,), length), nothing, nothing.bool())
    process = build_process(ProcessConfig(), config.vocab_size)
    with FlopCounterMode(display=False) as counter:
        training = TrainingConfig(next_token_weight=weight)
        training_loss(network, process, batch, make_generator("s"), length, training).total.backward()
    return counter.get_total_flops() / (rows * length)


@pytest.mark.parametrize(
    "config", [PLAIN, replace(PLAIN, n_embd=128, mlp_ratio=4.0), replace(PLAIN, vocab_size=1024)]
)
@pytest.mark.parametrize("next_token", [True, False])
def test_a_step_takes_the_operations_of_the_formula(config: ModelConfig, next_token: bool) -> None:
    """Within 6%: half of a canvas is masked in the mean only."""
    passes = 2 if next_token else 1
    keys = sum(position + 1 for position in range(config.context_length)) / config.context_length - 0.5
    attention = 3 * (2 + 2) * keys * config.n_embd * config.n_layer  # scores and values, forward and backward
    expected = products(config, 0.75 if next_token else 0.0) + passes * attention
    assert flops_per_token(config, next_token) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("config", [PLAIN, PROMPTED])
def test_matrices_are_those_of_the_network(config: ModelConfig) -> None:
    """Of the layers that every token meets, and of all that Muon updates."""
    network = Transformer(config)
    sizes = {
        name: p.numel() for name, p in network.named_parameters() if name.endswith(".weight") and p.ndim == 2
    }
    met = sum(size for name, size in sizes.items() if not name.startswith("prompt_encoder."))
    assert layer_parameters(config) == met
    assert matrix_parameters(config) == sum(sizes.values())


@pytest.mark.parametrize("config", [PLAIN, PROMPTED])
def test_the_optimizer_takes_the_operations_of_its_products(config: ModelConfig) -> None:
    """Of the iteration over each projection, one in ``UPDATE_INTERVAL`` steps."""
    muon, _ = build_optimizers(Transformer(config), TrainingConfig(), config.n_embd, torch.float32)
    assert isinstance(muon, Muon)
    with FlopCounterMode(display=False) as counter:
        for matrix, projections in muon.projections.items():
            for part in matrix.detach().chunk(projections):
                newton_schulz(part[None], torch.float32)
    assert optimizer_flops(config) == pytest.approx(counter.get_total_flops() / UPDATE_INTERVAL)


def test_the_model_is_described_in_two_lines() -> None:
    config = Config(model=PROMPTED, training=TrainingConfig(name="tales", batch_size=7))
    parameters = count_parameters(PROMPTED)
    assert describe(config) == (
        f"tales: {parameters:,} parameters\n2 layers, 2 heads, width 64, feed-forward 128, 256 tokens, context 16, "
        "prompts of 6 tokens; batches of 7"
    )
    assert describe(config, 1234567).startswith("tales: 1,234,567 parameters\n")


def test_disk_is_counted_for_three_checkpoints_and_six_milestones() -> None:
    """A checkpoint: weights, average, and the trainer's weights with two moments; a milestone: the average alone."""
    number = 4  # bytes
    assert disk_needed(1000, data=7.0) == 7.0 + 1000 * number * (3 * (1 + 1 + 1 + 2) + 6)
    assert disk_needed(1000) - disk_needed(1000, data=0) == pytest.approx(0.3 * 2**30)


@pytest.mark.parametrize("next_token", [True, False])
def test_attention_looks_at_half_of_the_context_in_the_mean(next_token: bool) -> None:
    """A product with each key and one with each value of the positions so far; the backward pass takes twice that."""
    lengths = (4000, 12_000)
    short, long = (flops_per_token(replace(PLAIN, context_length=length), next_token) for length in lengths)
    keys = [sum(range(1, length + 1)) / length for length in lengths]
    products = 2 * 2 * PLAIN.n_embd * PLAIN.n_layer * (keys[1] - keys[0])
    assert long - short == pytest.approx((2 if next_token else 1) * 3 * products)
