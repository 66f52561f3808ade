"""``sunfish bench sample``: a checkpoint keeps the settings that it finds and uses them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.data.stories import story
from sunfish.sampling.autotune import CANDIDATES, Measurement, by_likelihood, by_oracle, candidates
from sunfish.sampling.generation_config import read_generation_config, write_generation_config
from sunfish.sampling.pipeline import Pipeline
from tests.conftest import Workplace
from tests.tiny_checkpoint import edit_metadata, write_checkpoint


@pytest.mark.slow
def test_a_checkpoint_keeps_its_settings_and_uses_them(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained.checkpoint, checkpoint)
    assert read_generation_config(checkpoint) == GenerationConfig()
    assert main(["sample", str(checkpoint), "--fast", "--seq_len", "8"]) == 1
    assert "sunfish bench" in capsys.readouterr().err
    assert main(["bench", "sample", str(checkpoint), "--texts", "2", "--scales", "2", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert len(output["points"]) == len(CANDIDATES) and set(output["recommended"]) <= {"best", "fast"}
    best = read_generation_config(checkpoint)
    assert best.guidance_scale == 2 and best in candidates([2.0])
    assert Pipeline.from_checkpoint(checkpoint).generation_config == best
    write_generation_config(
        checkpoint, {"best": GenerationConfig(sampler="leftmost", num_steps=3, guidance_scale=1.5)}
    )
    assert main(["sample", str(checkpoint), "--fast", "--seq_len", "8"]) == 1
    output = capsys.readouterr().err
    assert "found no setting 'fast'" in output and "damaged" not in output
    words = ["sample", str(checkpoint), "--prompt", "Write about dogs", "--seq_len", "12", "--json"]
    assert main(words) == 0
    kept = json.loads(capsys.readouterr().out)
    assert main([*words, "--sampler", "leftmost", "--num_steps", "3", "--guidance_scale", "1.5"]) == 0
    assert json.loads(capsys.readouterr().out) == kept
    # What only the other kind of sampler has does not stand in the way of the one that is asked for.
    write_generation_config(checkpoint, {"best": GenerationConfig(lenience=0.5, guidance_scale=1.5)})
    assert main([*words, "--num_steps", "3"]) == 0
    assert json.loads(capsys.readouterr().out) == kept
    one = Pipeline.from_checkpoint(checkpoint)("Write about dogs", steps=3, seq_len=12)
    write_generation_config(checkpoint, {"best": GenerationConfig(sampler="leftmost", guidance_scale=1.5)})
    assert main([*words, "--sampler", "verified"]) == 0
    assert json.loads(capsys.readouterr().out) != kept and one == kept[0]["text"]
    (checkpoint / "generation_config.json").write_text('{"best": {"guidance_scale": 1, "sampler": "best"}}')
    assert main(words) == 1
    assert "damaged" in capsys.readouterr().err


def test_other_models_need_prompts(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained.checkpoint, checkpoint)
    edit_metadata(checkpoint, lambda metadata: metadata["config"]["corpus"].update(data="mine.txt"))
    assert main(["bench", "sample", str(checkpoint)]) == 2
    assert "--prompt-file" in capsys.readouterr().err


FAST, BEST, NEITHER = (
    Measurement(
        GenerationConfig(block_length=8, guidance_scale=2.0), 0.5, 0.72, {"grammar": 0.9, "constraints": 0.8}
    ),
    Measurement(
        GenerationConfig(sampler="leftmost", block_length=4, num_steps=3, guidance_scale=1.0),
        *(2.0, 0.855, {"grammar": 0.9, "constraints": 0.95}),
    ),
    Measurement(
        GenerationConfig(block_length=16, lenience=0.5, guidance_scale=1.5),
        *(1.25, 0.35, {"grammar": 0.5, "constraints": 0.7}),
    ),
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked to be measured; the answers are FAST, BEST and NEITHER."""
    asked: list[tuple[Any, ...]] = []

    def measure(pipeline: object, *arguments: Any) -> list[Measurement]:
        asked.append(arguments)
        return [BEST, FAST, NEITHER]

    monkeypatch.setattr("sunfish.sampling.autotune.measure", measure)
    monkeypatch.setattr("sunfish.commands.bench.load_pipeline", lambda arguments: None)
    return asked


def test_the_table_is_in_order_of_time_and_marks_the_frontier(
    measured: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    words = ["bench", "sample", str(checkpoint), "--texts", "3", "--scales", "2", "1.5", "--seed", "7"]
    assert main([*words, "--no-write"]) == 0
    captured = capsys.readouterr()
    rows = [re.split(r"  +", line.strip()) for line in captured.out.splitlines()]
    assert rows == [
        ["sampler/block, steps, guidance", "s/text", "grammar constraints", "quality"],
        ["verified/8, guidance 2", "0.500", "0.900", "0.800", "0.720", "on the frontier"],
        ["verified/16, lenience 0.5, guidance 1.5", "1.250", "0.500", "0.700", "0.350"],
        ["leftmost/4, 3 steps, guidance 1", "2.000", "0.900", "0.950", "0.855", "on the frontier"],
        ["best: leftmost/4, 3 steps, guidance 1"],
        ["fast: verified/8, guidance 2"],
    ]
    assert "1 of 22: leftmost/4, 3 steps, guidance 1 2.00 s, quality 0.855" in captured.err
    assert "2 of 22: verified/8, guidance 2 0.50 s, quality 0.720" in captured.err
    prompts = [story(1, "test", i).prompt for i in range(3)]
    assert measured == [(prompts, candidates([2.0, 1.5]), by_oracle, 7)]
    assert read_generation_config(checkpoint) == GenerationConfig()
    assert main(words) == 0
    assert read_generation_config(checkpoint) == BEST.config
    assert read_generation_config(checkpoint, "fast") == FAST.config


def test_json_has_the_points_as_they_were_measured(
    measured: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    assert main(["bench", "sample", str(checkpoint), "--json", "--no-write"]) == 0
    expected = [
        {"seconds": m.seconds, "quality": m.quality, **m.parts, "frontier": m is not NEITHER}
        for m in (BEST, FAST, NEITHER)
    ]
    output = json.loads(capsys.readouterr().out)
    labels = [point.pop("setting") for point in output["points"]]
    assert output["points"] == expected
    assert output["recommended"] == {"best": labels[0], "fast": labels[1]}


@pytest.mark.parametrize("data, judge", [("stories", by_oracle), ("mine.txt", by_likelihood)])
def test_given_prompts_take_turns_and_the_judge_suits_the_corpus(
    measured: list[tuple[Any, ...]], tmp_path: Path, data: str, judge: object
) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    edit_metadata(checkpoint, lambda metadata: metadata["config"]["corpus"].update(data=data))
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    prompts = ["--prompt-file", str(tmp_path / "prompts.txt")]
    assert main(["bench", "sample", str(checkpoint), "--texts", "5", *prompts, "--no-write"]) == 0
    ((given, configs, chosen, seed),) = measured
    assert given == ["one", "two", "one", "two", "one"] and chosen is judge and seed == 0
    assert configs == candidates([1.0, GenerationConfig.guidance_scale])
