"""The benchmarks: their frame, their tables, and that each runs end to end. No figure is asserted."""

from __future__ import annotations

import importlib
import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.frame import Benchmark, Run, format_cell
from benchmarks.generation import parse_setting
from benchmarks.results import ROOT, Result, command_line, latest, read_results
from benchmarks.speed.checkout import parse_sampling_speed, parse_training_rate
from benchmarks.table_kinds import Column, Comparison, ComparisonTable, FigureTable, Table
from benchmarks.table_specs import TABLES
from benchmarks.tables import BEGIN, pages_of, render, update
from benchmarks.timing import Timed, interleave, ratio
from sunfish.config import GenerationConfig
from sunfish.utils import UsageError
from tests.conftest import python

FOLDERS = ("speed", "quality", "peers", "robustness")


def all_benchmarks() -> dict[str, Benchmark]:
    """Every script that has a benchmark, by its path below benchmarks/."""
    names = [f"{f}/{path.stem}" for f in FOLDERS for path in sorted((ROOT / "benchmarks" / f).glob("*.py"))]
    modules = {name: importlib.import_module(f"benchmarks.{name.replace('/', '.')}") for name in names}
    return {name: module.benchmark for name, module in modules.items() if hasattr(module, "benchmark")}


BENCHMARKS = all_benchmarks()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_script_describes_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = BENCHMARKS[name]
    assert benchmark.name == name and benchmark.claim and benchmark.peer
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(["--help"])
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    standard = ("--threads", "--seed", "--device", "--json", "--results", "--smoke")
    assert all(flag in shown for flag in standard)
    assert f"./run.sh benchmarks/{name}.py" in shown
    assert ("--plot" in shown) == benchmark.plots


def test_no_script_has_a_parser_or_a_clock_of_its_own() -> None:
    for name in BENCHMARKS:
        text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        assert "ArgumentParser(" not in text, name
        assert "perf_counter()" not in text or name.startswith("peers/"), name  # those train for some seconds


