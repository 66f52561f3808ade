"""A run as its folder tells it: whole lines only, from a place on, whatever else is in the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import sunfish.serving.runs as runs_module
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.app import build_app
from sunfish.serving.runs import parse_samples, read_run
from sunfish.serving.service import Service
from sunfish.training.logger import Logger
from tests.conftest import Workplace


def write(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_bytes(content)
    return folder


def test_no_run_yet(tmp_path: Path) -> None:
    run = read_run(tmp_path / "later", 17)
    assert (run.name, run.exists, run.records, run.begin, run.end) == ("later", False, [], 0, 0)
    assert run.samples == [] and not run.more


def test_a_real_run(trained: Workplace) -> None:
    folder = trained.checkpoint.resolve().parent
    run = read_run(folder)
    assert run.exists and run.name == "trained" and not run.more
    assert [record["step"] for record in run.records][-1] == 3
    assert {"loss", "next_token"} <= set(run.records[0]) and "validation/bound" in run.records[-1]
    assert run.samples is not None and run.samples[-1].step == 3
    shown = (folder / "samples.md").read_bytes().decode()
    for sample in run.samples:
        for part in sample.texts:
            assert f"**{part.prompt}**\n\n{part.text}" in shown
    assert sum(len(sample.texts) for sample in run.samples) == shown.count("\n\n**")


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    first, second = b'{"step": 1, "loss": 2.5}\n', b'{"step": 2, "loss": 1.5}\n'
    folder = write(tmp_path / "run", first + second[:-3])
    run = read_run(folder)
    assert run.records == [{"step": 1, "loss": 2.5}] and run.end == len(first) and not run.more
    assert read_run(folder, run.end).records == []
    write(folder, first + second)
    assert read_run(folder, run.end).records == [{"step": 2, "loss": 1.5}]


def test_a_run_that_begins_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", b'{"step": 1}\n{"step": 2}\n')
    end = read_run(folder).end
    write(folder, b'{"step": 1}\n')
    run = read_run(folder, end)
    assert run.begin == 0 and run.records == [{"step": 1}]


def test_a_long_run_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "MAX_METRICS", 100)
    folder = write(tmp_path / "run", b"".join(b'{"step": %d}\n' % step for step in range(50)))
    steps, place, more = [], 0, True
    while more:
        run = read_run(folder, place)
        steps += [record["step"] for record in run.records]
        place, more = run.end, run.more
    assert steps == list(range(50))


def test_a_line_that_is_too_long_to_be_one_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "MAX_METRICS", 100)
    folder = write(tmp_path / "run", b"x" * 250 + b'\n{"step": 1}\n')
    place, records = 0, []
    for _ in range(4):
        run = read_run(folder, place)
        records += run.records
        place = run.end
    assert records == [{"step": 1}]


LINES = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ).map(lambda value: json.dumps({"step": 1, "it": value}).encode()),
    st.sampled_from(
        [b'{"step": 1, "loss": 1e999}', b'{"step": 1, "note": "\\ud800"}', b"[" * 10000, b'{"step": "1"}']
    ),
)


@settings(max_examples=60)
@given(lines=st.lists(LINES, max_size=5), after=st.integers(0, 100))
def test_whatever_stands_in_the_file_becomes_json(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], after: int
) -> None:
    folder = write(tmp_path_factory.getbasetemp() / "any", b"\n".join(lines))
    run = read_run(folder, after)
    read = json.loads(run.model_dump_json(), parse_constant=lambda name: pytest.fail(name))
    assert all(isinstance(record["step"], float) for record in read["records"])
    run.model_dump_json().encode()


def test_samples_that_are_known_are_not_sent_again(tmp_path: Path) -> None:
    logger = Logger(tmp_path, (), {})
    logger.metrics(1, {"loss": 2.0})
    logger.samples(1, [("a dog", "Dog.\n\nIt ran."), ("", "")])
    run = read_run(tmp_path)
    (sample,) = run.samples or []
    assert [(text.prompt, text.text) for text in sample.texts] == [
        ("a dog", "Dog.\n\nIt ran."),
        ("(no prompt)", "(an empty text)"),
    ]
    assert read_run(tmp_path, run.end, run.samples_end).samples is None
    logger.samples(2, [("a cat", "Cat.")])
    again = read_run(tmp_path, run.end, run.samples_end).samples or []
    assert [sample.step for sample in again] == [1, 2]


def test_of_long_samples_the_end_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "MAX_SAMPLES", 300)
    logger = Logger(tmp_path, (), {})
    for step in range(100):
        logger.samples(step, [("a dog", f"Dog {step}.")])
    steps = [sample.step for sample in read_run(tmp_path).samples or []]
    assert steps == list(range(steps[0], 100)) and 1 < len(steps) < 15


@pytest.mark.parametrize("content", [b"", b"## step 1", b"**a**\n\nb", b"\xff\xfe## step 3\n\n"])
def test_samples_that_are_none(content: bytes) -> None:
    assert parse_samples(content) == []


def test_over_http(pipeline: Pipeline, tmp_path: Path) -> None:
    write(tmp_path / "run", b'{"step": 1, "loss": NaN}\n')
    client = TestClient(build_app(Service(pipeline, "tiny", run=tmp_path / "run")), "http://localhost")
    answer = client.get("/v1/run").json()
    assert answer["records"] == [{"step": 1.0, "loss": None}] and answer["end"] == 25
    assert client.get("/v1/run?after=25").json()["records"] == []
    for wrong in ("after=-1", "after=x", "samples_after=1e9", f"after={2**63}"):
        response = client.get(f"/v1/run?{wrong}")
        assert response.status_code == 400 and response.json()["error"]["param"] in ("after", "samples_after")
    none = TestClient(build_app(Service(pipeline, "tiny")), "http://localhost").get("/v1/run")
    assert none.status_code == 404 and none.json()["error"]["code"] == "no_run"
    assert "--run" in none.json()["error"]["message"]
