"""Shape of the network and its process: every weight's shape as a formula of the fields, and what parts do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import sunfish.training.run_state as run_state
from sunfish.config import Config, ModelConfig, ProcessConfig
from sunfish.model.pretrained_prompts import PretrainedPrompts
from sunfish.model.transformer import Transformer, build_model, count_parameters
from sunfish.processes import build_process
from sunfish.tokenizers import build_tokenizer
from sunfish.training.trainer import Trainer
from tests.helpers import CONFIG, batch, model, row_generators
from tests.settings.table import covers, spy

Make = Callable[..., Trainer]
Shapes = dict[str, tuple[int, ...]]


def block_shapes(c: ModelConfig, name: str, cross: bool) -> Shapes:
    """The weights of one layer: attention, attention to the prompt, SwiGLU."""
    d, hidden = c.n_embd, 32 * math.ceil(c.mlp_ratio * c.n_embd / 32 - 1e-9)
    attention = {"qkv_proj.weight": (3 * d, d), "out_proj.weight": (d, d), "scale": (c.n_head, 1, 1)}
    prompt = {"q_proj.weight": (d, d), "out_proj.weight": (d, d), "scale": (c.n_head, 1, 1)}
    return {
        **{f"{name}.self_attention.{part}": shape for part, shape in attention.items()},
        **{f"{name}.cross_attention.{part}": shape for part, shape in prompt.items() if cross},
        f"{name}.feed_forward.gate_up_proj.weight": (2 * hidden, d),
        f"{name}.feed_forward.down_proj.weight": (d, hidden),
    }


def shapes(c: ModelConfig) -> Shapes:
    """The weights of the network, less those of the copy and draft heads and of the smear."""
    d, prompted = c.n_embd, c.prompt_length > 0
    expected: Shapes = {
        "token_embedding": (c.vocab_size + 1, d),
        "position_embedding": (c.context_length, d),
        "causal_embedding": (d,),
        "output_scale": (d,),
    }
    for layer in range(c.n_layer):
        expected |= block_shapes(c, f"blocks.{layer}", cross=prompted)
    for layer in range(c.n_prompt_layer * prompted):
        expected |= block_shapes(c, f"prompt_encoder.blocks.{layer}", cross=False)
    if prompted:
        expected |= {
            "prompt_encoder.position_embedding": (c.prompt_length, d),
            "prompt_encoder.null_token": (d,),
            "prompt_encoder.kv_proj.weight": (2 * c.n_layer * d, d),
        }
    return expected


@covers(
    ModelConfig, "vocab_size", "n_layer", "n_head", "n_embd", "mlp_ratio", "context_length", "prompt_length"
)
@covers(ModelConfig, "n_prompt_layer", "smear", "draft_head")
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"vocab_size": 31},
        {"n_layer": 3},
        {"n_head": 4},
        {"n_embd": 24},
        {"mlp_ratio": 5.0},
        {"context_length": 40},
        {"prompt_length": 9},
        {"prompt_length": 0},
        {"n_prompt_layer": 2},
        {"smear": False},
        {"draft_head": False},
    ],
    ids=str,
)
def test_shape_of_every_weight(changed: dict[str, Any]) -> None:
    config = replace(CONFIG, **changed)
    network = build_model(Config(model=config), build_process(ProcessConfig(), config.vocab_size))
    found = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    extra = {name.split(".")[0] for name in found.keys() - shapes(config).keys()}
    assert {name: found.get(name) for name in shapes(config)} == shapes(config)
    parts = {"copy_head": True, "smear": config.smear, "draft_head": config.draft_head}
    parts["prompt_encoder"] = config.prompt_length == 0  # it keeps a null slot for the copy head
    assert extra == {part for part, is_there in parts.items() if is_there}
    assert network.cos.shape == (config.context_length, config.n_embd // config.n_head)
    assert count_parameters(config) == sum(parameter.numel() for parameter in network.parameters())


def test_hidden_width_of_wide_networks() -> None:
    """Whole tiles of 32, of 128 from width 512."""
    assert replace(CONFIG, n_embd=512, n_head=2, mlp_ratio=2.1).n_hidden == 1152
    assert replace(CONFIG, n_embd=480, n_head=2, mlp_ratio=2.1).n_hidden == 1024


@covers(ModelConfig, "context_length", "prompt_length")
def test_longer_than_the_network_is_refused() -> None:
    network, b = model(), batch(length=CONFIG.context_length + 1)
    condition = network.encode(b.prompt, b.prompt_mask)
    with pytest.raises(ValueError, match="built for context_length 24"):
        network.prefill(b.x0, condition)
    with pytest.raises(ValueError, match="prompt has 7 tokens, but this model was built for prompt_length 6"):
        network.encode(torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 7, dtype=torch.bool))


@covers(ModelConfig, "n_head", "smear")
@torch.no_grad()
def test_heads_and_smear_change_what_is_predicted() -> None:
    """With the weights of the other network wherever they fit."""
    b, base = batch(), model()

    def logits(config: ModelConfig) -> torch.Tensor:
        network = model(config=config)
        fitting = {
            k: v for k, v in base.state_dict().items() if v.shape == network.state_dict().get(k, v).shape
        }
        network.load_state_dict({k: v for k, v in fitting.items() if k in network.state_dict()}, strict=False)
        return network.prefill(b.x0, network.encode(b.prompt, b.prompt_mask))[0]

    torch.testing.assert_close(logits(CONFIG), base.prefill(b.x0, base.encode(b.prompt, b.prompt_mask))[0])
    for changed in ({"n_head": 4}, {"smear": False}):
        assert float((logits(replace(CONFIG, **changed)) - logits(CONFIG)).abs().max()) > 1e-3


@covers(ModelConfig, "prompt_encoder")
@covers(build_model, "config", "process", "prompt_table")
def test_embeddings_of_another_model(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are frozen, in the network as they came, and prompts are cut into that model's tokens."""
    tokenizer = build_tokenizer("characters", 60, ["about the sea, a cat and a dog ran home: sun tree"])
    table, names = torch.randn(60, 5), list[str]()

    def load(name: str) -> PretrainedPrompts:
        names.append(name)
        return PretrainedPrompts(table, tokenizer.engine)

    monkeypatch.setattr(run_state, "load_pretrained_prompts", load)
    trainer = make(prompt_encoder="hf:some-model")
    encoder = trainer.model.prompt_encoder
    assert names == ["hf:some-model"]
    assert torch.equal(encoder.frozen_table, table)  # type: ignore[arg-type]
    assert encoder.adapter.weight.shape == (trainer.config.model.n_embd, 5)  # type: ignore[union-attr]
    prompt = trainer.prepared.split("train").prompt(0).tolist()
    assert tokenizer.decode(prompt).startswith("about ")
    before = table.clone()
    trainer.train_step()
    assert torch.equal(encoder.frozen_table, before)  # type: ignore[arg-type]
    assert make().model.prompt_encoder.frozen_table is None


