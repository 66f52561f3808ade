"""The weights of a checkpoint: what does not fit the configuration is refused before it takes memory."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.checkpoint.weights import Stored, check_sizes
from sunfish.model.transformer import build_model
from sunfish.processes import build_process
from tests.tiny_checkpoint import CONFIG, edit_metadata, record_hash, write_checkpoint


def test_another_shape_is_refused(checkpoint: Path) -> None:
    width = CONFIG.model.n_embd
    edit_metadata(checkpoint, lambda metadata: metadata["config"]["model"].update(n_embd=2 * width))
    message = r"model.safetensors do not fit its config.json: n_embd is 32, but they have 16. Move it to"
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(checkpoint)
    assert "\n" not in str(error.value)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    """Weights that this configuration does not have, and some that are missing."""
    checkpoint = write_checkpoint(tmp_path / "c", CONFIG.with_fields(smear=False))
    edit_metadata(checkpoint, lambda about: about["config"]["model"].update(smear=True, draft_head=False))
    message = r"of another architecture: missing \['smear.*unknown \['draft_head.*Move it"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(checkpoint)


HUGE = {  # close to the bounds of the settings
    "n_layer": 1_000,
    "n_embd": 2**23,
    "context_length": 2**23,
    "prompt_length": 2**23,
    "vocab_size": 2**23,
    "n_prompt_layer": 1_000,
    "mlp_ratio": 60.0,
}


@pytest.mark.parametrize("name", HUGE)
def test_a_network_beyond_its_weights_is_never_built(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    edit_metadata(checkpoint, lambda about: about["config"]["model"].update({name: HUGE[name]}))
    monkeypatch.setattr("sunfish.checkpoint.weights.build_model", pytest.fail)
    with pytest.raises(ValueError, match=r"model.safetensors do not fit its config.json") as error:
        load_checkpoint(checkpoint)
    assert "\n" not in str(error.value)


def test_the_check_of_sizes_knows_how_many_weights_the_layers_have() -> None:
    """By the matrices of a network that is built: those of attention and of the feed-forward layers."""
    network = build_model(CONFIG, build_process(CONFIG.process, CONFIG.model.vocab_size))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    layers = r"\.(self_attention|feed_forward)\..*_proj\.weight$"
    weights = sum(math.prod(shapes[name]) for name in shapes if re.search(layers, name))
    # Only the rows and the layers are looked at by name, so all other weights can be left out of the header.
    empty = {name: Stored((*shape[:1], 0), "F32") for name, shape in shapes.items()}
    check_sizes(Path("file"), {**empty, "all others": Stored((weights,), "F32")}, CONFIG)
    with pytest.raises(
        ValueError, match=f"its layers have {weights:,} weights, but they are {weights - 1:,}"
    ):
        check_sizes(Path("file"), {**empty, "all others": Stored((weights - 1,), "F32")}, CONFIG)


def write_weights(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "model.safetensors").write_bytes(content)
    record_hash(checkpoint, "model.safetensors")


def header(length: int, entries: object) -> bytes:
    return struct.pack("<Q", length) + json.dumps(entries).encode()


UNREADABLE = {
    "empty": b"",
    "a header of exabytes": struct.pack("<Q", 2**63) + b"{}",
    "a header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "a tensor beyond the file": header(70, {"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4]}}),
    "deep": struct.pack("<Q", 50_000) + b"[" * 50_000,
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_hostile_header_is_refused(checkpoint: Path, content: bytes) -> None:
    write_weights(checkpoint, content)
    with pytest.raises(
        ValueError, match=r"model.safetensors (cannot be read|does not|do not|holds)"
    ) as error:
        load_checkpoint(checkpoint)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int32, torch.bool])
def test_weights_of_another_number_format_are_refused(checkpoint: Path, dtype: torch.dtype) -> None:
    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    save_file({**weights, "output_scale": weights["output_scale"].to(dtype)}, file)
    record_hash(checkpoint, file.name)
    with pytest.raises(ValueError, match=r"output_scale has numbers of type .* instead of F32 or F16"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("shape", [(17,), (16, 1), (), (0,)])
def test_weights_of_another_shape_are_refused(checkpoint: Path, shape: tuple[int, ...]) -> None:
    file = checkpoint / "model.safetensors"
    save_file({**load_file(file), "output_scale": torch.zeros(shape)}, file)
    record_hash(checkpoint, file.name)
    with pytest.raises(ValueError, match=r"output_scale is \[.*\] instead of \[16\]"):
        load_checkpoint(checkpoint)


def test_a_tokenizer_of_more_ids_than_the_network_is_refused(checkpoint: Path) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["one more"] = CONFIG.model.vocab_size
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer))
    record_hash(checkpoint, "tokenizer.json")
    with pytest.raises(ValueError) as error:
        load_checkpoint(checkpoint)
    file = checkpoint.resolve() / "tokenizer.json"
    assert str(error.value) == f"{file} has 401 ids, but the network 400; use an earlier checkpoint"
