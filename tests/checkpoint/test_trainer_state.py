"""``trainer/state.pt``: no code is run by it, and only the state of this very network comes through."""

from __future__ import annotations

import copy
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sunfish.checkpoint.folder import load_trainer
from sunfish.checkpoint.trainer_state import restore
from sunfish.training.optimizer import build_optimizers
from tests.tiny_checkpoint import CONFIG, record_hash

STATE = "trainer/state.pt"
CORPUS = {"path": "a", "digest": "b", "documents": 1, "tokens": 2}


class Code:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("it was unpickled",)


def write_state(checkpoint: Path, write: Callable[[Path], object]) -> None:
    (checkpoint / STATE).unlink()
    write(checkpoint / STATE)
    record_hash(checkpoint, STATE)


def pack(file: Path) -> None:
    """A small file that unpacks to a large one."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("state/data.pkl", b"\0" * 10**7)


def plain(file: Path) -> None:
    """As PyTorch wrote before it used archives."""
    torch.save({"step": 0}, file, _use_new_zipfile_serialization=False)


def half(file: Path) -> None:
    torch.save({"step": 0, "weights": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:-2000])


HOSTILE: dict[str, Callable[[Path], object]] = {
    "code in PyTorch's archive": lambda file: torch.save({"step": 0, "x": Code()}, file),
    "code in a pickle": lambda file: file.write_bytes(pickle.dumps(Code())),
    "a module": lambda file: torch.save(nn.Linear(2, 2), file),
    "packed": pack,
    "before archives": plain,
    "half": half,
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("step: 0"),
    "a list": lambda file: torch.save([0], file),
    "a tensor": lambda file: torch.save(torch.zeros(3), file),
    "no step": lambda file: torch.save({"tokens": 0}, file),
    "another step": lambda file: torch.save({"step": 7}, file),
    "one record": lambda file: torch.save({"step": 0, "environment": {}}, file),
    "no table": lambda file: torch.save({"step": 0, "corpus": [], "environment": {}}, file),
    "half a table": lambda file: torch.save({"step": 0, "corpus": {"path": "a"}, "environment": {}}, file),
    "a tensor in a table": lambda file: torch.save(
        {"step": 0, "corpus": CORPUS, "environment": {"device": torch.zeros(1)}}, file
    ),
    "a path that is a number": lambda file: torch.save(
        {"step": 0, "corpus": {**CORPUS, "path": 1}, "environment": {}}, file
    ),
}


@pytest.mark.parametrize("write", HOSTILE.values(), ids=HOSTILE)
def test_hostile_states_are_named_and_run_nothing(checkpoint: Path, write: Callable[[Path], object]) -> None:
    write_state(checkpoint, write)
    with pytest.raises(ValueError, match=r"state.pt is damaged \(.*\); use an earlier checkpoint") as error:
        load_trainer(checkpoint)
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)


def network() -> tuple[nn.Linear, nn.Linear, list[torch.optim.Optimizer]]:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))
    optimizers = build_optimizers(model, CONFIG.training, 4, torch.float32)
    for _ in range(4):
        model(torch.ones(1, 4)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    average = copy.deepcopy(model)
    with torch.no_grad():
        average[0].weight.mul_(0.5)
    return model, average, optimizers


def state_of(model: nn.Module, average: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    states = [optimizer.state_dict() for optimizer in optimizers]
    numbers = {"step": 4, "tokens": 9, "rollbacks": 0, "seconds": 1.5, "best": float("inf")}
    return copy.deepcopy(
        {**numbers, "model": model.state_dict(), "average": average.state_dict(), "optimizers": states}
    )


def test_a_state_comes_back_whole() -> None:
    model, average, optimizers = network()
    saved = state_of(model, average, optimizers)
    other = network()
    with torch.no_grad():
        for changed in other[:2]:
            changed[0].weight.zero_()
    restore(saved, *other, Path("state.pt"))
    again = state_of(*other)
    for name in ("model", "average"):
        assert again[name].keys() == saved[name].keys()
        assert all(torch.equal(value, saved[name][key]) for key, value in again[name].items())
    for one, two in zip(again["optimizers"], saved["optimizers"], strict=True):
        assert one["state"].keys() == two["state"].keys() and one["state"]
        for remembered in one["state"]:
            for name, value in one["state"][remembered].items():
                assert torch.equal(value, two["state"][remembered][name])


def first_moment(saved: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = saved["optimizers"][0]["state"][0]
    return state


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no model": lambda saved: saved.pop("model"),
    "no average": lambda saved: saved.pop("average"),
    "no optimizers": lambda saved: saved.pop("optimizers"),
    "no tokens": lambda saved: saved.pop("tokens"),
    "NaN": lambda saved: saved.update(best=float("nan")),
    "text": lambda saved: saved.update(seconds="1"),
    "negative": lambda saved: saved.update(tokens=-1),
    "a list of weights": lambda saved: saved.update(model=[]),
    "a weight more": lambda saved: saved["model"].update(more=torch.zeros(1)),
    "a weight less": lambda saved: saved["model"].pop("0.bias"),
    "a weight of another shape": lambda saved: saved["average"].update({"0.bias": torch.zeros(7)}),
    "a weight of another kind": lambda saved: saved["model"].update({"0.bias": torch.zeros(6).double()}),
    "a number for a weight": lambda saved: saved["model"].update({"0.bias": 1.0}),
    "one optimizer": lambda saved: saved["optimizers"].pop(),
    "no groups": lambda saved: saved["optimizers"][0].pop("param_groups"),
    "no states": lambda saved: saved["optimizers"][0].pop("state"),
    "a group less": lambda saved: saved["optimizers"][0].update(param_groups=[]),
    "another learning rate": lambda saved: saved["optimizers"][0]["param_groups"][0].update(lr="1"),
    "no learning rate": lambda saved: saved["optimizers"][0]["param_groups"][0].pop("lr"),
    "a moment of another shape": lambda saved: first_moment(saved).update(momentum=torch.zeros(6)),
    "a moment that is a list": lambda saved: first_moment(saved).update(momentum=[1.0]),
    "a huge moment": lambda saved: first_moment(saved).update(momentum=torch.zeros(1).expand(10**12)),
    "rows of another shape": lambda saved: first_moment(saved).update(row_mean_square=torch.zeros(5)),
}


OTHER_NETWORK, OTHER_SHAPE = "is that of another network", "has another shape than its parameter"
REASONS = {  # but where PyTorch gives its own
    "no model": f"its model {OTHER_NETWORK}",
    "no average": f"its average {OTHER_NETWORK}",
    "no optimizers": "it has not the states of 2 optimizers",
    "no tokens": "tokens is None",
    "NaN": "best is nan",
    "text": "seconds is '1'",
    "negative": "tokens is -1",
    "a list of weights": f"its model {OTHER_NETWORK}",
    "a weight more": f"its model {OTHER_NETWORK}",
    "a weight less": f"its model {OTHER_NETWORK}",
    "a weight of another shape": "its average has another 0.bias",
    "a weight of another kind": "its model has another 0.bias",
    "a number for a weight": "its model has another 0.bias",
    "one optimizer": "it has not the states of 2 optimizers",
    "no groups": "the state of an optimizer is none",
    "another learning rate": "lr of an optimizer is '1'",
    "a moment of another shape": f"momentum of an optimizer {OTHER_SHAPE}",
    "a moment that is a list": f"momentum of an optimizer {OTHER_SHAPE}",
    "a huge moment": f"momentum of an optimizer {OTHER_SHAPE}",
    "rows of another shape": f"row_mean_square of an optimizer {OTHER_SHAPE}",
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_state_of_something_else_is_refused(name: str) -> None:
    parts = network()
    saved = state_of(*parts)
    CHANGES[name](saved)
    with pytest.raises(ValueError) as error:
        restore(saved, *parts, Path("state.pt"))
    reason = REASONS.get(name)
    pattern = ".+" if reason is None else re.escape(reason)
    assert re.fullmatch(rf"state\.pt is damaged \({pattern}\); use an earlier checkpoint", str(error.value))


@pytest.mark.parametrize("value", [1, 0, 0.25])
def test_a_whole_number_may_stand_for_another_number(value: float) -> None:
    """As where a setting of the run was written without a decimal point."""
    model, average, optimizers = network()
    saved = state_of(model, average, optimizers)
    saved["optimizers"][0]["param_groups"][0]["lr"] = value
    restore(saved, model, average, optimizers, Path("state.pt"))
    assert optimizers[0].param_groups[0]["lr"] == value


@pytest.mark.parametrize("value", [True, None, "1", [1.0]])
def test_what_is_no_number_does_not_stand_for_one(value: object) -> None:
    model, average, optimizers = network()
    saved = state_of(model, average, optimizers)
    saved["optimizers"][0]["param_groups"][0]["lr"] = value
    with pytest.raises(ValueError, match=re.escape(f"lr of an optimizer is {value!r}")):
        restore(saved, model, average, optimizers, Path("state.pt"))
