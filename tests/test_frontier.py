"""Time against quality: which settings are recommended, what the judges say, how a checkpoint keeps and uses them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.config.sampling import SamplingSettings
from sunfish.data.stories import story
from sunfish.sampling import autotune as module
from sunfish.sampling.autotune import Point, by_likelihood, by_oracle, candidates, frontier, recommend
from sunfish.sampling.generation_config import Generation, read_generation, write_generation
from sunfish.sampling.pipeline import Generated, Pipeline
from tests.conftest import Workplace


def point(seconds: float, quality: float) -> Point:
    return Point(Generation(SamplingSettings(), seconds), seconds, quality, {})


def test_the_frontier_and_what_is_recommended() -> None:
    slow_best, close, fast, beaten = point(3, 0.905), point(2, 0.90), point(0.5, 0.7), point(0.8, 0.6)
    points = [slow_best, beaten, fast, close]
    assert frontier(points) == [fast, close, slow_best]
    assert recommend(points) == {"best": close.generation, "fast": fast.generation}
    assert recommend([slow_best]) == {"best": slow_best.generation}


def test_every_candidate_is_another_setting() -> None:
    ways = candidates([1.0, 3.0])
    assert len(set(ways)) == len(ways) == 2 * len(module.WAYS)


def test_the_oracle_judges_grammar_and_demands() -> None:
    pipeline = None  # it reads only text
    written = [story(1, "test", index) for index in range(3)]
    good = [Generated(one.text, one.prompt, True, 5, []) for one in written]
    assert by_oracle(pipeline, good) == {"grammar": 1, "met": 1}  # type: ignore[arg-type]
    broken = [text._replace(text=text.text.replace(" the ", " the the ")) for text in good]
    assert by_oracle(pipeline, broken)["grammar"] < 0.9  # type: ignore[arg-type]
    swapped = [
        text._replace(prompt=one.prompt) for text, one in zip(good, written[1:] + written[:1], strict=True)
    ]
    assert by_oracle(pipeline, swapped)["met"] < 0.9  # type: ignore[arg-type]


def test_the_likelihood_is_that_of_each_token(trained: Workplace) -> None:
    pipeline = Pipeline.from_checkpoint(trained.checkpoint)
    texts = [
        Generated("", prompt, done, 3, ids)
        for prompt, done, ids in (("", False, [5, 6, 5]), ("A", True, [5, 6]))
    ]
    judged = by_likelihood(pipeline, texts)
    nats = 0.0
    for text in texts:
        ids = [pipeline.tokenizer.end, *text.ids, *[pipeline.tokenizer.end] * text.finished]
        for at in range(1, len(ids)):
            row = pipeline.model.table.new_tensor([ids[:at]]).long()
            _, logits = pipeline.model.remember(row, pipeline.encode([text.prompt]))
            nats += float(logits[0, -1, : pipeline.tokenizer.size].log_softmax(-1)[ids[at]].detach())
    assert judged["likelihood"] == pytest.approx(math.exp(nats / 6), rel=1e-4)
    assert judged["distinct"] == pytest.approx(2 / 3)  # 5 6, 6 5, and 5 6 again


def test_a_checkpoint_keeps_its_settings_and_uses_them(
    trained: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained.checkpoint, checkpoint)
    assert read_generation(checkpoint) == Generation()
    assert main(["sample", str(checkpoint), "--fast", "--seq_len", "8"]) == 1
    assert "sunfish bench" in capsys.readouterr().err
    monkeypatch.setattr(module, "WAYS", ({"block_length": 3}, {"sampler": "leftmost", "num_steps": 3}))
    assert main(["bench", "sample", str(checkpoint), "--texts", "2", "--scales", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["points"]) == 2 and set(said["recommended"]) <= {"best", "fast"}
    found = read_generation(checkpoint)
    assert found.guidance_scale == 2 and found in candidates([2.0])
    assert Pipeline.from_checkpoint(checkpoint).generation == found
    write_generation(checkpoint, {"best": Generation(SamplingSettings(sampler="leftmost", num_steps=3), 1.5)})
    assert main(["sample", str(checkpoint), "--fast", "--seq_len", "8"]) == 1
    said = capsys.readouterr().err
    assert "found no setting 'fast'" in said and "damaged" not in said
    words = ["sample", str(checkpoint), "--prompt", "Write about dogs", "--seq_len", "12", "--json"]
    assert main(words) == 0
    own = json.loads(capsys.readouterr().out)
    assert main([*words, "--sampler", "leftmost", "--num_steps", "3", "--guidance_scale", "1.5"]) == 0
    assert json.loads(capsys.readouterr().out) == own
    # What only the other kind of sampler has does not stand in the way of the one that is asked for.
    write_generation(checkpoint, {"best": Generation(SamplingSettings(lenience=0.5), 1.5)})
    assert main([*words, "--num_steps", "3"]) == 0
    assert json.loads(capsys.readouterr().out) == own
    one = Pipeline.from_checkpoint(checkpoint)("Write about dogs", steps=3, seq_len=12)
    write_generation(checkpoint, {"best": Generation(SamplingSettings(sampler="leftmost", revisions=2), 1.5)})
    assert main([*words, "--sampler", "verified"]) == 0
    assert json.loads(capsys.readouterr().out) != own and one == own[0]["text"]
    (checkpoint / "generation_config.json").write_text('{"best": {"guidance_scale": 1, "sampler": "best"}}')
    assert main(words) == 1
    assert "damaged" in capsys.readouterr().err


def test_other_models_need_prompts(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained.checkpoint, checkpoint)
    about = json.loads((checkpoint / "config.json").read_text())
    about["config"]["corpus"]["data"] = "mine.txt"
    (checkpoint / "config.json").write_text(json.dumps(about))
    assert main(["bench", "sample", str(checkpoint)]) == 2
    assert "--prompt-file" in capsys.readouterr().err
