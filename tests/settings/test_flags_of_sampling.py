"""Every flag of ``sample``, ``infill`` and ``edit`` with a value of its own: the pipeline is asked for just that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.config.generation import NUM_PARTICLES
from tests.settings.values import STEPPED, VERIFIED
from tests.settings.words import flags, given, printed

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
Record = dict[str, Any]


SAMPLE: dict[str, tuple[list[str], Record]] = {
    "num_samples": (["--num-samples", "2"], {"rows": ["a", "a"]}),
    "seed": (["--seed", "5"], {"seed": 5}),
    "also": (["--also", "b", "0.5"], {"config": GenerationConfig(composed_prompts=(("b", 0.5),))}),
    "scheduler": (["--scheduler", "ddim"], {"config": GenerationConfig(sampler="ddim")}),
    "device": (["--device", "cuda:1"], {"device": "cuda:1"}),
    "cpu": (["--cpu"], {"device": "cpu"}),
    "precision": (["--precision", "int8"], {"precision": "int8"}),
    "compile": (["--compile"], {"compile": True}),
    "prompt": (["--prompt", "b"], {"rows": ["a", "b"]}),
    "prompt_file": (["--prompt-file", "prompts.txt"], {"rows": ["a", "one", "two"]}),
    "seq_len": (["--seq-len", "9"], {"seq_len": 9}),
    "best_of": (["--best-of", "3"], {"best_of": 3}),
    "stop": (["--stop", "b", "--stop", "c"], {"stop": ["b", "c"]}),
    "fast": (["--fast"], {"config": GenerationConfig(block_length=12)}),
    "watch": (["--watch"], {"how": "stream"}),
    "json": (["--json"], {}),
}
ELSEWHERE = {"checkpoint", "mode", "text", "print_config"}  # in a test of their own, below


def sampled(words: list[str], loaded: Record, checkpoint: Path) -> Record:
    loaded.clear()
    assert main(["sample", str(checkpoint), "--prompt", "a", *words]) == 0
    return dict(loaded)


def base_of(checkpoint: Path) -> Record:
    """What ``sample`` asks for without flags."""
    work = {
        "how": "generate",
        "rows": ["a"],
        "config": GenerationConfig(),
        "seed": 0,
        "seq_len": None,
        "best_of": 1,
        "stop": [],
    }
    return {**work, "path": checkpoint, "device": "auto", "precision": "float32", "compile": False}


def test_no_flag_of_sample_is_left_out() -> None:
    assert set(SAMPLE) | ELSEWHERE == flags("sample")


@pytest.mark.parametrize("name", SAMPLE)
def test_a_flag_of_sample(
    name: str, loaded: Record, checkpoint: Path, tmp_path: Path, capsys: Capture
) -> None:
    words, changes = SAMPLE[name]
    (tmp_path / "prompts.txt").write_text("one\n\ntwo\n")
    words = [str(tmp_path / word) if word == "prompts.txt" else word for word in words]
    expected = base_of(checkpoint) | changes
    if name == "watch":
        del expected["best_of"]
    assert sampled(words, loaded, checkpoint) == expected
    out = capsys.readouterr().out
    shown = [{"text": "text", "prompt": "", "finished": True, "tokens": 1, "stop": ""}]
    assert json.loads(out) == shown if name == "json" else out == "text\n"


@pytest.mark.parametrize("values", [VERIFIED, STEPPED], ids=["verified", "stepped"])
@pytest.mark.parametrize("as_flags", [False, True], ids=["set", "flags"])
def test_fields_of_sample_and_infill(
    values: Record, as_flags: bool, loaded: Record, checkpoint: Path
) -> None:
    """Gaps have neither block length nor lenience; where no sampler is given, verified fills them."""
    groups = dict.fromkeys(values, "generation")
    expected = base_of(checkpoint) | {"config": GenerationConfig(**values)}
    assert sampled(given(values, groups, as_flags), loaded, checkpoint) == expected
    some = {name: value for name, value in values.items() if name not in ("block_length", "lenience")}
    words = given(some, groups, as_flags)
    assert main(["infill", str(checkpoint), "--text", "[MASK]", "--prompt", "a", *words]) == 0
    assert loaded["config"] == GenerationConfig(**some)


def test_without_a_prompt_nothing_guides(loaded: Record, checkpoint: Path) -> None:
    assert main(["sample", str(checkpoint)]) == 0
    assert loaded["rows"] == [""] and loaded["config"] == GenerationConfig(guidance_scale=0.0)
    assert main(["sample", str(checkpoint), "--negative-prompt", "b"]) == 0
    assert loaded["config"] == GenerationConfig(negative_prompt="b")


INFILL: dict[str, tuple[list[str], Record]] = {
    "num_samples": (["--num-samples", "2"], {"num_samples": 2}),
    "seed": (["--seed", "5"], {"seed": 5}),
    "also": (["--also", "b", "2"], {"config": {"composed_prompts": (("b", 2.0),)}}),
    "scheduler": (["--scheduler", "ddpm"], {"config": {"sampler": "ddpm", "temperature": 0.5}}),
    "device": (["--device", "cuda"], {"device": "cuda"}),
    "cpu": (["--cpu"], {"device": "cpu"}),
    "precision": (["--precision", "bfloat16"], {"precision": "bfloat16"}),
    "prompt": (["--prompt", "b"], {"prompt": "b"}),
    "json": (["--json"], {}),
    "particles": (["--particles", "5"], {"num_particles": 5}),
}


def test_no_flag_of_infill_is_left_out() -> None:
    assert set(INFILL) | {"checkpoint", "text", "file", "print_config"} == flags("infill")


@pytest.mark.parametrize(
    "by, name",
    [
        (by, name)
        for name in INFILL
        for by in ("infill", "sample --mode infill")
        if (by, name) != ("sample --mode infill", "particles")
    ],
)
def test_a_flag_of_infill(by: str, name: str, loaded: Record, checkpoint: Path) -> None:
    """And of ``sample --mode infill``, which is the same but for the number of particles."""
    words, changes = INFILL[name]
    config = replace(GenerationConfig(guidance_scale=1.0, temperature=0.7), **changes.get("config", {}))
    work = {"how": "infill", "text": "a [MASK] b", "prompt": "c", "seed": 0, "num_samples": 1}
    work["num_particles"] = NUM_PARTICLES
    load = {"path": checkpoint, "device": "auto", "precision": "float32", "compile": False}
    prompt = [] if name == "prompt" else ["--prompt", "c"]
    command, *mode = by.split()
    assert main([command, str(checkpoint), *mode, "--text", "a [MASK] b", *prompt, *words]) == 0
    assert loaded == work | load | changes | {"config": config}


def test_a_text_with_gaps_from_a_file(loaded: Record, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "gaps.txt").write_text("x [MASK:2] y\n")
    assert main(["infill", str(checkpoint), "--file", str(tmp_path / "gaps.txt")]) == 0
    assert loaded["text"] == "x [MASK:2] y" and loaded["path"] == checkpoint
    assert loaded["config"] == GenerationConfig(guidance_scale=0.0, temperature=0.7)


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], GenerationConfig(guidance_scale=1.0, temperature=0.7)),
        (["--temperature", "0.5"], GenerationConfig(guidance_scale=1.0, temperature=0.5)),
        (["--guidance-scale", "3"], GenerationConfig(guidance_scale=3.0, temperature=0.7)),
        (["--negative-prompt", "d"], GenerationConfig(negative_prompt="d", temperature=0.7)),
        (["--num-steps", "4"], GenerationConfig(sampler="leftmost", num_steps=4, guidance_scale=1.0)),
        (["--sampler", "confidence"], GenerationConfig(sampler="confidence", guidance_scale=1.0)),
    ],
)
def test_what_fills_where_little_is_given(
    words: list[str], expected: GenerationConfig, loaded: Record, checkpoint: Path
) -> None:
    """The posterior without guidance; a number of steps asks for the sampler of the process."""
    assert main(["infill", str(checkpoint), "--text", "a [MASK]", "--prompt", "c", *words]) == 0
    assert loaded["config"] == expected


EDIT: dict[str, tuple[list[str], Record]] = {
    **{name: row for name, row in INFILL.items() if name not in ("scheduler", "num_samples")},
    "num_samples": (["--num-samples", "2"], {"n": 2}),
    "replace": (["--replace", "dog"], {"spans": [(0, 3), (4, 7)]}),
    "range": (["--range", "8:10"], {"spans": [(0, 3), (8, 10)]}),
}


def test_no_flag_of_edit_is_left_out() -> None:
    assert set(EDIT) | {"checkpoint", "text", "file", "print_config"} == flags("edit") - {"scheduler"}


@pytest.mark.parametrize("name", EDIT)
def test_a_flag_of_edit(name: str, loaded: Record, checkpoint: Path) -> None:
    words, changes = EDIT[name]
    config = replace(GenerationConfig(guidance_scale=1.0, temperature=0.7), **changes.get("config", {}))
    work = {"how": "edit", "text": "the dog ran", "spans": [(0, 3)], "prompt": "c", "seed": 0, "n": 1}
    load = {"path": checkpoint, "device": "auto", "precision": "float32", "compile": False}
    prompt = [] if name == "prompt" else ["--prompt", "c"]
    given = ["--text", "the dog ran", "--replace", "the", *prompt]
    assert main(["edit", str(checkpoint), *given, *words]) == 0
    assert loaded == work | load | {"num_particles": NUM_PARTICLES} | changes | {"config": config}


@pytest.mark.parametrize(
    "words",
    ["sample", "infill --text [MASK]", "sample --mode infill --text [MASK]", "edit --text a --replace a"],
)
def test_the_configuration_of_a_checkpoint(words: str, checkpoint: Path, capsys: Capture) -> None:
    command, *others = words.split()
    assert printed([command, str(checkpoint), *others], capsys).training.name == "run"
