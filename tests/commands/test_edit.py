"""``sunfish edit``, and the notes on how much its texts and those of ``sunfish infill`` rest on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.commands.infill import warn_of_few
from sunfish.sampling.infilling import Infilled
from tests.conftest import Workplace

Capture = pytest.CaptureFixture[str]


def test_words_are_rewritten_and_the_rest_stays(trained: Workplace, capsys: Capture) -> None:
    words = ["edit", str(trained.checkpoint), "--text", "The fox ran home.", "--cpu", "--json"]
    assert main([*words, "--replace", "fox", "--range", "8:11", "--num-samples", "3"]) == 0
    texts = json.loads(capsys.readouterr().out)
    assert len({text["text"] for text in texts}) == 3
    for text in texts:
        assert text["text"].startswith("The ") and text["text"].endswith(" home.")
        assert text["text"] != "The fox ran home." and len(text["fills"]) == 2
        assert set(text) == {*Infilled._fields} - {"ids"}
    likelihoods = [text["log_likelihood"] for text in texts]
    assert likelihoods == sorted(likelihoods, reverse=True)


def test_a_file_is_rewritten_alike(trained: Workplace, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "fox.txt").write_text("The fox ran home.\n")
    outs = []
    for given in (["--file", str(tmp_path / "fox.txt")], ["--text", "The fox ran home."]):
        assert (
            main(["edit", str(trained.checkpoint), *given, "--replace", "fox", "--cpu", "--seed", "4"]) == 0
        )
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] and outs[0].startswith("The ") and outs[0].endswith(" ran home.\n")


def test_fewer_texts_than_asked_for_are_noted(trained: Workplace, capsys: Capture) -> None:
    words = ["edit", str(trained.checkpoint), "--text", "The fox ran home.", "--replace", "fox", "--cpu"]
    assert main([*words, "--top-p", "0.0001", "--num-samples", "32", "--json"]) == 0
    captured = capsys.readouterr()
    count = len(json.loads(captured.out))
    assert count < 32 and f"the model finds only {count} different texts" in captured.err


@pytest.mark.parametrize(
    "sizes, note",
    [
        ([9.0, 2.0, None], ""),
        ([1.25], "note: this text rests on few fills (effective sample size 1.2); give more --particles\n"),
        (
            [9.0, 1.5, 1.1, None],
            "note: 2 of 4 texts rest on few fills (effective sample size 1.1); give more --particles\n",
        ),
    ],
)
def test_texts_that_rest_on_few_fills_are_noted(
    sizes: list[float | None], note: str, capsys: Capture
) -> None:
    warn_of_few([Infilled("a", "", ["a"], 1, [1], -1.0, size) for size in sizes])
    assert capsys.readouterr().err == note
