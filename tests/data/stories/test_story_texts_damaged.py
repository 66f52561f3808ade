"""Tests of damaged story texts: each is refused in one line that names the file, the line and the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.facts import parse_questions, parse_subjects
from sunfish.data.stories.plots import parse_plots
from sunfish.data.stories.shared import parse_endings, parse_moods, parse_openings
from sunfish.data.stories.text_files import FOLDER, read_pairs
from tests.data.stories.story_texts import GOOSE, KITE, PLOT, damaged

PARSERS: dict[str, Callable[[Traversable], object]] = {
    "plots": parse_plots,
    "facts/descriptions.txt": parse_subjects,
    "facts/explanations.txt": parse_questions,
    "openings.txt": parse_openings,
    "moods.txt": parse_moods,
    "endings.txt": parse_endings,
    "plurals.txt": read_pairs,
}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A copy of the texts, to damage."""
    return Path(shutil.copytree(str(FOLDER), tmp_path / "text"))


def error_of(parse: Callable[[Traversable], object], path: Path, place: str) -> str:
    """The message with which `parse` refuses `path`; it is one line that begins with `place`."""
    with pytest.raises(ValueError) as caught:
        parse(path)
    message = str(caught.value)
    assert message.startswith(f"{place}: ") and "\n" not in message
    return message.removeprefix(f"{place}: ")


def test_every_file_is_read_by_its_parser() -> None:
    for name, parse in PARSERS.items():
        assert parse(FOLDER.joinpath(*name.split("/"))), name


@pytest.mark.parametrize(
    "old, new, line, message",
    [
        ("== lost_hat", "Hats.\n== lost_hat", 2, "'Hats.' stands before the first block; write '== name'"),
        ("== lost_hat", "=lost_hat", 2, "head '=lost_hat' is malformed; write two equals signs"),
        (PLOT, "== lost_hat\n", 1, "nothing stands under '== lost_hat'; write its lines"),
        ("== lost_hat", "== lost_hat\n@ending\n== lost_hat", 2, "plot 'lost_hat' has 0 lines '@opening'"),
        (PLOT, PLOT + PLOT, 17, "plot 'lost_hat' occurs twice; give one of them another name"),
        ("{thing}.", "{thng}.", 6, "slot {thng} is unknown; did you mean {thing}?"),
        ("{thing}.", "{zzzz}.", 6, "slot {zzzz} is unknown; text/README.md lists the slots"),
        ("{thing}.", "{thing.", 6, "a brace has no partner; write a slot as {name}"),
        ("{thing}.", "{thing}", 6, "has no end mark; end it with"),
        ("{N} could", "he could", 6, "begins with no capital letter; write one"),
        ("{N} could", "{he} could", 6, "begins with no capital letter; write one"),
        ('"Who', "Who", 7, "a quotation mark has no partner; open and close"),
        ('"Who', "\u201cWho", 7, "'\u201c' is not ASCII; write straight quotes"),
        ("could not", "could  not", 6, "two spaces or a tab between words; write one space"),
        ("@ending", "@end", 15, "marker '@end' is unknown; use one of @opening, "),
        ("\n@ending", "@ending", 14, "marker '@ending' stands among sentences; put a blank line"),
        ("@mood_first\n", "@mood_first", 10, r"'?' stands among markers; put a blank line"),
        ("@ending", "@ending\n@ending", 2, "has 2 lines '@ending'; write one"),
        ("@ending", "@facts\n@ending", 2, "tells facts but is about none; add 'about: subject'"),
        ("@ending", "@more_facts\n@ending", 2, "has '@more_facts' but is not about a subject"),
        ("?\n", "?\n\n", 11, "nothing follows '?'; write the lines of the step"),
        ("~", "?", 13, r"'?' stands among sentences; write it alone"),
        ("thing: hat", "thing: hatt", 3, "'hatt' is no thing; use words of lexicon.py"),
        ("thing: hat scarf coat", "thing:", 3, "setting 'thing' leaves no value; list the words"),
        ("thing: hat", "thign: hat", 3, "setting 'thign' is unknown; use one of weight, about, hero, thing"),
        ("thing: hat", "thing: cup\nthing: hat", 4, "setting 'thing' occurs twice; write it once"),
        ("thing: hat scarf coat", "weight: 0", 3, "weight '0' is no whole number from 1 on; write one"),
        ("thing: hat scarf coat", "about: hats", 3, "about 'hats' is unknown; use one of hero, subject"),
        ("thing: hat scarf coat", "about: subject", 2, "has 0 lines '@facts'; write one"),
        ("thing: hat scarf coat", "hero: queen 70%", 3, "hero 'queen 70%' is no kind of either sex"),
        ("thing: hat scarf coat", "hero: robot 170%", 3, "write one such as 'robot 70%'"),
    ],
)
def test_a_damaged_plot_is_named(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    file = tmp_path / "hats.txt"
    file.write_text(damaged(PLOT, old, new), encoding="utf-8")
    assert message in error_of(parse_plots, tmp_path, f"{file}:{line}")


@pytest.mark.parametrize(
    "parse, good, old, new, line, message",
    [
        (parse_subjects, GOOSE, " | a goose", "", 1, "is malformed; write it like '== ocean | the ocean |"),
        (parse_subjects, GOOSE, "geese", "", 1, "is malformed; write it like"),
        (parse_subjects, GOOSE, "== goose", "== Goose", 1, "topic 'Goose' is not one word in lower case"),
        (parse_subjects, GOOSE, "geese", "geeses", 1, "'geeses' does not name 'goose' or"),
        (parse_subjects, GOOSE, GOOSE, GOOSE + GOOSE, 4, "topic 'goose' occurs twice; put its sentences"),
        (parse_questions, KITE, " | how a kite flies", "", 1, "is malformed; write it like '== kite | how"),
        (parse_questions, KITE, "A kite leans", "It leans", 1, "no sentence names 'kite' or 'kites'"),
        (parse_questions, KITE, KITE, KITE + KITE, 3, "question 'how a kite flies' occurs twice"),
    ],
)
def test_a_damaged_fact_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parse: Callable[[Traversable], object],
    good: str,
    old: str,
    new: str,
    line: int,
    message: str,
) -> None:
    monkeypatch.setitem(lx._PLURALS, "goose", "geese")
    file = tmp_path / "facts.txt"
    file.write_text(good)
    assert parse(file)
    file.write_text(damaged(good, old, new))
    assert message in error_of(parse, file, f"{file}:{line}")