@pytest.mark.slow
@pytest.mark.parametrize("words", [["benchmarks/quality/curve.py"], ["-m", "benchmarks.quality.curve"]])
def test_a_script_runs_by_path_and_as_a_module(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")
    done = python(*words, "--help")
    assert done.returncode == 0 and "metrics.jsonl" in done.stdout, done.stderr


# Timing.


class FakeClock:
    """A clock that only :meth:`work` moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> float:
        self.now += seconds
        return seconds


def test_arms_take_turns_and_medians_are_compared() -> None:
    clock, order = FakeClock(), list[str]()
    durations = {"a": [9.0, 1.0, 5.0, 2.0], "b": [9.0, 4.0, 4.0, 4.0]}  # the first is the warm-up
    queues = {name: iter(values) for name, values in durations.items()}

    def arm(name: str, number: int) -> float:
        order.append(f"{name}{number}")
        return clock.work(next(queues[name]))

    timed = interleave(
        {"a": lambda n: arm("a", n), "b": lambda n: arm("b", n)}, rounds=3, warmup=1, clock=clock
    )
    assert order == ["a0", "b0", "a0", "b0", "a1", "b1", "a2", "b2"]
    assert timed["a"].seconds == timed["a"].values == [1.0, 5.0, 2.0]
    assert timed["a"].median == 2.0 and timed["b"].median == 4.0
    assert ratio(timed["a"].median, timed["b"].median) == 0.5
    assert ratio(1.0, 0.0) is None


def test_timing_needs_a_round() -> None:
    with pytest.raises(ValueError, match="rounds is 0"):
        interleave({"a": lambda n: n}, rounds=0)
    assert Timed([3.0, 1.0], []).median == 2.0


# The frame.


def two_results(run: Run) -> None:
    run.header(torch.bfloat16, "a fact", model="tiny")
    run.add({"sampler": "verified"}, {"tokens_per_second": 1234.5, "ratio": 2.0})
    run.add({"sampler": "leftmost"}, {"tokens_per_second": 600.0, "ratio": None})


def a_benchmark(measure: Any = two_results, **options: Any) -> Benchmark:
    return Benchmark(
        "speed/example", "An example.", measure, claim="it is fast", peer="a slow one", **options
    )


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_appends_result_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.jsonl"
    words = ["--threads", "1", "--seed", "3", "--results", str(path)]
    assert a_benchmark().main(words) == 0
    first, second = read_results(path)
    assert first.name == "speed/example"
    assert first.case == {"model": "tiny", "sampler": "verified"}
    assert first.figures == {"tokens_per_second": 1234.5, "ratio": 2.0} and second.figures["ratio"] is None
    assert (
        first.machine["threads"] == 1 and first.machine["dtype"] == "bfloat16" and first.machine["processor"]
    )
    assert first.commit and first.date.endswith("+00:00")
    assert first.command.startswith("./run.sh benchmarks/speed/example.py --threads 1 --seed 3")
    shown = capsys.readouterr().out
    assert "it is fast" in shown and "a slow one" in shown and "model tiny" in shown and "a fact" in shown
    assert shown.splitlines()[-2].split() == ["verified", "1,234", "2"]
    assert shown.splitlines()[-1].split() == ["leftmost", "600", "-"]


def test_json_is_alone_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert a_benchmark().main(["--threads", "1", "--json", "--no-record"]) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert [result["case"]["sampler"] for result in document["results"]] == ["verified", "leftmost"]
    assert document["claim"] == "it is fast" and "a slow one" in shown.err


def test_a_smoke_run_records_nothing_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert a_benchmark().main(["--smoke", "--no-record", "--results", str(path)]) == 0
    assert not path.exists()
    assert a_benchmark().main(["--smoke", "--results", str(path)]) == 0
    assert len(read_results(path)) == 2


def test_errors_become_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(run: Run) -> None:
        raise UsageError("texts is 0, but 1 is needed")

    def damaged(run: Run) -> None:
        raise ValueError("the checkpoint is damaged")

    assert a_benchmark(wrong).main([]) == 2
    assert a_benchmark(damaged).main([]) == 1
    assert "error: texts is 0" in capsys.readouterr().err


def test_a_result_needs_the_header() -> None:
    with pytest.raises(RuntimeError, match="comes after"):
        a_benchmark(lambda run: run.add({}, {})).main(["--no-record"])


def test_training_flags_reach_the_configuration() -> None:
    run = a_benchmark(trains=True).start(["--config", "nano", "--n_layer", "1", "--seed", "5"])
    assert run.preset_name == "nano" and run.fields == {"n_layer": 1} and run.seed == 5


def test_commands_name_no_folder_of_this_machine() -> None:
    words = [str(ROOT / "checkpoints" / "tiny"), "/home/somebody/runs/tiny/last.ckpt", "--texts", "5"]
    line = command_line("speed/example", words)
    assert line == "./run.sh benchmarks/speed/example.py checkpoints/tiny tiny/last.ckpt --texts 5"


def test_cells_have_four_digits() -> None:
    assert [format_cell(v) for v in (1234.5, 0.98765, None, "x", 3)] == ["1,234", "0.9877", "-", "x", "3"]


def test_a_setting_is_parsed() -> None:
    assert parse_setting("") == GenerationConfig()
    setting = parse_setting("sampler=leftmost,block_length=4,temperature=0")
    assert (setting.sampler, setting.block_length, setting.temperature) == ("leftmost", 4, 0.0)
    for text in ("speed=1", "block_length", "block_length=four"):
        with pytest.raises(UsageError, match="setting is"):
            parse_setting(text)


# Another checkout's benchmarks.


def test_prose_of_an_older_training_rate_is_parsed() -> None:
    text = "a step: 1,812 ms, 12,345 tokens/s, 12 GFLOP\nmemory: 1,046 MiB at most; the pre-flight's estimate"
    assert parse_training_rate(text) == (12345.0, 1046.0)
    with pytest.raises(ValueError, match="no figures"):
        parse_training_rate("a step took long")


def test_the_table_of_an_older_sampling_speed_is_parsed() -> None:
    text = """checkpoints/tiny: 1,000 parameters
                                 /bf16          /f32 tokens/s  s/text grammar %
Llama bf16                        1.00          0.80      409    0.15         -
verified/8                        3.00          2.40    1,227    0.05      97.6
"""
    assert {name: speed.tokens_per_second for name, speed in parse_sampling_speed(text).items()} == {
        "verified/8": 1227.0
    }
    with pytest.raises(ValueError, match="no table"):
        parse_sampling_speed("nothing")


# Tables.


def a_result(figures: dict[str, float | None], date: str = "2026-11-26", **case: Any) -> Result:
    return Result(date, "abc", {}, "./run.sh benchmarks/speed/example.py", "speed/example", case, figures)


COMPARISON = Comparison("speed", "speed/example", {"model": "tiny"}, "rate", "peer_rate")
SPECS: dict[str, Table] = {
    "comparison": ComparisonTable((COMPARISON,)),
    "rates": FigureTable(
        "speed/example",
        ({"model": "tiny"}, {"model": "small"}),
        (Column("model", "model", "`{}`"), Column("rate", "rate", "{:.1f}%")),
    ),
}
OLD = a_result({"rate": 1.0, "peer_rate": 1.0, "ratio": 1.0}, model="tiny")
NEW = a_result({"rate": 30.0, "peer_rate": 20.0, "ratio": 1.5}, model="tiny")
SMALL = a_result({"rate": 7.0, "peer_rate": 20.0, "ratio": None}, model="small")


def page(name: str, body: str = "") -> str:
    return f"before\n<!-- table {name} -->\n{body}<!-- /table -->\nafter\n"


def test_a_comparison_shows_the_newest_result() -> None:
    table = (
        "| what | SunFish | peer | ratio | command |\n|---|---|---|---|---|\n"
        "| speed | 30 | 20 | 1.50 | `./run.sh benchmarks/speed/example.py` |\n"
    )
    text = render(page("comparison", "| stale |\n"), SPECS, [OLD, NEW, SMALL])
    assert text == page("comparison", table)
    assert render(text, SPECS, [OLD, NEW, SMALL]) == text
    assert latest([OLD, NEW], "speed/example", {"model": "tiny"}) is NEW


def test_a_table_of_figures_keeps_the_order_of_its_cases() -> None:
    text = render(page("rates"), SPECS, [SMALL, NEW])
    assert "| `tiny` | 30.0% |\n| `small` | 7.0% |\n" in text


@pytest.mark.parametrize(
    ("text", "results", "message"),
    [
        (page("rates"), [NEW], "no result of speed/example with {'model': 'small'}"),
        (page("comparison"), [], "no result of speed/example"),
        (page("comparison"), [a_result({"rate": 1.0, "ratio": 1.0}, model="tiny")], "no figure 'peer_rate'"),
        (page("unknown"), [NEW], "no table 'unknown'"),
        ("<!-- table rates -->\n", [NEW, SMALL], "no <!-- /table -->"),
        ("<!-- table rates -->\n" + page("rates"), [NEW, SMALL], "no <!-- /table -->"),
    ],
)
def test_no_row_is_invented(text: str, results: list[Result], message: str) -> None:
    with pytest.raises(ValueError) as error:
        render(text, SPECS, results)
    assert message in str(error.value)


def test_check_notices_a_stale_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, target = tmp_path / "results.jsonl", tmp_path / "README.md"
    results.write_text(f"{OLD.line()}\n{NEW.line()}\n", encoding="utf-8")
    target.write_text(page("comparison"), encoding="utf-8")
    assert update([target], SPECS, results, check=True) == 1
    assert "is stale" in capsys.readouterr().err and target.read_text(encoding="utf-8") == page("comparison")
    assert update([target], SPECS, results, check=False) == 0
    assert update([target], SPECS, results, check=True) == 0
    results.write_text(f"{OLD.line()}\n", encoding="utf-8")
    assert update([target], SPECS, results, check=True) == 1
    results.write_text("{}\n", encoding="utf-8")
    assert update([target], SPECS, results, check=False) == 1
    assert "line 1 is no result" in capsys.readouterr().err


def test_the_specs_name_benchmarks_that_exist() -> None:
    for table in TABLES.values():
        names = [row.name for row in table.comparisons] if isinstance(table, ComparisonTable) else []
        names += [table.name] if isinstance(table, FigureTable) else []
        assert names and all(name in BENCHMARKS for name in names)


def test_each_spec_has_a_page() -> None:
    shown = {name for page in pages_of() for name in BEGIN.findall(page.read_text(encoding="utf-8"))}
    assert set(TABLES) <= shown


# Each benchmark, end to end.

EXTRA: dict[str, list[str]] = {
    "quality/real_corpora": ["--corpora", "alpaca"],
    "quality/quality_per_minute": ["--arms", "mdlm", "sunfish", "llama"],
    "speed/regression": [str(ROOT), "--only", "training", "--configs", "nano", "--precisions", "float32"],
}
NEEDS = {
    "quality/imdb": "sklearn",
    "quality/quality_per_minute": "transformers",
    "quality/real_corpora": "datasets",
    "quality/real_infilling": "rouge_score",
    "peers/llama": "transformers",
    "robustness/mutation_score": "mutmut",
    "robustness/mutations": "pyarrow",
    "speed/sampling_speed": "transformers",
    "speed/startup": "transformers",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_end_to_end(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path = tmp_path / "results.jsonl"
    words = [*EXTRA.get(name, []), "--smoke", "--threads", "1", "--json", "--results", str(path)]
    code = BENCHMARKS[name].main(words)
    shown = capsys.readouterr()
    slower = name == "speed/regression" and code == 1  # the machine's doing: both trees are this one
    assert code == 0 or slower, shown.err
    document, results = json.loads(shown.out), read_results(path)
    assert results and len(document["results"]) == len(results)
    for result in results:
        assert result.name == name and result.figures and result.machine["threads"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, benchmark in BENCHMARKS.items() if benchmark.plots])
def test_a_benchmark_draws(name: str, tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path, others = tmp_path / "plot.png", pyplot.get_fignums()
    assert BENCHMARKS[name].main(["--smoke", "--threads", "1", "--no-record", "--plot", str(path)]) == 0
    assert path.stat().st_size > 0
    assert pyplot.get_fignums() == others  # it is closed


def test_the_mutation_score_copies_all_that_tests_read() -> None:
    """mutmut tests a copy of the tree, and a folder that is missing there fails tests before any mutant is tried."""
    if not (ROOT / ".git").exists():
        pytest.skip("the files of the project are listed by git")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    needed = {name.split("/")[0] for name in listed.stdout.splitlines()} - {"src", "tests", "pyproject.toml"}
    assert needed - {*settings["also_copy"]} == {".dockerignore", "Dockerfile"}  # their tests are left out
