"""The weights of a checkpoint: their header is held against the configuration before anything is allocated."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from sunfish.checkpoint.metadata import TRAIN_AFRESH, USE_EARLIER
from sunfish.config import Config
from sunfish.model.transformer import Transformer, build_model
from sunfish.processes import build_process
from sunfish.utils import first_line

TABLE = "prompt_encoder.frozen_table"  # of a pretrained prompt encoder; its size is in no setting
DTYPES = ("F32", "F16")  # on the disk; a network is always built in float32
BLOCK = re.compile(r"blocks\.([0-9]+)\.")
PROMPT_BLOCK = re.compile(r"prompt_encoder\.blocks\.([0-9]+)\.")


class Stored(NamedTuple):
    """What the header says of a tensor."""

    shape: tuple[int, ...]
    dtype: str


def load_model(file: Path, config: Config) -> Transformer:
    """The network of ``config`` with the weights in ``file``.

    Raises:
        ValueError: the file cannot be read, or holds other weights than those of the configuration.
    """
    try:
        header = read_header(file)
        check_sizes(file, header, config)
        weights = {name: value.float() for name, value in load_file(file).items()}
    except SafetensorError as why:
        raise ValueError(f"{file} cannot be read: {first_line(why).rstrip('.')}; {USE_EARLIER}") from why
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process, weights.get(TABLE))
    _check_names(file, header, {name: tuple(value.shape) for name, value in model.state_dict().items()})
    model.load_state_dict(weights)
    return model


def read_header(file: Path) -> dict[str, Stored]:
    """Names, shapes and number formats of the tensors of a file; the library checks that they fit its size."""
    with safe_open(file, "pt") as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118, it is no dict
        return {name: Stored(tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}


def check_sizes(file: Path, header: Mapping[str, Stored], config: Config) -> None:
    """Refuse a configuration whose network is larger than the weights in the file, before it is allocated.

    Raises:
        ValueError: names the first size that does not fit.
    """
    model = config.model
    sizes = [
        ("vocab_size", model.vocab_size, _rows(header, "token_embedding") - 1),
        ("context_length", model.context_length, _rows(header, "position_embedding")),
        ("n_embd", model.n_embd, _rows(header, "causal_embedding")),
        ("n_layer", model.n_layer, _count(header, BLOCK)),
    ]
    if model.prompt_length:
        sizes.append(
            ("prompt_length", model.prompt_length, _rows(header, "prompt_encoder.position_embedding"))
        )
        sizes.append(("n_prompt_layer", model.n_prompt_layer, _count(header, PROMPT_BLOCK)))
    for name, configured, stored in sizes:
        if configured != stored:
            raise _misfit(file, f"{name} is {configured}, but they have {stored}")
    width, layers = model.n_embd, model.n_layer + (model.n_prompt_layer if model.prompt_length else 0)
    matrices = layers * width * (4 * width + 3 * model.n_hidden)  # attention, and the gated feed-forward
    stored = sum(math.prod(tensor.shape) for tensor in header.values())
    if matrices > stored:
        raise _misfit(file, f"its layers have {matrices:,} weights, but they are {stored:,}")


def _check_names(file: Path, header: Mapping[str, Stored], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing, unknown = sorted(expected.keys() - header.keys()), sorted(header.keys() - expected.keys())
    if missing or unknown:
        raise ValueError(
            f"{file} holds the weights of another architecture: missing {missing[:3]}, unknown {unknown[:3]}. "
            f"{TRAIN_AFRESH}"
        )
    for name, stored in header.items():
        if stored.shape != expected[name]:
            raise _misfit(file, f"{name} is {list(stored.shape)} instead of {list(expected[name])}")
        if stored.dtype not in DTYPES:
            raise _misfit(file, f"{name} has numbers of type {stored.dtype} instead of {' or '.join(DTYPES)}")


def _rows(header: Mapping[str, Stored], name: str) -> int:
    return header[name].shape[0] if name in header and header[name].shape else 0


def _count(header: Mapping[str, Stored], pattern: re.Pattern[str]) -> int:
    return len({number[1] for name in header if (number := pattern.match(name))})


def _misfit(file: Path, what: str) -> ValueError:
    return ValueError(f"the weights {file} do not fit its config.json: {what}. {TRAIN_AFRESH}")