@covers(ProcessConfig, "process")
@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("masked", set()),
        ("uniform", {"time_embedding"}),
        ("mixed", {"time_embedding"}),
        ("gaussian", {"time_embedding", "self_conditioning"}),
    ],
)
def test_process_of_a_run(make: Make, monkeypatch: pytest.MonkeyPatch, name: str, inputs: set[str]) -> None:
    """The network takes in what it asks for; steps, validation and samples corrupt by it."""
    trainer = make(process=name)
    optional = ("time_embedding", "self_conditioning", "guidance_embedding")
    assert {part for part in optional if getattr(trainer.model, part) is not None} == inputs
    expected = type(build_process(ProcessConfig(process=name), trainer.config.model.vocab_size))
    corrupted = spy(monkeypatch, expected, "corrupt")
    for action in (trainer.train_step, trainer.validate, trainer.sample):
        corrupted.clear()
        action()
        assert corrupted
        assert getattr(corrupted[0]["self"], "mask_id", 320) == 320
    share = getattr(trainer.process, "uniform_share", None)
    assert share == {"masked": None, "uniform": 1.0, "mixed": 0.1, "gaussian": None}[name]


@covers(ProcessConfig, "uniform_share")
@covers(build_process, "config", "vocab_size")
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_share_of_random_tokens(share: float) -> None:
    """Pure noise is a random token with that chance, else a mask; and each token is as likely as any."""
    process = build_process(ProcessConfig(process="mixed", uniform_share=share), 10)
    noise = process.corrupt(
        torch.zeros(100, 400, dtype=torch.long), torch.ones(100, 400), row_generators("x")
    )
    counts = torch.bincount(noise.flatten(), minlength=11) / noise.numel()
    assert float(counts[10]) == pytest.approx(1 - share, abs=0.01)
    assert counts[:10].tolist() == pytest.approx([share / 10] * 10, abs=0.005)


@covers(Transformer, "config", "time_conditioned", "self_conditioned", "guidance_conditioned", "prompt_table")
@covers(count_parameters, "config", "time_conditioned", "self_conditioned", "guidance_conditioned")
@pytest.mark.parametrize(
    ("flag", "part", "weights"),
    [
        ("time_conditioned", "time_embedding", 8 * 16),
        ("self_conditioned", "self_conditioning", 16 * 16),
        ("guidance_conditioned", "guidance_embedding", 8 * 16),
    ],
)
def test_inputs_of_the_network(flag: str, part: str, weights: int) -> None:
    network = Transformer(CONFIG, **{flag: True})  # type: ignore[arg-type]
    assert getattr(network, part) is not None and getattr(Transformer(CONFIG), part) is None
    assert count_parameters(CONFIG, **{flag: True}) - count_parameters(CONFIG) == weights
    assert Transformer(CONFIG, prompt_table=torch.zeros(7, 3)).prompt_encoder.adapter is not None
