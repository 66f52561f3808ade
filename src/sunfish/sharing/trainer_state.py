"""The trainer's state as tensors and JSON in one safetensors file, in place of the pickle of a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sunfish.utils import first_line

FORMAT = "sunfish-trainer-1"


def write_trainer(state: dict[str, Any], file: Path) -> None:
    """Write what :func:`sunfish.checkpoint.folder.load_trainer` returns, with a hash of it."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_packed(state, tensors), allow_nan=False)
    metadata = {"format": FORMAT, "state": text, "sha256": _digest(text, tensors)}
    save_file(tensors, file, metadata=metadata)


def read_trainer(file: Path) -> dict[str, Any]:
    """What :func:`write_trainer` wrote.

    Raises:
        ValueError: The file is another one, or is damaged.
    """
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r:.40}, not {FORMAT!r}")
        tensors, text = load_file(file), metadata.get("state", "")
        if metadata.get("sha256") != _digest(text, tensors):
            raise ValueError("its hash differs")
        state = _unpacked(json.loads(text), tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as why:
        raise ValueError(f"{file.name} is damaged ({first_line(why).rstrip('.')})") from why
    if not isinstance(state, dict):
        raise ValueError(f"{file.name} is damaged (it holds no state)")
    return state


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; its tensors are added to ``tensors`` and named by their numbers.

    Raises:
        TypeError: It holds something that a trainer's state does not hold.
    """
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_packed(key, tensors), _packed(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_packed(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_packed(item, tensors) for item in value]
    if type(value) is float:
        return {"float": value.hex()}  # every bit, and infinity, which JSON lacks
    if value is None or type(value) in (bool, int, str):
        return value
    raise TypeError(f"a trainer's state holds a {type(value).__name__}")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "float":
        return float.fromhex(content)
    if kind == "tuple":
        return tuple(_unpacked(item, tensors) for item in content)
    if kind == "dict":
        return {_unpacked(key, tensors): _unpacked(item, tensors) for key, item in content}
    raise ValueError(f"it holds a {kind!r:.40}")


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the JSON and of every tensor, by name."""
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
