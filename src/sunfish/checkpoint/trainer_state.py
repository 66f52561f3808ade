"""``trainer/state.pt``: read with an allow-list, checked before it touches a network or an optimizer."""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sunfish.checkpoint.metadata import USE_EARLIER
from sunfish.utils import first_line

RECORDS: dict[str, dict[str, type]] = {
    "corpus": {"path": str, "digest": str, "documents": int, "tokens": int},
    "environment": {},
}
NUMBERS: dict[str, type] = {"step": int, "tokens": int, "rollbacks": int, "seconds": float, "best": float}


def read_state(file: Path, step: int) -> dict[str, Any]:
    """What a trainer saved after ``step`` steps; only tensors and plain values are unpickled.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type]
        if packed:  # PyTorch packs nothing; what is packed can be thousands of times as large
            raise ValueError(f"{packed[0]} in it is compressed")
        saved = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(saved, dict) or saved.get("step") != step:
            raise ValueError(f"it is not the state after step {step}")
        _check_records(saved)
    except MemoryError:
        raise
    except pickle.UnpicklingError as why:  # PyTorch's words for it advise how to run the code all the same
        raise _damaged(
            file, "it holds other things than tensors and plain values, which are never loaded"
        ) from why
    except Exception as why:  # zipfile, the unpickler and PyTorch's rebuilding each have kinds of their own
        raise _damaged(file, first_line(why).rstrip(".")) from why
    return saved


def named_tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested tables and lists, by its keys joined by dots."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, (dict, list)):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from named_tensors(value, f"{name}.{key}" if name else str(key))


def restore(
    saved: Mapping[str, Any],
    model: nn.Module,
    average: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    file: Path,
    place: Callable[[Tensor, Tensor], Tensor] = lambda value, held: value,
) -> None:
    """Bring networks and optimizers to where :func:`read_state` says they were.

    Args:
        saved: the state.
        model: the network in training.
        average: the average of its weights.
        optimizers: of ``model``.
        file: where ``saved`` was read, for errors.
        place: gives of a saved tensor what a process holds that holds the second tensor, a weight.

    Raises:
        ValueError: the state in ``file`` is not one of theirs.
    """
    try:
        for name, kind in NUMBERS.items():
            _check_number(name, saved.get(name), kind)
        for name, network in (("model", model), ("average", average)):
            _check_tensors(name, saved.get(name), network)
            held = network.state_dict()
            network.load_state_dict({key: place(value, held[key]) for key, value in saved[name].items()})
        states = saved.get("optimizers")
        if not isinstance(states, list) or len(states) != len(optimizers):
            raise ValueError(f"it has not the states of {len(optimizers)} optimizers")
        for optimizer, state in zip(optimizers, states, strict=True):
            _check_groups(state, optimizer)
            optimizer.load_state_dict(_placed(state, optimizer, place))
            _check_moments(optimizer)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as why:
        raise _damaged(file, first_line(why).rstrip(".")) from why


def _check_records(saved: Mapping[str, Any]) -> None:
    """Refuse records of the corpus and the machine that are not tables of words and numbers."""
    for name, kinds in RECORDS.items():
        record = saved.get(name)
        if not isinstance(record, dict) or not all(type(value) in (str, int) for value in record.values()):
            raise ValueError(f"its record of the {name} is no table")
        for key, kind in kinds.items():
            if type(record.get(key)) is not kind:
                raise ValueError(f"{key} of the {name} is {record.get(key)!r:.40}")


def _check_number(name: str, value: Any, kind: type) -> None:
    if type(value) not in {kind, int} or value < 0 or math.isnan(value):
        raise ValueError(f"{name} is {value!r:.40}")


def _check_tensors(name: str, tensors: Any, network: nn.Module) -> None:
    """Names, shapes and number formats must be those of the network."""
    expected = network.state_dict()
    if not isinstance(tensors, dict) or tensors.keys() != expected.keys():
        raise ValueError(f"its {name} is that of another network")
    for key, value in tensors.items():
        fits = isinstance(value, Tensor) and (value.shape, value.dtype) == (
            expected[key].shape,
            expected[key].dtype,
        )
        if not fits:
            raise ValueError(f"its {name} has another {key}")


def _check_groups(state: Any, optimizer: torch.optim.Optimizer) -> None:
    """An optimizer takes over whatever its saved groups hold, so they must hold numbers of the same kind."""
    if not isinstance(state, dict) or not isinstance(state.get("param_groups"), list):
        raise ValueError("the state of an optimizer is none")
    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True):
        for name, value in group.items():
            if (
                name != "params"
                and type(saved[name]) is not type(value)
                and not _are_numbers(saved[name], value)
            ):
                raise ValueError(f"{name} of an optimizer is {saved[name]!r:.40}")


def _placed(
    state: dict[str, Any], optimizer: torch.optim.Optimizer, place: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Any]:
    """``state``, whose tensors of as many rows as their parameter are placed like it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    placed = {
        number: {
            name: value
            if name == "step" or not isinstance(value, Tensor)
            else place(value.flatten() if name == "row_mean_square" else value, parameters[number])
            for name, value in remembered.items()
        }
        for number, remembered in state["state"].items()
    }
    return {**state, "state": placed}


def _are_numbers(*values: Any) -> bool:
    return all(type(value) in (int, float) for value in values)


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """What an optimizer remembers of a parameter is a number, has its shape, or has its rows."""
    for parameter, remembered in optimizer.state.items():
        shapes = {"step": 1, "row_mean_square": parameter.shape[0] if parameter.ndim else 1}
        for name, value in remembered.items():
            fits = isinstance(value, Tensor) and (
                value.numel() == shapes[name] if name in shapes else value.shape == parameter.shape
            )
            if not fits:
                raise ValueError(f"{name} of an optimizer has another shape than its parameter")


def _damaged(file: Path, why: str) -> ValueError:
    return ValueError(f"{file} is damaged ({why}); {USE_EARLIER}")
