"""How the network starts: the distribution of every parameter, and that the generator alone decides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sunfish.config import Config, ModelConfig, TrainingConfig
from sunfish.model.transformer import Transformer, build_model
from sunfish.rng import make_generator
from tests.helpers import normal, process_of

WIDE = ModelConfig(vocab_size=300, n_layer=2, n_head=4, n_embd=64, context_length=80, prompt_length=70)


def start(name: str = "weights") -> Transformer:
    """Weights of a network with every optional part, as they are drawn."""
    conditioning = dict(time_conditioned=True, self_conditioned=True, guidance_conditioned=True)
    return Transformer(WIDE, **conditioning).init_weights(make_generator(name))


CONSTANT = {
    "output_scale": 0.02,  # first logits near 0
    "copy_head.scale": 0.3,
    "smear.prev_scale": 0.5,
    "smear.next_scale": 0.5,
    "copy_head.key_proj.weight": 0.0,
    "guidance_embedding.weight": 0.0,  # a student starts as its teacher
    "self_attention.out_proj.weight": 0.0,
    "down_proj.weight": 0.0,
    "scale": 1.0,
}
DEVIATION = {"token_embedding": 1.0, "null_token": 1.0, "position_embedding": 0.3, "causal_embedding": 0.3}


def first_of(table: dict[str, float], name: str) -> float | None:
    """The value of the first key that ``name`` ends with."""
    return next((value for key, value in table.items() if name.endswith(key)), None)


@torch.no_grad()
def test_every_parameter_starts_as_documented() -> None:
    """Constants, N(0, 1) embeddings, N(0, 0.3^2) positions, matrices of variance 1 / fan-in."""
    for name, parameter in start().named_parameters():
        constant = first_of(CONSTANT, name)
        if constant is not None:
            assert bool((parameter == constant).all()), name
            continue
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 1
        expected = first_of(DEVIATION, name) or fan_in**-0.5
        slack = 5 / (2 * parameter.numel()) ** 0.5
        if "cross_attention.out_proj" in name:  # orthogonal: exactly 1 / D on average
            slack = 1e-5
        assert float(parameter.pow(2).mean().sqrt()) == pytest.approx(expected, rel=slack), name
        assert abs(float(parameter.mean())) < 5 * expected / parameter.numel() ** 0.5, name


@torch.no_grad()
def test_cross_attention_starts_as_the_mean_of_the_prompt() -> None:
    """Its values and output matrix are an orthogonal matrix and its transpose, another one in each block."""
    network = start()
    values = network.prompt_encoder.kv_proj.weight.view(WIDE.n_layer, 2, WIDE.n_embd, -1)[:, 1]
    for value, block in zip(values, network.blocks, strict=True):
        output = block.cross_attention.out_proj.weight
        torch.testing.assert_close(output @ value, torch.eye(WIDE.n_embd), atol=1e-5, rtol=0)
    assert not torch.allclose(values[0], values[1], atol=0.1)


def test_the_generator_alone_decides() -> None:
    def weights(name: str, seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(start(name).parameters())

    first, again, other = weights("a", 0), weights("a", 1), weights("b", 0)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    drawn = [pair for pair in zip(first, other, strict=True) if not torch.equal(*pair)]
    names = [name for name, _ in start().named_parameters()]
    assert len(drawn) == len([name for name in names if first_of(CONSTANT, name) is None])


@pytest.mark.parametrize("distills", [False, True])
@pytest.mark.parametrize("name", ["masked", "uniform", "gaussian"])
def test_a_run_gets_the_network_that_its_process_needs(name: str, distills: bool) -> None:
    process = process_of(name)
    config = Config(model=WIDE, training=TrainingConfig(teacher="teacher.ckpt" if distills else ""))
    table = normal(9, 5)
    network = build_model(config, process, table)
    assert (network.time_embedding is not None) == (name != "masked")
    assert (network.self_conditioning is not None) == (name == "gaussian")
    assert (network.guidance_embedding is not None) == distills
    assert network.prompt_encoder.frozen_table is table
    assert build_model(config, process).prompt_encoder.frozen_table is None
