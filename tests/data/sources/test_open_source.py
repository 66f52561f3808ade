"""How ``--data`` finds a source: by a name, by a path, and never another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.config import DataConfig
from sunfish.config.rules import shown
from sunfish.data.sources import SHOWN_CHARACTERS, open_source
from sunfish.utils import UsageError
from tests.data.sources.files import write
from tests.packages import run_in_copy


def test_open_source_never_switches_the_corpus(tmp_path: Path) -> None:
    write(tmp_path / "reviews.txt", "one\n\ntwo")
    assert open_source(DataConfig(data=str(tmp_path / "reviews.txt")), 0).name == "reviews"
    assert open_source(DataConfig(), 7).name == "stories"
    with pytest.raises(ValueError, match=r"reviws.txt.*did you mean .*reviews.txt"):
        open_source(DataConfig(data=str(tmp_path / "reviws.txt")), 0)
    with pytest.raises(ValueError, match=r"'storys', which is neither.*did you mean stories\?"):
        open_source(DataConfig(data="storys"), 0)
    with pytest.raises(UsageError, match=r"the files can be \.txt"):
        open_source(DataConfig(data=str(write(tmp_path / "a.pdf", "x"))), 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"a folder without any \.txt"):
        open_source(DataConfig(data=str(tmp_path / "empty")), 0)


def test_data_that_resembles_nothing_names_the_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for data in ("", "files", "base", "/absent/corpus.txt"):
        with pytest.raises(
            ValueError, match=rf"{data!r}, which is neither built in \(stories\).*the path of"
        ):
            open_source(DataConfig(data=data), 0)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_name_that_is_also_a_path_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "folder":
        write(tmp_path / "stories" / "a.txt", "one\n\ntwo")
    elif kind == "file":
        write(tmp_path / "stories", "one")
    else:
        (tmp_path / "stories").symlink_to("absent")
    with pytest.raises(UsageError, match=r"'stories', the built-in.*--data \./stories.*rename it"):
        open_source(DataConfig(data="stories"), 0)
    if kind == "folder":
        assert len(list(open_source(DataConfig(data="./stories"), 0).examples("train"))) == 1


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as its name is worth reading."""
    monkeypatch.chdir(tmp_path)
    Path("tale").symlink_to("absent")
    for name in ("tale", "./" * 200 + "tale"):
        with pytest.raises(ValueError, match="a link that leads nowhere; give a path that exists") as error:
            open_source(DataConfig(data=name), 0)
        assert f"data is {shown(name, SHOWN_CHARACTERS)}, " in str(error.value)


def test_names_that_no_file_can_have_are_one_line() -> None:
    for data in ("x" * 5000, "x" * 5000 + "/y", "a\0b", "~nobody/x"):
        with pytest.raises(ValueError, match="neither built in") as error:
            open_source(DataConfig(data=data), 0)
        assert len(str(error.value)) < 1000


@pytest.mark.slow
def test_a_file_that_is_added_is_found(tmp_path: Path) -> None:
    """A source gives a name, a fingerprint and chunks, and is then prepared like any other."""
    source = """
from functools import partial

from sunfish.data.sources.base import LocatedExample, Source, check_split
from sunfish.types import Example


def build(config, seed):
    return Poems(seed)


class Poems(Source):
    name = "poems"

    def __init__(self, seed):
        self.seed = seed

    def fingerprint(self):
        return {"source": "poems", "seed": self.seed}

    def chunks(self, split, size):
        check_split(split)
        poems = [Example(f"Poem {i}", f"A {split} poem of {i} lines, seed {self.seed}.") for i in range(10)]
        for first in range(0, 10, size):
            numbers = range(first, min(first + size, 10))
            yield partial(list, [LocatedExample(f"poem {i}", poems[i]) for i in numbers])
"""
    program = """
from sunfish.config.presets import preset
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source, source_names

config = preset("nano", data="poems", tokenizer="bytes", vocab_size=300)
source = open_source(config.corpus, 7)
corpus = prepare(source, config, workers=1)
split = corpus.split("train")
print(*source_names(), len(split), corpus.tokenizer.decode(split.row(3)), sep=" | ")
print([example.prompt for example in source.examples("train", start=2, rank=1, world_size=3)])
"""
    output = run_in_copy(tmp_path, {"data/sources/poems.py": source}, program)
    assert output.splitlines() == [
        "poems | stories | 10 | A train poem of 3 lines, seed 7.",
        "['Poem 3', 'Poem 6', 'Poem 9']",
    ]