@pytest.mark.parametrize(
    "name, old, new, line, message",
    [
        ("moods.txt", "== happy", "== hapy", 4, "mood 'hapy' is unknown; use one of happy, sad"),
        ("moods.txt", "== sad", "== happy", 27, "mood 'happy' occurs twice; put its lines under one head"),
        ("moods.txt", "@mood_first", "@mood_frist", 5, "'@mood_frist' is unknown or repeated; write each"),
        ("moods.txt", "@mood_first\n", "", 5, "stands under no marker; write one of @mood_first"),
        ("moods.txt", "@mood_middle\n", "", 4, "mood 'happy' has no lines under @mood_middle; write some"),
        ("moods.txt", "smiled a cheerful smile", "smiled", 16, "does not show mood 'happy'; use one of"),
        ("endings.txt", "== hug", "== kiss", 10, "ending 'kiss' is unknown; use one of rain, hug"),
        ("endings.txt", "big, warm hug", "big kiss", 11, "does not show ending 'hug'; use one of the words"),
        ("openings.txt", "{N}", "{M}", 3, "slot {M} is unknown"),
        ("plurals.txt", "mouse mice", "mouse", 3, "'mouse' is not two words; write a noun and its plural"),
        ("plurals.txt", "wolf wolves", "mouse mouses", 4, "'mouse' occurs twice; remove one of the lines"),
    ],
)
def test_a_damaged_shared_file_is_named(
    texts: Path, name: str, old: str, new: str, line: int, message: str
) -> None:
    file = texts / name
    file.write_text(damaged(file.read_text(), old, new))
    assert message in error_of(PARSERS[name], file, f"{file}:{line}")


def test_an_empty_file_of_openings_is_named(texts: Path) -> None:
    file = texts / "openings.txt"
    file.write_text("# none yet\n")
    assert error_of(parse_openings, file, f"{file}:1") == "no opening; write one line or more"


def test_silence_is_for_plots_alone(texts: Path) -> None:
    file = texts / "openings.txt"
    file.write_text("~\n")
    assert error_of(parse_openings, file, f"{file}:1").startswith(
        "sentence '~' begins with no capital letter"
    )


def test_a_missing_ending_is_named(texts: Path) -> None:
    file = texts / "endings.txt"
    file.write_text(file.read_text().split("== picnic")[0])
    message = error_of(parse_endings, file, f"{file}:1")
    assert message == "ending 'picnic' is missing; add a block '== picnic'"


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "hats.txt").write_bytes(PLOT.replace("scarf", "\u00e9charpe").encode("latin-1"))
    message = error_of(parse_plots, tmp_path, f"{tmp_path / 'hats.txt'}:3")
    assert message == "byte 0xe9 is not UTF-8; save the file as UTF-8"


def test_a_folder_without_plots_is_named(tmp_path: Path) -> None:
    assert "no .txt file with a plot; install" in error_of(parse_plots, tmp_path, str(tmp_path))
