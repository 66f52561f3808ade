"""Every field of every group of settings against values that cannot be right, from Python, from a file, as a flag."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import MISSING, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sunfish.cli import main
from sunfish.commands.settings import settings_of
from sunfish.config import Config, DataConfig, GenerationConfig, ModelConfig, ProcessConfig, TrainingConfig
from sunfish.config.rules import shown, whole_number
from sunfish.model.transformer import count_parameters
from sunfish.utils import UsageError

GROUPS: dict[str, type] = {
    "model": ModelConfig,
    "process": ProcessConfig,
    "corpus": DataConfig,
    "training": TrainingConfig,
    "generation": GenerationConfig,
}
FIELDS = [(group, field.name) for group, kind in GROUPS.items() for field in fields(kind)]
NAN, INF = math.nan, math.inf
VALUES: dict[str, Any] = {
    **{
        "nan": NAN,
        "inf": INF,
        "-inf": -INF,
        "zero": 0,
        "negative": -1,
        "negative float": -0.5,
        "minus zero": -0.0,
    },
    **{"huge": 1e300, "tiny": 5e-324, "huge int": 10**30, "huge negative": -(10**30), "long int": 10**5000},
    **{
        "true": True,
        "float for int": 3.0,
        "half": 0.5,
        "word": "x",
        "long word": "x" * 9999,
        "empty": "",
        "number in quotes": "3",
    },
    **{"None": None, "list": [1], "nested list": [[1]], "empty list": [], "dict": {"a": 1}, "bytes": b"3"},
    **{
        "nan in a list": [NAN],
        "complex": 1j,
        "fraction": Fraction(1, 2),
        "object": object(),
        "long list": [[]] * 9999,
    },
    **{"numpy int": np.int64(3), "numpy float": np.float32(0.5), "numpy nan": np.float64(NAN)},
    **{"numpy bool": np.bool_(True), "array": np.arange(2), "tensor": torch.tensor(3), "path": Path("x")},
    **{"pair": (("x", NAN),), "short pair": (("x",),), "good pair": [["x", np.float64(0.5)]]},
}


def stored(group: str, settings: Any) -> Any:
    """``settings`` after they were written as JSON and read back."""
    if group == "generation":
        return GenerationConfig(**json.loads(json.dumps(vars(settings), allow_nan=False)))
    config = Config(**{group: settings})
    return getattr(Config.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))), group)


@pytest.mark.parametrize(("group", "name"), FIELDS)
def test_a_value_is_refused_by_name_or_comes_back(group: str, name: str) -> None:
    """Nothing else is raised; what is accepted is plain data of the type that the field has."""
    default = getattr(GROUPS[group](), name)
    for value in VALUES.values():
        try:
            settings = GROUPS[group](**{name: value})
            same = stored(group, settings)
        except UsageError as error:
            line = str(error)
            assert name in line or (name == "composed_prompts" and "weight of the further prompt" in line)
            assert len(line) < 400 and "\n" not in line
            if type(value) is type(default) is not tuple:
                assert shown(value) in line
            continue
        assert same == settings
        assert type(getattr(settings, name)) is type(default)


@pytest.mark.parametrize(("group", "name"), [pair for pair in FIELDS if pair[0] != "generation"])
def test_a_stored_value_that_cannot_be_right_is_a_damaged_file(group: str, name: str) -> None:
    for value in VALUES.values():
        try:
            Config.from_dict({group: {name: value}})
        except ValueError as error:
            assert not isinstance(error, UsageError)
            assert "configuration" in str(error) and len(str(error)) < 400


@pytest.mark.parametrize(
    "groups",
    [None, [], "model", 5, {"model": None}, {"model": [1]}, {"model": "x"}, {5: {}}, {"model": {5: 1}}],
)
def test_groups_that_are_none_are_a_damaged_file(groups: Any) -> None:
    if groups == []:
        groups = [{}]
    with pytest.raises(ValueError, match="configuration") as error:
        Config.from_dict(groups)
    assert not isinstance(error.value, UsageError)


@pytest.mark.parametrize("group", ["model", "process", "corpus", "training"])
def test_a_group_must_be_of_its_class(group: str) -> None:
    for value in (None, {}, "x", ModelConfig):
        with pytest.raises(UsageError, match=f"{group} is .*; give a {GROUPS[group].__name__}"):
            Config(**{group: value})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (ModelConfig(n_layer=np.int32(4)), ModelConfig(n_layer=4)),
        (TrainingConfig(max_minutes=5), TrainingConfig(max_minutes=5.0)),
        (TrainingConfig(block_lengths=[np.int64(4), 0]), TrainingConfig(block_lengths=(4, 0))),
        (TrainingConfig(checkpoints=Path("a")), TrainingConfig(checkpoints="a")),
        (GenerationConfig(temperature=np.float64(0.5)), GenerationConfig(temperature=0.5)),
        (GenerationConfig(temperature=torch.tensor(2)), GenerationConfig(temperature=2.0)),
        (GenerationConfig(composed_prompts=[["x", 1]]), GenerationConfig(composed_prompts=(("x", 1.0),))),
    ],
)
def test_the_same_value_in_another_type_is_taken(settings: Any, expected: Any) -> None:
    assert settings == expected and hash(settings) == hash(expected)
    assert repr(settings) == repr(expected)


NUMBERS = [pair for pair in FIELDS if type(getattr(GROUPS[pair[0]], pair[1])) in (int, float)]
TEXTS = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e300",
    "1" + "0" * 30,
    "1" + "0" * 5000,
    "3.0",
    "x",
    "",
    "None",
    "[1]",
    "1,2",
)


@pytest.mark.parametrize(("group", "name"), NUMBERS)
def test_a_number_in_words_is_right_or_wrong_use(group: str, name: str) -> None:
    setting = next(s for s in settings_of(group, GROUPS[group]()) if s.name == name)
    for text in TEXTS:
        try:
            GROUPS[group](**{name: setting.parse(text)})
        except UsageError as error:
            assert name in str(error) and len(str(error)) < 400


@pytest.mark.parametrize(
    "flags", [["--temperature", "nan"], ["--set", "generation.lenience=inf"], ["--top_p", "1e300"]]
)
def test_a_number_on_the_command_line_is_named(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "nowhere", "--prompt", "x", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert flags[0].strip("-") in line or "lenience is" in line


@pytest.mark.parametrize("name", ["vocab_size", "n_embd", "context_length", "prompt_length", "mlp_ratio"])
def test_the_largest_network_that_is_accepted_can_be_counted(name: str) -> None:
    largest = next(
        size for size in (2**power for power in itertools.count(30, -1)) if accepted(ModelConfig, name, size)
    )
    parameters = count_parameters(
        ModelConfig(**{name: largest, **({"n_head": 1} if name == "n_embd" else {})})
    )
    assert 0 < parameters < 2**63


def accepted(group: type, name: str, value: float) -> bool:
    try:
        group(**{name: value})
    except UsageError:
        return False
    return True


@pytest.mark.parametrize(
    "value",
    [3.0, True, "3", None, NAN, [3], 10**5000, 0, 11, b"3", np.float64(3)],
    ids=lambda value: type(value).__name__,
)
def test_a_whole_number_of_a_call(value: Any) -> None:
    with pytest.raises(UsageError, match="best_of is "):
        whole_number("best_of", value, 1, 10)
    assert whole_number("best_of", np.uint8(3), 1, 10) == 3
    assert type(whole_number("best_of", np.uint8(3), 1, 10)) is int


def test_every_setting_has_a_default() -> None:
    assert all(f.default is not MISSING for kind in GROUPS.values() for f in fields(kind))


@pytest.mark.parametrize(
    "weight, fits", [(0.001, True), (0.0009, False), (1.0, True), (1000.0, True), (1001.0, False)]
)
def test_the_weight_of_a_further_prompt_lies_between_the_limits_that_its_error_names(
    weight: float, fits: bool
) -> None:
    if fits:
        assert GenerationConfig(composed_prompts=(("x", weight),)).composed_prompts == (("x", weight),)
    else:
        with pytest.raises(
            UsageError, match=rf"prompt 'x' is {weight}: give 0\.001 to 1000; the first prompt has 1"
        ):
            GenerationConfig(composed_prompts=(("x", weight),))
