"""Every process, by its name: it trains, validates, writes, fills gaps, and says which samplers it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.config import ProcessConfig
from sunfish.config.presets import preset
from sunfish.processes import PROCESSES, build_process
from sunfish.sampling.unmasking import SAMPLERS
from sunfish.types import Process
from tests.conftest import TINY


@pytest.mark.parametrize("name", PROCESSES)
def test_what_every_process_says_of_itself(name: str) -> None:
    process = build_process(ProcessConfig(process=name))
    assert isinstance(process, Process)
    assert process.samplers and set(process.samplers) <= set(SAMPLERS)


def test_every_sampler_belongs_to_a_process() -> None:
    known = {sampler for name in PROCESSES for sampler in build_process(ProcessConfig(process=name)).samplers}
    assert known == set(SAMPLERS)


@pytest.mark.parametrize("name", [name for name in PROCESSES if name != "masked"])
def test_it_trains_and_writes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--checkpoints", str(tmp_path / "ck"), "--data_folder", str(tmp_path / "data")]
    words = [
        "train",
        *TINY,
        "--name",
        name,
        "--process",
        name,
        "--max_steps",
        "3",
        "--eval_every",
        "3",
        *folders,
    ]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert ("no bound: this process has none" in said) == (name == "gaussian")
    last = str(tmp_path / "ck" / "last.ckpt")
    process = build_process(ProcessConfig(process=name))
    usual = process.samplers[0]
    assert (
        main(["sample", last, "--prompt", "Write about dogs", "--seq_len", "12", "--num_samples", "2"]) == 0
    )
    assert (
        main(["sample", last, "--seq_len", "12", "--num_steps", "3", "--block_length", "0", "--watch"]) == 0
    )
    capsys.readouterr()
    texts = []
    for flags in ([], ["--sampler", usual]):
        assert main(["sample", last, "--seq_len", "12", "--num_steps", "3", *flags]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]  # steps are the usual sampler's
    text = "The robot went to the [MASK:2] and fell asleep."
    assert main(["sample", last, "--mode", "infill", "--text", text]) == 0
    filled = capsys.readouterr().out
    assert filled.startswith("The robot went to the ") and filled.endswith(" and fell asleep.\n")
    assert main(["sample", last, "--sampler", "leftmost", "--seq_len", "12"]) == 1
    assert f"process are: {', '.join(process.samplers)}" in capsys.readouterr().err


def test_schedulers_by_their_published_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--checkpoints", str(tmp_path / "ck"), "--data_folder", str(tmp_path / "data")]
    assert main(["train", *TINY, "--name", "g", "--process", "gaussian", "--max_steps", "1", *folders]) == 0
    words = ["sample", str(tmp_path / "ck" / "last.ckpt"), "--seq_len", "12", "--num_steps", "3"]
    capsys.readouterr()
    texts = []
    for flags in (["ddim", "ddim"], ["ddpm", "ddpm"]):
        for flag, name in zip(("--scheduler", "--sampler"), flags, strict=True):
            assert main([*words, flag, name]) == 0
            texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2] == texts[3]


def test_an_unknown_process_is_named() -> None:
    with pytest.raises(
        ValueError, match="process is 'sticky'; the processes are: masked, uniform, mixed, gaussian"
    ):
        build_process(ProcessConfig(process="sticky"))
    with pytest.raises(ValueError, match="for other processes than masked"):
        preset("tiny", vector_input=True)
