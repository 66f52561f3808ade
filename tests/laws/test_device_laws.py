"""Whatever samples or learns makes its tensors on the device of its inputs, never on PyTorch's default device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sunfish.config import GenerationConfig, TrainingConfig
from sunfish.model.layout import joint_tiles
from sunfish.processes import process_builders
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.decoding import decode
from sunfish.sampling.generated import Generated
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.sliding_window import sliding_window
from sunfish.sampling.speculative import speculative_decoding
from sunfish.sampling.unmasking import policies_for
from sunfish.tokenizers import TextTokenizer
from sunfish.training.loss import training_loss
from tests.helpers import CONFIG, END, batch, finished, model, process_of, row_generators

EVERY_PROCESS = pytest.mark.parametrize("name", process_builders())
ELSEWHERE = "meta"  # a tensor that is made there cannot meet one of the CPU


MAKERS = (torch.arange, torch.empty, torch.full, torch.ones, torch.tensor, torch.zeros)


class AnotherDefault(TorchFunctionMode):
    """PyTorch's default device is not that of the inputs, but for single numbers, which have no place."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in MAKERS and not isinstance(args[0], float) and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": ELSEWHERE}
        return func(*args, **kwargs)


@contextmanager
def another_default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same for random numbers that are asked for without a device; a CPU draws all."""

    def uniform(self: RowGenerators, rows: int, *shape: int, device: object = None) -> Tensor:
        return self._draw(torch.rand, rows, shape).to(device or ELSEWHERE)

    def normal(self: RowGenerators, rows: int, *shape: int, device: object = None) -> Tensor:
        return self._draw(torch.randn, rows, shape).to(device or ELSEWHERE)

    with monkeypatch.context() as patch, AnotherDefault():
        patch.setattr(RowGenerators, "uniform", uniform)
        patch.setattr(RowGenerators, "normal", normal)
        yield


def same(compute: Callable[[], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """``compute`` gives the same on the CPU with another default device."""
    expected = compute()
    with another_default(monkeypatch):
        actual = compute()
    torch.testing.assert_close(actual, expected)


SAMPLERS = [
    (name, sampler)
    for name in process_builders()
    for sampler in ("verified", "verified:1", "corrected", *policies_for(process_of(name)))
]


@pytest.mark.parametrize("name,sampler", SAMPLERS)
def test_sampling(name: str, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, b = model(process=name), batch()
    process = process_of(name, network)
    guided = ClassifierFreeGuidance(network, 2.0)
    condition = network.encode(b.prompt, b.prompt_mask)
    config = GenerationConfig(sampler=sampler, block_length=4, num_steps=2, temperature=2.0)
    prefix, length = b.x0[:, :3], 9

    def write() -> Tensor:
        rng = RowGenerators.for_rows(1, 0, 3)
        return finished(decode(guided, process, condition, prefix, length, rng, config, END))

    same(write, monkeypatch)


def test_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    network, b = model(), batch()
    condition = network.encode(b.prompt, b.prompt_mask)
    config = GenerationConfig(block_length=4, temperature=2.0)
    start = torch.full((3, 1), END)

    def extend(prefix: Tensor, length: int, rng: RowGenerators) -> Iterator[object]:
        return speculative_decoding(network, process_of(), condition, prefix, length, rng, config, END)

    def write() -> Tensor:
        rng = RowGenerators.for_rows(1, 0, 3)
        return finished(sliding_window(extend, start, 40, CONFIG.context_length, rng, END))

    same(write, monkeypatch)


@EVERY_PROCESS
@pytest.mark.parametrize("block_length", [4, 16])
def test_the_loss(name: str, block_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, b = model(process=name), batch()
    process = process_of(name, network)

    def loss() -> Tensor:
        generator = make_generator("loss")
        return training_loss(network, process, b, generator, block_length, TrainingConfig()).total

    same(loss, monkeypatch)


@EVERY_PROCESS
def test_a_process(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The states and their loss, as validation computes it."""
    network, b = model(process=name), batch()
    process = process_of(name, network)
    t = torch.full(b.x0.shape, 0.6)
    logits = network.token_embedding.new_zeros(*b.x0.shape, CONFIG.vocab_size)

    def loss() -> Tensor:
        x_t = process.corrupt(b.x0, t, row_generators("process"))
        return process.loss(logits, b.x0, x_t, t) * process.loss_mask(x_t, t)

    same(loss, monkeypatch)


def test_the_ids_of_a_written_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(model(), process_of(), cast(TextTokenizer, SimpleNamespace(end=END)))
    for is_finished, ids in ((True, [END, 5, 6, END]), (False, [END, 5, 6])):
        with another_default(monkeypatch):
            row = pipeline.row(Generated("", "", is_finished, 2, [5, 6]))
        assert row.tolist() == [ids]


def test_the_tiles_of_a_joint_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def dense() -> Tensor:
        return joint_tiles(256, 1, 128, torch.device("cpu")).to_dense()

    same(dense, monkeypatch)
