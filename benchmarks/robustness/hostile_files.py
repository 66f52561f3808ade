"""Owns files that were made to hurt: headers that promise too much, pickles that run code, endless lines."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.robustness.byte_damage import Damage, donor_of
from benchmarks.robustness.json_damage import DEPTH

MARKER = "code_was_run"  # a file beside the damaged run, which only a payload makes
MUCH = 10**12


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def payload_for(path: Path) -> Payload:
    """A payload whose marker lies beside the run that ``path`` belongs to."""
    return Payload(donor_of(path).parent / MARKER)


# Weights.


def promise_header(path: Path, dice: random.Random) -> str:
    """A length of the header that the file does not have."""
    content = bytearray(path.read_bytes())
    length = dice.choice((0, 1, 2**63 - 1, 2**64 - 1, 2**40, len(content), 99_999_999))
    content[:8] = struct.pack("<Q", length)
    path.write_bytes(content)
    return f"a header of {length} bytes"


def change_header(path: Path, dice: random.Random) -> str:
    """One entry of a tensor, or a header that nobody reads to its end."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = dice.choice([key for key in sorted(header) if key != "__metadata__"])
    key, value = dice.choice(
        (
            *(("dtype", "F64"), ("dtype", "I64"), ("dtype", "BOOL"), ("dtype", "F4"), ("dtype", 7)),
            *(("shape", [MUCH, MUCH]), ("shape", [-1]), ("shape", []), ("shape", [0]), ("shape", [2**63])),
            *(("data_offsets", [0, 4]), ("data_offsets", [MUCH, 2 * MUCH]), ("data_offsets", [8, 0])),
        )
    )
    header[name][key] = value
    text = json.dumps(header).encode()
    if dice.random() < 0.2:
        text, key, value = b'{"a":' * DEPTH, "header", "deep"
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return f"{key} of {name} is {value}"


def change_tensors(path: Path, dice: random.Random) -> str:
    """A file that is whole, with tensors that the network does not have."""
    weights = load_file(path)
    name = dice.choice(sorted(weights))
    shapes: dict[str, Callable[[], torch.Tensor]] = {
        "flat": lambda: weights[name].flatten()[:-1].clone(),
        "twice as long": lambda: torch.cat([weights[name], weights[name]]),
        "a number": lambda: torch.tensor(1.0),
        "bytes": lambda: weights[name].to(torch.int8),
        "complex": lambda: weights[name].to(torch.complex64),
        "half": lambda: weights[name].half(),
        "of no elements": lambda: torch.empty(0),
    }
    kind = dice.choice((*shapes, "missing", "renamed", "one more"))
    if kind in shapes:
        weights[name] = shapes[kind]()
    elif kind == "one more":
        weights["another"] = torch.zeros(3)
    else:
        tensor = weights.pop(name)
        weights.update({name + "x": tensor} if kind == "renamed" else {})
    save_file(weights, path)
    return f"{name} is {kind}"


# Pickles.


def pickle_code(path: Path, dice: random.Random) -> str:
    """A pickle that runs code: bare, as PyTorch wraps it today, or as it once did."""
    payload = payload_for(path)
    kind = dice.choice(("bare", "zip", "legacy"))
    if kind == "bare":
        path.write_bytes(pickle.dumps(payload, protocol=dice.randint(0, 5)))
    else:
        value = {"step": 6, "model": payload} if dice.random() < 0.5 else payload
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    return f"a pickle that runs code ({kind})"


def change_state(path: Path, dice: random.Random) -> str:
    """A trainer's state that PyTorch reads, and that is not what the trainer wrote."""
    state: Any = torch.load(path, weights_only=True)
    key = dice.choice(sorted(state))
    kind = dice.choice(
        ("missing", "None", "text", "negative", "list", "tensor", "renamed", "all of it is a list")
    )
    values: dict[str, Any] = {"None": None, "text": "6", "negative": -7, "list": [], "tensor": torch.zeros(3)}
    if kind == "missing":
        del state[key]
    elif kind in values:
        state[key] = values[kind]
    elif kind == "renamed":
        state[key + "x"] = state.pop(key)
    else:
        state = [state]
    torch.save(state, path)
    return f"{key} is {kind}"


