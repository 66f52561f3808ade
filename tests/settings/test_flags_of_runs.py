"""Every flag of the other commands with a value of its own: the work behind it is given just that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import sunfish.data.sources as sources
import sunfish.hardware.device as device_module
import sunfish.sampling.autotune as autotune_module
import sunfish.tokenizers as tokenizers
import sunfish.training.preflight as preflight_module
import sunfish.training.trainer as trainer_module
from sunfish.checkpoint.folder import load_checkpoint
from sunfish.cli import build_parser, main
from sunfish.config import FIELD_GROUPS, Config, GenerationConfig
from sunfish.config.presets import preset
from tests.settings.table import spy
from tests.settings.values import RECORDS, RUN, STEPPED, TEMPLATE, VERIFIED
from tests.settings.words import flags, given, printed

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
Record = dict[str, Any]


def test_every_field_has_a_value_that_is_not_its_default() -> None:
    """But for what no flag sets: the teacher and further prompts have commands and flags of their own."""
    defaults = {name: getattr(getattr(Config(), group), name) for name, group in FIELD_GROUPS.items()}
    assert {**RUN, **RECORDS, **TEMPLATE}.keys() == defaults.keys() - {"teacher"}
    assert not [n for group in (RUN, RECORDS, TEMPLATE) for n, value in group.items() if value == defaults[n]]
    default = vars(GenerationConfig())
    assert {**VERIFIED, **STEPPED}.keys() == default.keys() - {"composed_prompts"}
    assert not [n for group in (VERIFIED, STEPPED) for n, value in group.items() if value == default[n]]
    for group in (RUN, RECORDS, TEMPLATE, VERIFIED, STEPPED):
        values = [value for value in group.values() if not isinstance(value, bool)]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("values", [RUN, RECORDS, TEMPLATE], ids=["run", "records", "template"])
@pytest.mark.parametrize("as_flags", [False, True], ids=["set", "flags"])
def test_fields_of_a_run(values: Record, as_flags: bool, capsys: Capture) -> None:
    """Of ``train``; and of ``data``, which takes some of them, too."""
    assert printed(["train", *given(values, FIELD_GROUPS, as_flags)], capsys) == preset("micro", **values)
    fields = {setting.name for setting in build_parser()[1]["data"].settings.values()}
    some = {name: value for name, value in values.items() if name in fields}
    assert printed(["data", *given(some, FIELD_GROUPS, as_flags)], capsys) == preset("micro", **some)


@pytest.fixture
def trained(monkeypatch: Patch) -> Record:
    """What ``train`` and the pre-flight are given, in place of their work."""
    record: Record = {}

    def train(config: Config, resume: Path | None = None, other_data: bool = False) -> Path:
        record.update(config=config, resume=resume, other_data=other_data)
        return Path("last")

    monkeypatch.setattr(trainer_module, "train", train)
    monkeypatch.setattr(preflight_module, "preflight", lambda config: record.update(preflight=config))
    return record


def test_flags_of_train(trained: Record, checkpoint: Path, corpus: Path) -> None:
    assert flags("train") == {"resume", "cpu", "preflight", "print_config", "config"}
    nano = preset("nano")
    fresh = {"config": nano, "resume": None, "other_data": False, "preflight": nano}
    on_cpu = nano.with_fields(device="cpu")
    stored = load_checkpoint(checkpoint).config
    for words, expected in (
        (["--config", "nano"], fresh),
        (["--config", "nano", "--cpu"], fresh | {"config": on_cpu, "preflight": on_cpu}),
        (["--config", "nano", "--no-preflight"], {k: v for k, v in fresh.items() if k != "preflight"}),
        (["--resume", str(checkpoint)], {"config": stored, "resume": checkpoint, "other_data": False}),
        (
            ["--resume", str(checkpoint), "--preflight", "--data", str(corpus), "--max-steps", "9"],
            {"config": stored.with_fields(max_steps=9), "preflight": stored.with_fields(max_steps=9)}
            | {"resume": checkpoint, "other_data": True},
        ),
        (
            ["--resume", "auto", "--checkpoints", str(checkpoint.parent.parent), "--name", "run"],
            {"config": stored, "resume": checkpoint.parent.parent / "run" / "last.ckpt", "other_data": False},
        ),
    ):
        trained.clear()
        assert main(["train", *words]) == 0
        if isinstance(trained["resume"], Path):
            assert trained["resume"].resolve() == checkpoint
            trained["resume"] = expected["resume"]
        assert trained == expected


def test_flags_of_distillation(trained: Record, checkpoint: Path) -> None:
    """What is not given is as the teacher has it, but for ten minutes and a fifth of the rates."""
    assert flags("distill-guidance") == {"teacher_checkpoint", "cpu", "print_config"}
    stored = load_checkpoint(checkpoint).config
    rates = stored.training
    base = stored.with_fields(
        name="run-one-pass",
        teacher=str(checkpoint),
        max_minutes=10.0,
        max_steps=0,
        learning_rate=0.2 * rates.learning_rate,
        matrix_learning_rate=0.2 * rates.matrix_learning_rate,
    )
    assert main(["distill-guidance", str(checkpoint)]) == 0
    assert trained["config"] == base
    fields = {setting.name for setting in build_parser()[1]["distill-guidance"].settings.values()}
    some = {name: value for name, value in RUN.items() if name in fields}
    assert len(some) == len(fields)
    assert main(["distill-guidance", str(checkpoint), *given(some, FIELD_GROUPS, True)]) == 0
    assert trained["config"] == base.with_fields(**some)
    assert main(["distill-guidance", str(checkpoint), "--max-steps", "8"]) == 0
    assert trained["config"] == base.with_fields(max_steps=8, max_minutes=0.0)
    assert main(["distill-guidance", str(checkpoint), "--cpu"]) == 0
    assert trained["config"] == base.with_fields(device="cpu")


@pytest.fixture
def benched(monkeypatch: Patch, loaded: Record) -> Record:
    """What measuring is given, in place of its work."""

    def measure(pipeline: Any, prompts: Any, configs: Any, judge: Any, seed: int) -> list[Any]:
        loaded.update(prompts=prompts, judge=judge, seed=seed)
        return []

    monkeypatch.setattr(autotune_module, "measure", measure)
    monkeypatch.setattr(autotune_module, "candidates", lambda scales: loaded.update(scales=scales) or [])
    monkeypatch.setattr(autotune_module, "recommend", lambda _: {"best": GenerationConfig(block_length=16)})
    monkeypatch.setattr(device_module, "set_threads", lambda threads: loaded.update(threads=threads))
    return loaded


BENCH: dict[str, Record] = {
    "--texts 3 --scales 1.5 2 --seed 4 --threads 2": dict(
        prompts=["one", "two", "one"], scales=[1.5, 2.0], seed=4, threads=2
    ),
    "--device cuda --precision int8 --compile": dict(device="cuda", precision="int8", compile=True),
    "--no-write": {},
}


@pytest.mark.parametrize("words", BENCH)
def test_flags_of_bench(
    benched: Record, checkpoint: Path, tmp_path: Path, words: str, capsys: Capture
) -> None:
    named = {"texts", "scales", "seed", "threads", "device", "precision", "compile", "write"}
    assert flags("bench") == named | {"what", "checkpoint", "prompt_file", "json"}
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    file = ["--prompt-file", str(tmp_path / "prompts.txt"), "--json"]
    copy = Path(shutil.copytree(checkpoint, tmp_path / checkpoint.name))
    assert main(["bench", "sample", str(copy), *file, *words.split()]) == 0
    load = {"path": copy, "device": "auto", "precision": "float32", "compile": False}
    work = {"prompts": ["one", "two"] * 12, "scales": [1.0, 3.0], "seed": 0, "threads": 0}
    assert benched == load | work | {"judge": autotune_module.by_likelihood} | BENCH[words]
    assert json.loads(capsys.readouterr().out)["recommended"] == {"best": "verified/16, guidance 3"}
    kept = json.loads((copy / "generation_config.json").read_text())
    before = {"best": {}, "fast": {"block_length": 12}}
    assert kept == (before if words == "--no-write" else {"best": {"block_length": 16}})


def test_flags_of_data_and_tokenizer(
    corpus: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    opened, built = spy(monkeypatch, sources, "open_source"), spy(monkeypatch, tokenizers, "build_tokenizer")
    assert flags("data") == {"show", "json", "print_config", "config", "shard"}
    assert flags("tokenizer") == {"load", "out", "encode", "json", "config"}
    fields = ["--data", str(corpus), "--tokenizer", "characters", "--config", "nano", "--seed", "6"]
    folder = ["--data-folder", str(tmp_path / "data"), "--prompt-field", "prompt"]
    assert main(["data", *fields, *folder, "--show", "2", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert len(made["examples"]) == 2 and made["examples"][0]["prompt"].startswith("about ")
    assert (
        made["manifest"]["recipe"]["tokenizer"] == "characters"
        and made["manifest"]["recipe"]["vocab_size"] == 1536
    )
    assert Path(made["folder"]).parent == tmp_path / "data"
    out = tmp_path / "tokenizer.json"
    assert main(["tokenizer", *fields, "--out", str(out), "--encode", "dog", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["tokens"] == ["d", "o", "g"] and trained["bytes_per_token"] == 1.0
    assert main(["tokenizer", "--load", str(out), "--encode", "dog", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {k: v for k, v in trained.items() if k != "bytes_per_token"}
    assert [(call["config"].data, call["seed"]) for call in opened] == [(str(corpus), 6)] * 2
    assert [(call["kind"], call["vocab_size"]) for call in built] == [("characters", 1536)]


def test_flags_of_sizes_and_doctor(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    import sunfish.commands.doctor as doctor
    import sunfish.commands.sizes as sizes

    assert flags("sizes") == {"measure", "quick", "device", "json"}
    assert flags("doctor") == {"checkpoints", "data_folder", "json"}
    asked: list[Any] = []

    def rows(device: torch.device, **how: bool) -> list[Any]:
        asked.append((device, how))
        return []

    def examine(*folders: Path) -> list[Any]:
        asked.append(folders)
        return []

    monkeypatch.setattr(sizes, "_rows", rows)
    monkeypatch.setattr(doctor, "examine", examine)
    for words in (["--json"], ["--quick"], ["--measure"]):
        assert main(["sizes", "--device", "cpu", *words]) == 0
    assert asked == [
        (torch.device("cpu"), {"quick": quick, "measures": measure})
        for quick, measure in ((False, False), (True, False), (False, True))
    ]
    asked.clear()
    capsys.readouterr()
    assert main(["doctor", "--checkpoints", "a", "--data-folder", "b", "--json"]) == 0
    assert asked == [(Path("a"), Path("b"))] and json.loads(capsys.readouterr().out) == []
