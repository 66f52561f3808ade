"""GenerationConfig: the rule of each field, what carries over; and how a checkpoint keeps its settings."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from sunfish.config import GenerationConfig
from sunfish.sampling.generation_config import read_generation_config, write_generation_config
from sunfish.utils import UsageError
from tests.ids import brief

NAN, INF = float("nan"), float("inf")
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sampler": "verified:3"}, r"sampler is 'verified:3': give verified:1, one pass a round, or verified:2"),
    ({"sampler": "verified:"}, r"sampler is 'verified:'"),
    ({"sampler": "corrected:4"}, r"sampler is 'corrected:4', but corrected takes no number; num_steps"),
    ({"num_steps": 0}, r"num_steps is 0, but denoising needs at least 1 step"),
    ({"num_steps": -4}, r"num_steps is -4"),
    ({"block_length": -1}, r"block_length is -1: give 1 or more, or 0 for the whole text"),
    ({"sampler": "verified", "block_length": 0}, r"block_length is 0, but verified drafts"),
    ({"sampler": "verified:1", "block_length": 0}, r"block_length is 0, but verified drafts"),
    ({"temperature": -0.1}, r"temperature is -0.1: give 0 \(greedy\) or more"),
    ({"temperature": NAN}, r"temperature is nan"),
    ({"temperature": INF}, r"temperature is inf"),
    ({"top_p": 0.0}, r"top_p is 0.0: give a probability above 0, up to 1"),
    ({"top_p": 1.1}, r"top_p is 1.1"),
    ({"top_p": NAN}, r"top_p is nan"),
    ({"top_k": -1}, r"top_k is -1: give a number of tokens, or 0 for all"),
    ({"min_p": -0.1}, r"min_p is -0.1: give a share from 0 \(any token\) to 1"),
    ({"min_p": 1.1}, r"min_p is 1.1"),
    ({"min_p": NAN}, r"min_p is nan"),
    ({"repetition_penalty": 0.09}, r"repetition_penalty is 0.09: give 1 \(none\) or more, .* up to 10"),
    ({"repetition_penalty": 10.1}, r"repetition_penalty is 10.1"),
    ({"repetition_penalty": NAN}, r"repetition_penalty is nan"),
    (
        {"sampler": "leftmost", "repetition_penalty": 1.2},
        r"repetition_penalty is 1.2, but sampler is leftmost.*give verified, or leave the penalty out",
    ),
    ({"lenience": 0.0}, r"lenience is 0.0: give 1 \(exact\), or less"),
    ({"lenience": 1.5}, r"lenience is 1.5"),
    ({"lenience": NAN}, r"lenience is nan"),
    ({"sampler": "leftmost", "lenience": 0.5}, r"lenience is 0.5, but sampler is leftmost"),
    ({"guidance_scale": -1.0}, r"guidance_scale is -1.0: give 0 \(ignore the prompt\), 1 \(follow it\)"),
    ({"guidance_scale": NAN}, r"guidance_scale is nan"),
    ({"guidance_scale": INF}, r"guidance_scale is inf"),
    ({"plausibility": -0.1}, r"plausibility is -0.1: give a share from 0 \(plain guidance\) to 1"),
    ({"plausibility": 1.5}, r"plausibility is 1.5"),
    ({"plausibility": NAN}, r"plausibility is nan"),
    ({"negative_prompt": "dogs", "guidance_scale": 1.0}, r"negative_prompt is 'dogs'.*a scale above 1"),
    ({"negative_prompt": "dogs", "guidance_scale": 0.0}, r"negative_prompt is 'dogs'"),
    *(
        ({"composed_prompts": (("the sea", weight),)}, r"weight of the further prompt 'the sea' is")
        for weight in (0.0, -1.0, NAN, INF)
    ),
]
ACCEPTED: dict[str, list[Any]] = {
    "sampler": ["verified:1", "verified:2", "corrected", "leftmost", "threshold:0.9"],
    "num_steps": [1, 1000],
    "block_length": [1, 256],
    "temperature": [0.0, 3.0],
    "top_p": [1e-6, 1.0],
    "top_k": [0, 1, 10**9],
    "min_p": [0.0, 1.0],
    "repetition_penalty": [0.1, 1.0, 10.0],
    "lenience": [1e-3, 1.0],
    "guidance_scale": [0.0, 100.0],
    "plausibility": [0.0, 1.0],
    "negative_prompt": ["dogs"],
    "composed_prompts": [(("the sea", 0.01), ("a king", 30.0))],
}


@pytest.mark.parametrize("given,message", REFUSED, ids=brief)
def test_a_value_out_of_range_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        GenerationConfig(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ACCEPTED)
def test_the_ends_of_a_range_belong_to_it(field: str) -> None:
    for value in ACCEPTED[field]:
        assert getattr(GenerationConfig(**{field: value}), field) == value


def test_every_field_has_rules_in_this_file() -> None:
    names = {field.name for field in fields(GenerationConfig)}
    assert set(ACCEPTED) == names == {name for given, _ in REFUSED for name in given}


@pytest.mark.parametrize(
    "sampler,passes",
    [("verified", 2), ("verified:1", 1), ("verified:2", 2), ("corrected", 0), ("leftmost", 0)],
)
def test_only_verified_has_passes_a_round(sampler: str, passes: int) -> None:
    config = GenerationConfig(sampler=sampler)
    assert config.passes_per_round == passes and config.is_verified == (passes > 0)
    assert config.is_corrected == (sampler == "corrected") and config.has_policy == (sampler == "leftmost")


def test_what_only_verified_has_is_not_carried_over() -> None:
    """The settings of a checkpoint do not stand in the way of the sampler that is asked for."""
    lenient = GenerationConfig(lenience=0.5, repetition_penalty=1.5, temperature=0.8)
    assert lenient.changed(sampler="leftmost") == GenerationConfig(sampler="leftmost", temperature=0.8)
    assert lenient.changed(block_length=4).lenience == 0.5
    assert lenient.changed(sampler="verified:1") == replace(lenient, sampler="verified:1")
    with pytest.raises(UsageError, match=r"lenience is 0.5, but sampler is leftmost"):
        lenient.changed(sampler="leftmost", lenience=0.5)
    with pytest.raises(TypeError, match="temprature"):
        lenient.changed(temprature=1.0)


def test_settings_are_read_back_and_defaults_are_not_written(tmp_path: Path) -> None:
    best = GenerationConfig(
        sampler="leftmost", num_steps=3, composed_prompts=(("the sea", 0.5),), guidance_scale=1.5
    )
    fast = GenerationConfig(block_length=3)
    path = write_generation_config(tmp_path, {"best": best, "fast": fast})
    assert read_generation_config(tmp_path) == best
    assert read_generation_config(tmp_path, "fast") == fast
    content = json.loads(path.read_text())
    assert content["fast"] == {"block_length": 3}
    assert set(content["best"]) == {"sampler", "num_steps", "composed_prompts", "guidance_scale"}


def test_a_checkpoint_without_the_file_has_the_defaults(tmp_path: Path) -> None:
    assert read_generation_config(tmp_path) == GenerationConfig()
    with pytest.raises(ValueError, match=r"has no generation_config.json.*sunfish bench sample"):
        read_generation_config(tmp_path, "fast")


def test_a_setting_that_was_not_found_is_not_damage(tmp_path: Path) -> None:
    write_generation_config(tmp_path, {"best": GenerationConfig(sampler="leftmost", num_steps=3)})
    with pytest.raises(ValueError, match=r"found no setting 'fast'.*leave out --fast") as error:
        read_generation_config(tmp_path, "fast")
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        '{"best": {"guidance_scale": 1, "sampler": "best"}}',
        '{"best": {"temperature": -1}}',
        '{"best": {"revisions": 2}}',
        '{"fast": {}}',
        '["best"]',
        "{",
        "[" * 100_000,
        " " * 2**20 + "{}",
        '{"best": {}, "best": {}}',
        '{"best": {"temperature": NaN}}',
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"generation_config.json is damaged \(.*\); delete it, or run"):
        read_generation_config(tmp_path)
