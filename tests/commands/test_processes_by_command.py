"""Every process, by its name, from the command line: it trains, validates, writes and fills gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.config import ProcessConfig
from sunfish.processes import build_process, process_builders
from sunfish.sampling.unmasking import policies_for
from tests.conftest import TINY


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in process_builders() if name != "masked"])
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
    log = capsys.readouterr().err
    assert ("no proven bound" in log) == (name == "gaussian")
    last = str(tmp_path / "ck" / "last.ckpt")
    process = build_process(ProcessConfig(process=name), vocab_size=400)
    assert (
        main(["sample", last, "--prompt", "Write about dogs", "--seq_len", "12", "--num_samples", "2"]) == 0
    )
    assert (
        main(["sample", last, "--seq_len", "12", "--num_steps", "3", "--block_length", "0", "--watch"]) == 0
    )
    capsys.readouterr()
    texts = []
    for flags in ([], ["--sampler", process.default_sampler]):
        assert main(["sample", last, "--seq_len", "12", "--num_steps", "3", *flags]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]  # steps are the default sampler's
    text = "The robot went to the [MASK:2] and fell asleep."
    assert main(["sample", last, "--mode", "infill", "--text", text]) == 0
    filled = capsys.readouterr().out
    assert filled.startswith("The robot went to the ") and filled.endswith(" and fell asleep.\n")
    assert main(["sample", last, "--sampler", "leftmost", "--seq_len", "12"]) == 2
    assert f"process are: {', '.join(policies_for(process))}" in capsys.readouterr().err


@pytest.mark.slow
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
