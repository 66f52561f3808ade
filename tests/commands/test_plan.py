"""``sunfish plan``: its table beside its JSON, how long a run is, where its rate comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sunfish.cli import main
from sunfish.commands.plan import RECORDED_FLOPS
from sunfish.config.presets import preset
from sunfish.model.transformer import count_parameters
from sunfish.training import plan

WORDS = ["plan", "--config", "full", "--gpus", "64", "--gpu-memory", "80"]


@pytest.fixture(autouse=True)
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The precision that suits this CPU is not measured, which takes longer than a plan."""
    monkeypatch.setattr("sunfish.hardware.device.bfloat16_speed_up", lambda: 0.5)


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*WORDS, *words, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_table_shows_what_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tokens", "30B", "--batch-size", "1024"]
    assert main([*WORDS, *words]) == 0
    *head, names, first, _, _, last, advice = capsys.readouterr().out.splitlines()
    answer = planned(capsys, *words)
    assert answer["tokens"] == 30e9 and answer["flops"] == RECORDED_FLOPS
    assert "30 B tokens" in head[0] and "64 GPUs of 80.0 GiB, bfloat16, 218 TFLOP/s each" in head[1]
    assert names.split()[:4] == ["parallel", "recompute", "weights", "optimizer"]
    for line, option in ((first, answer["options"][0]), (last, answer["options"][3])):
        cells = line.split()
        assert cells[:2] == [option["parallel"], "yes" if option["activation_checkpointing"] else "no"]
        assert float(cells[6]) == pytest.approx(option["bytes"]["total"] / 2**30, abs=0.05)
        assert cells[7] == str(option["largest_micro_batch"])
        assert option["micro_batch"] * option["gradient_accumulation"] * 64 == 1024
        assert cells[8:11] == [str(option["micro_batch"]), "x", str(option["gradient_accumulation"])]
        assert float(cells[11].replace(",", "")) == pytest.approx(option["tokens_per_second"], abs=0.5)
        assert option["seconds"] == pytest.approx(30e9 / option["tokens_per_second"])
        assert option["gpu_hours"] == pytest.approx(64 * option["seconds"] / 3600)
    assert advice.startswith(
        "fastest: sunfish train --config full --batch-size 1024 --set training.parallel="
    )


def test_the_head_says_what_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--gpus", "1", "--flops", "2.5e15", "--max-steps", "1000"]
    assert main(["plan", "--config", "base", *words]) == 0
    parameters = f"{count_parameters(preset('base').model):,}"
    assert capsys.readouterr().out.splitlines()[:4] == [
        f"base: {parameters} parameters, 0.03277 B tokens, 32 texts of 1,024 tokens a step",
        "1 GPU of 80.0 GiB, bfloat16, 2,500 TFLOP/s each (as given)",
        "memory of the main process in GiB; largest: texts that fit at a time; batch: texts at a time x parts;",
        "computes: share of a step in which a GPU computes, if it never communicates meanwhile",
    ]


def test_a_run_is_as_long_as_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(capsys, "--max-steps", "100")["tokens"] == 100 * 64 * 2048
    by_time = planned(capsys, "--max-minutes", "60")
    assert min(option["seconds"] for option in by_time["options"]) == pytest.approx(3600)
    assert planned(capsys, "--tokens", "1.5M")["tokens"] == 1.5e6
    assert main([*WORDS, "--max-minutes", "0"]) == 2
    assert "the run has no end; give --tokens" in capsys.readouterr().err


def test_where_the_rate_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(capsys, "--flops", "1e14")["flops"] == 1e14
    given = planned(capsys, "--tokens-per-second", "20000")
    assert given["options"][0]["step_seconds"]["compute"] == pytest.approx(2048 / 20_000)
    monkeypatch.setattr(plan, "run_throughput", lambda *_: 20_000.0)
    assert planned(capsys, "--measure")["flops"] == pytest.approx(given["flops"])


def test_what_does_not_fit_has_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config", "full", "--gpus", "8", "--gpu-memory", "24"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[5:9]]
    assert rows[0][7:] == ["0", *"-----"] and rows[3][7] != "0" and "-" not in rows[3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpus", "0"), "gpus is 0; give at least 1"),
        (("--gpu-memory", "2"), "full needs"),
        (("--batch-size", "65"), "batch_size is 65, which 64 processes"),
        (("--tokens", "many"), "tokens is 'many'; give a number of tokens, such as 300M or 30B"),
        (("--tokens", "0"), "tokens is '0'"),
        (("--flops", "0"), "flops is 0; give what one GPU does a second"),
        (("--tokens-per-second", "-1"), "tokens_per_second is -1; give what one GPU does a second"),
        (("--device", "cpu"), "device is cpu, of which no rate is on record"),
        (("--device", "tpu"), "device is 'tpu'"),
    ],
)
def test_wrong_use_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--gpus": "64", "--gpu-memory": "80", "--config": "full"} | dict([words])
    assert main(["plan", *(word for pair in given.items() for word in pair)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err and captured.err.count("\n") == 1
