"""Tests of the story texts: they are read, and what a person adds is told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sunfish.data.sources.stories import hash_grammar
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.facts import parse_subjects
from sunfish.data.stories.grammar import SLOTS
from sunfish.data.stories.plots import parse_plots
from sunfish.data.stories.text_files import FOLDER
from tests.data.stories.story_texts import GOOSE, KITE, PLOT, damaged
from tests.packages import PACKAGE, run_in_copy

README = FOLDER.joinpath("README.md").read_text(encoding="utf-8")


def test_a_plot_is_read(tmp_path: Path) -> None:
    (tmp_path / "hats.txt").write_text(PLOT)
    settings, steps = parse_plots(tmp_path)["lost_hat"]
    assert [step.marker for step in steps] == ["opening", "", "mood_first", "", "ending"]
    assert [step.optional for step in steps] == [False, False, False, True, False]
    assert [choice.text for choice in steps[1].choices] == PLOT.split("\n")[5:7]
    assert steps[3].choices[1].parts == ()
    assert (settings.weight, settings.about, settings.hero_kind) == (1, "hero", "")
    assert [lx.THINGS[n] for n in settings.fits["thing"]] == ["hat", "scarf", "coat"]


def test_the_settings_of_a_plot(tmp_path: Path) -> None:
    lines = "weight: 3\nabout: place\nhero: robot 70%\nthing: any but hat\nfood: pie apple"
    (tmp_path / "hats.txt").write_text(damaged(PLOT, "thing: hat scarf coat", lines))
    settings = parse_plots(tmp_path)["lost_hat"].settings
    assert settings[:4] == (3, "place", "robot", 0.7)
    assert [lx.THINGS[n] for n in settings.fits["thing"]] == [t for t in lx.THINGS if t != "hat"]
    assert [lx.CLASSES["food"][n] for n in settings.fits["food"]] == ["apple", "pie"]


def test_an_editor_of_windows_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "unix").mkdir()
    (tmp_path / "windows").mkdir()
    (tmp_path / "unix" / "hats.txt").write_text(PLOT)
    (tmp_path / "windows" / "hats.txt").write_bytes(b"\xef\xbb\xbf" + PLOT.replace("\n", " \r\n").encode())
    assert parse_plots(tmp_path / "windows") == parse_plots(tmp_path / "unix")


def test_the_readme_lists_every_slot() -> None:
    named = set(re.findall(r"\{([\w.]+)\}", README))
    assert named <= set(SLOTS)
    assert {name.split(".")[-1] for name in SLOTS} == {name.split(".")[-1] for name in named}


def test_the_examples_of_the_readme_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lx._PLURALS, "goose", "geese")
    plot, fact = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
    (tmp_path / "plot.txt").write_text(plot)
    assert list(parse_plots(tmp_path)) == ["lost_hat"]
    (tmp_path / "fact.txt").write_text(fact)
    assert [subject.lemma for subject in parse_subjects(tmp_path / "fact.txt")] == ["goose"]


def test_the_grammar_hash_follows_code_and_texts(tmp_path: Path) -> None:
    texts = Path(shutil.copytree(str(FOLDER), tmp_path / "text"))
    hashes = [hash_grammar(texts)]
    (texts / "facts" / "explanations.txt").write_text(KITE)
    hashes.append(hash_grammar(texts))
    (texts / "plots" / "07_facts.txt").rename(texts / "plots" / "08_facts.txt")
    hashes.append(hash_grammar(texts))
    (texts / "code.py").write_text("")
    hashes.append(hash_grammar(texts))
    assert len(set(hashes)) == len(hashes)
    (texts / "README.md").write_text("")
    assert hash_grammar(texts) == hashes[-1]


@pytest.mark.slow
def test_an_added_plot_and_an_added_fact_are_told_without_an_edit_of_code(tmp_path: Path) -> None:
    texts = PACKAGE / "data" / "stories" / "text"
    plurals = (texts / "plurals.txt").read_text(encoding="utf-8")
    facts = (texts / "facts" / "descriptions.txt").read_text(encoding="utf-8")
    files = {
        "data/stories/text/plots/08_mine.txt": damaged(PLOT, "@opening", "weight: 40\n@opening"),
        "data/stories/text/plurals.txt": plurals + "goose geese\n",
        "data/stories/text/facts/descriptions.txt": facts + "\n" + GOOSE,
    }
    program = """
from sunfish.data.stories import story
from sunfish.data.stories.oracle import check, grammatical
stories = [story(0, "train", index) for index in range(1500)]
hats = [s for s in stories if s.plot == "lost_hat"]
geese = [s for s in stories if "A goose walks as if it owned the road." in s.text]
for s in hats + geese:
    assert all(ok for _, ok in grammatical(s.text)) and all(check(s.prompt, s.text).values()), s
    assert s.plot != "lost_hat" or any(f" {thing}" in s.text for thing in ("hat", "scarf", "coat")), s
asked = [s for s in geese if "geese" in s.prompt or "goose" in s.prompt]
print(len(hats), len(geese), len(asked))
"""
    hats, geese, asked = map(int, run_in_copy(tmp_path, files, program).split())
    assert hats > 300 and geese > 0 and asked > 0
