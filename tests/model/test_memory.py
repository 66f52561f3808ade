"""The memory of training is counted as autograd saves it: the formula beside the bytes of real tensors."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset
from sunfish.hardware.device import autocast
from sunfish.model.cost import matrix_parameters
from sunfish.model.memory import Shape, _copy_bytes, kept_bytes, sampling_memory, step_bytes
from sunfish.model.transformer import Transformer, build_model
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.training.loss import training_loss
from sunfish.training.optimizer import Muon, build_optimizers
from sunfish.training.rank_memory import HEAP_SHARE, training_memory
from sunfish.types import Batch

CPU = torch.device("cpu")
ROWS, PROMPT = 4, 12


def saved_bytes(config: Config, dtype: torch.dtype, length: int, block: int) -> int:
    """What autograd keeps of a forward pass, each storage once, the parameters left out."""
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("memory"))
    model.activation_checkpointing = config.training.activation_checkpointing
    model.set_dropout(config.training.dropout)
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    prompt = min(PROMPT, config.model.prompt_length)
    ids = torch.randint(config.model.vocab_size, (ROWS, length + prompt), generator=make_generator("ids"))
    mask = torch.ones(ROWS, prompt, dtype=torch.bool)
    batch = Batch(ids[:, :length], torch.full((ROWS,), length), ids[:, length:], mask)
    process = process.with_embeddings(model.token_embedding)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(CPU, dtype):
        training_loss(model, process, batch, make_generator("noise"), block or length, config.training)
    return sum(storage.nbytes() for storage in kept.values())


WIDE = {
    "n_embd": 320,
    "n_head": 5,
    "n_layer": 1,
    "vocab_size": 512,
}  # a copy head too wide for a fused kernel
CHANGED: list[dict[str, Any]] = [
    {},
    WIDE,
    {"n_embd": 64, "n_head": 4, "mlp_ratio": 4.0},
    {"n_layer": 3, "vocab_size": 4096},
    {"complementary": True},
    {"prompt_length": 0},
    {"next_token_weight": 0.0},
    {"next_token_weight": 1.0},
    {"dropout": 0.1},
    {"smear": False},
    {"process": "uniform"},
    {"process": "gaussian"},
]
PASSES = [(torch.float32, 96, 4), (torch.bfloat16, 64, 0), (torch.bfloat16, 96, 4), (torch.float32, 64, 0)]


@pytest.mark.parametrize(
    ("fields", "dtype", "length", "block"),
    [
        pytest.param(fields, *passes, marks=() if number == index % 4 or not fields else pytest.mark.slow)
        for index, fields in enumerate(CHANGED)
        for number, passes in enumerate(PASSES)
    ],
)
def test_the_formula_is_what_autograd_keeps(
    fields: dict[str, Any], dtype: torch.dtype, length: int, block: int
) -> None:
    config = preset("tiny", **{"vocab_size": 400, "batch_size": ROWS, **fields})
    formula = kept_bytes(config, Shape.of(config, length, PROMPT, dtype, CPU, block))
    assert formula == pytest.approx(saved_bytes(config, dtype, length, block), rel=0.13)


@pytest.mark.parametrize(("prompt_length", "branches"), [(64, 3), (0, 2)])
def test_dropout_keeps_an_output_of_each_branch_of_a_block(prompt_length: int, branches: int) -> None:
    config = preset("tiny", vocab_size=400, batch_size=ROWS, n_layer=3, prompt_length=prompt_length)
    shape = Shape.of(config, 96, prompt_length, torch.float32, CPU, 4)
    kept = kept_bytes(config.with_fields(dropout=0.1), shape) - kept_bytes(config, shape)
    assert kept == 3 * branches * ROWS * (96 + 96) * config.model.n_embd * 4  # a text and a canvas


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpointing_keeps_the_inputs_of_the_blocks(dtype: torch.dtype) -> None:
    config = preset(
        "tiny", n_layer=6, vocab_size=400, batch_size=ROWS, activation_checkpointing=True, prompt_length=0
    )
    shape = Shape.of(config, 96, 0, dtype, CPU, 4)
    assert kept_bytes(config, shape) == pytest.approx(saved_bytes(config, dtype, 96, 4), rel=0.13)


def live_bytes(config: Config, length: int, block: int) -> float:
    """The most bytes that tensors of a forward and backward pass have at a time, as PyTorch's allocator counts them."""
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("memory"))
    model.activation_checkpointing = config.training.activation_checkpointing
    ids = torch.randint(config.model.vocab_size, (ROWS, length + PROMPT), generator=make_generator("ids"))
    mask = torch.ones(ROWS, PROMPT, dtype=torch.bool)
    batch = Batch(ids[:, :length], torch.full((ROWS,), length), ids[:, length:], mask)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        losses = training_loss(model, process, batch, make_generator("noise"), block, config.training)
        losses.total.backward()
    sizes = [
        event.nbytes() for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    return max(accumulate(sizes))


@pytest.mark.parametrize(
    ("fields", "again"),
    [
        *(({}, False), ({"n_layer": 6, "n_embd": 64, "n_head": 2}, True)),
        pytest.param({}, True, marks=pytest.mark.slow),
        pytest.param({"n_layer": 6, "n_embd": 64, "n_head": 2}, False, marks=pytest.mark.slow),
    ],
)
def test_the_peak_of_the_passes_is_what_tensors_take(fields: dict[str, Any], again: bool) -> None:
    config = preset("tiny", vocab_size=400, batch_size=ROWS, activation_checkpointing=again, **fields)
    shape = Shape.of(config, 128, PROMPT, torch.float32, CPU, 4)
    assert step_bytes(config, shape) == pytest.approx(live_bytes(config, 128, 4), rel=0.13)


def test_the_matrices_are_those_of_muon() -> None:
    for config in (
        preset("nano"),
        preset("small"),
        preset("tiny", prompt_length=0),
        preset("nano", n_prompt_layer=2),
    ):
        with torch.device("meta"):
            model = Transformer(config.model)
        muon = build_optimizers(model, config.training, config.model.n_embd, torch.float32)[0]
        assert isinstance(muon, Muon)
        draft = sum(p.numel() for p in model.draft_head.parameters()) if model.draft_head else 0
        assert matrix_parameters(config.model) + draft == sum(
            p.numel() for p in muon.param_groups[0]["params"]
        )


def test_a_parameter_has_four_copies_and_a_gradient() -> None:
    """Weights, running mean, two moments; gradients count where they outweigh what a step keeps."""
    config = preset("nano")

    def more(parameters: int) -> float:
        return training_memory(config, parameters + 1000) - training_memory(config, parameters)

    assert more(300_000) == pytest.approx(1000 * 4 * 4)
    assert more(10**10) == pytest.approx(1000 * 4 * (4 + HEAP_SHARE[torch.float32]))


@torch.no_grad()
def test_a_further_text_takes_its_cache_and_its_logits() -> None:
    """Two rows each, for guidance, in the shapes of a real cache; 16 logits are there four times in units of 4 bytes."""
    config = preset("nano")
    network = Transformer(config.model).init_weights(make_generator("cache"))
    ids = torch.zeros(2, config.model.context_length, dtype=torch.long)
    prompt = torch.zeros(2, 1, dtype=torch.long)
    _, cache = network.prefill(ids, network.encode(prompt, prompt.bool()))
    logits = 2 * 16 * config.model.vocab_size * 4
    for texts in (1, 4):
        added = sampling_memory(config, texts + 1) - sampling_memory(config, texts)
        assert added == 4 * (cache.keys_values.numel() + logits)


def test_the_largest_block_length_counts_wherever_it_stands() -> None:
    config = preset("small")
    costs = [training_memory(config.with_fields(block_lengths=lengths)) for lengths in ((4,), (0,))]
    for lengths in ((4, 0), (0, 4)):
        assert training_memory(config.with_fields(block_lengths=lengths)) == max(costs)
    assert costs[0] != costs[1]


def test_memory_grows_with_all_that_takes_memory() -> None:
    for cost in (training_memory, sampling_memory):
        costs = [cost(preset(name)) for name in PRESETS]
        assert costs == sorted(costs)
    config = preset("small")
    plain = training_memory(config)
    assert training_memory(config, lengths=(128, 16)) < plain
    assert training_memory(config, dtype=torch.bfloat16, device=torch.device("cuda")) < plain
    for fields in (
        dict(batch_size=32),
        dict(complementary=True),
        dict(vocab_size=32_768),
        dict(context_length=512),
        dict(teacher="checkpoints/last.ckpt"),
    ):
        assert training_memory(config.with_fields(**fields)) > 1.1 * plain, fields
    assert training_memory(config.with_fields(prompt_length=0)) < plain
    deep = preset("base")
    assert training_memory(deep.with_fields(activation_checkpointing=True)) < 0.5 * training_memory(deep)


def test_the_bytes_of_the_copy_head_by_hand() -> None:
    """Two rows of 16 positions, one canvas, blocks of 4, three prompt tokens and the null slot, width 64."""
    config = preset("nano")
    positions, pairs = 2 * 16 * 2, 2 * 16 * (16 + 32)
    seen = pairs + positions * 4
    joined = 2 * 64 * 2 * (4 + 32)
    kept = 4 * (3 * positions * 64 + joined + seen)
    assert kept == 93_184
    assert _copy_bytes(config, Shape(2, 16, 3, 4, False, 4)) == kept
    fused = 4 * (4 * positions * 64 + joined + 2 * 64 * (seen // 16)) + 4 * seen
    assert fused == 166_912
    assert _copy_bytes(config, Shape(2, 16, 3, 4, True, 4)) == fused
    half = 2 * (4 * positions * 64 + joined + 2 * 64 * (seen // 16)) + 4 * seen  # the mask stays in float32
    assert _copy_bytes(config, Shape(2, 16, 3, 2, True, 4)) == half