# Arrays.


def pickle_array(path: Path, dice: random.Random) -> str:
    """An array of objects, which NumPy would have to unpickle."""
    array = np.empty(3, dtype=object)
    array[:] = [payload_for(path)] * 3
    np.save(path, array, allow_pickle=True)
    return "an array of objects that runs code"


def change_array_header(path: Path, dice: random.Random) -> str:
    """A header that promises what is not there, or that is no dictionary."""
    header = dice.choice(
        (
            *(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({n},)}}" for n in (MUCH, -1, 2**70, 0)),
            "{'descr': '<i8', 'fortran_order': False, 'shape': ()}",
            "{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1)}",
            "{'descr': [('a', '<i4'), ('b', '<i4')], 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '|S999999999', 'fortran_order': False, 'shape': (9,)}",
            "(" * 10_000,
            "__import__('os').system('touch x')",
            "",
        )
    )
    data = path.read_bytes()[128:]
    text = (header + "\n").encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)
    return f"a header {header[:60]!r}"


def change_array(path: Path, dice: random.Random) -> str:
    """An array that is whole, with other numbers, another type or another shape."""
    array = np.load(path)
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "reversed": lambda: array[::-1],
        "negative": lambda: -array,
        "of floats": lambda: array.astype("f8"),
        "of two dimensions": lambda: array[None],
        "of the other byte order": lambda: array.astype(array.dtype.newbyteorder()),
        "too large": lambda: array + MUCH,
        "one shorter": lambda: array[:-1],
    }
    kind = dice.choice(sorted(kinds))
    np.save(path, kinds[kind]())
    return kind


# Text.

LINES: dict[str, bytes] = {
    "NUL bytes": b"\0" * 1000,
    "a byte order mark": b"\xef\xbb\xbf",
    "half a letter": b"\xc3",
    "a surrogate in UTF-8": b"\xed\xa0\x80",
    "an escaped surrogate": rb'{"text": "\ud800 and so on", "prompt": "\udfff"}',
    "deep JSON": b'{"text":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "a large number": b'{"text": ' + b"9" * 5000 + b"}",
    "a wrong type": b'{"text": {"text": 1}, "prompt": [1]}',
    "five megabytes in a line": b"word " * 1_000_000,
    "five megabytes of one letter": b"x" * 5_000_000,
    "an open quote": b'"open, and never closed',
    "line ends of all kinds": "a\rb\r\nc\x0bd\x0ce\x1cf\x85g\u2028h\u2029i".encode(),
    "special tokens": b"<|endoftext|> [MASK] [MASK:5] </s>",
    "terminal codes": b"\x1b[2J\x1b]0;title\x07",
    "right to left": "\u202eabc \u05d0\u05d1".encode(),
    "many marks": ("a" + "\u0301" * 5000).encode(),
}


def insert_line(path: Path, dice: random.Random) -> str:
    """A line that is hard to read, at the beginning, at the end or between."""
    lines, kind = path.read_bytes().split(b"\n"), dice.choice(sorted(LINES))
    lines.insert(dice.randint(0, len(lines)), LINES[kind])
    path.write_bytes(b"\n".join(lines))
    return f"a line with {kind}"


def text_in(encoding: str) -> Damage:
    """The same text in another encoding."""

    def encode(path: Path, dice: random.Random) -> str:
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding, errors="replace"))
        return f"in {encoding}"

    return encode


WEIGHTS: tuple[Damage, ...] = (promise_header, change_header, change_header, change_tensors, change_tensors)
CODE: tuple[Damage, ...] = (pickle_code,)
STATE: tuple[Damage, ...] = (change_state,)
ARRAY: tuple[Damage, ...] = (pickle_array, change_array_header, change_array)
TEXT: tuple[Damage, ...] = (
    *(insert_line,) * 8,
    *map(text_in, ("utf-16", "utf-16-le", "latin-1", "utf-7", "utf-8-sig")),
)
