"""The int8 form of an export: small, and near to float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from sunfish.cli import main
from sunfish.export.standalone import Model

pytestmark = pytest.mark.slow  # the export in float32 is the same program, and its tests are fast
PROMPT = "Write a story about a robot"


@pytest.fixture(scope="module")
def quantized(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "exported"
    assert main(["export", str(checkpoint), str(folder), "--onnx", "--int8"]) == 0
    return folder


def test_every_product_with_a_weight_is_one_of_integers(quantized: Path) -> None:
    for name, products in (("encode", 5), ("draft", 21), ("verify", 14)):
        graph = onnx.load(quantized / f"{name}.onnx", load_external_data=False).graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        of_floats = [
            node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights
        ]
        assert not of_floats
        assert len([node for node in graph.node if node.op_type == "MatMulInteger"]) == products


def test_it_takes_less_than_half(quantized: Path, exported: Path) -> None:
    """A matrix takes a quarter; at this size scales and rotary tables count too."""
    small, whole = ((folder / "weights.bin").stat().st_size for folder in (quantized, exported))
    assert small < whole / 2


def test_it_predicts_nearly_the_same(quantized: Path, exported: Path) -> None:
    ids = [0, 7, 11, 300, 42, 5, 90]
    predicted = {}
    for folder in (exported, quantized):
        sampler = Model(folder, threads=1)
        condition = sampler.encode(PROMPT, {**sampler.settings["sampling"], "guidance_scale": 1.0})
        predicted[folder], _ = sampler.verify(ids, sampler.empty_cache(condition), 0, condition)
    p, q = (np.exp(predicted[folder].astype(np.float64)) for folder in (exported, quantized))
    divergence = (p * np.log(p / q)).sum(axis=-1)  # nats of each position
    assert 0 < divergence.max() < 0.02


def test_it_writes(quantized: Path) -> None:
    text = Model(quantized, threads=1).write(PROMPT, seed=1, seq_len=40)
    assert len(text) >= 20


def test_no_file_is_left_over(quantized: Path, exported: Path) -> None:
    assert {file.name for file in quantized.iterdir()} == {file.name for file in exported.iterdir()}
