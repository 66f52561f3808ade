"""Preparing a corpus on a disk that fails, under a long name, beside another process that does the same."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sunfish.config import Config
from sunfish.data.dataset import PreparedCorpus, open_prepared
from sunfish.data.prepare import prepare as preparation
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.disk import writing as disk
from sunfish.disk.writing import WriteError, temporary_path
from tests.data.corpora import quiet, records, small
from tests.limits import largest_file


def corpus(folder: Path, name: str = "corpus.jsonl", count: int = 60) -> Config:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records(count)))
    return small(folder, data=str(path))


def prepared(config: Config) -> PreparedCorpus:
    return prepare(open_source(config.corpus, 0), config, quiet, 1)


def content(corpus: PreparedCorpus) -> str:
    return json.dumps(corpus.manifest["files"])


@pytest.mark.parametrize("limit", [0, 300, 1000, 5000])
def test_a_disk_that_refuses_a_file_is_left_as_it_was(tmp_path: Path, limit: int) -> None:
    config = corpus(tmp_path)
    words = r"data/corpus-\w+/\S+ could not be written: file too large; raise the limit"
    with pytest.raises(WriteError, match=words) as error, largest_file(limit):
        prepared(config)
    assert "\n" not in str(error.value) and not list((tmp_path / "data").iterdir())
    assert open_prepared(prepared(config).folder)


def test_a_disk_that_fills_up_at_any_write_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write in turn, until one preparation comes through."""
    config, whole, at, writes = corpus(tmp_path, count=10).with_fields(tokenizer="bytes"), disk.writing, 0, 0

    @contextmanager
    def writing(path: Path) -> Iterator[None]:
        nonlocal writes
        with whole(path):
            writes += 1
            if writes == at:
                raise OSError(errno.ENOSPC, "")
            yield

    for module in ("sunfish.disk.writing", preparation.__name__, "sunfish.data.prepare.number_file"):
        monkeypatch.setattr(f"{module}.writing", writing)
    while True:
        at, writes = at + 1, 0
        try:
            done = prepared(config)
            break
        except WriteError as why:
            assert "no space left on device; make room" in str(why)
            assert not list((tmp_path / "data").glob("*"))
    assert at > 20 and open_prepared(done.folder)


def test_debris_of_a_killed_preparation_goes(tmp_path: Path) -> None:
    config = corpus(tmp_path)
    folder = prepared(config).folder
    folder.rename(temporary_path(folder))
    temporary_path(folder.with_name("another-0123456789ab")).mkdir()
    prepared(config)
    names = sorted(path.name for path in folder.parent.iterdir())
    assert len(names) == 2 and names[0].startswith(".another-") and names[1] == folder.name


def test_two_at_once_share_one_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second waits, says for whom, and takes what the first has made."""
    config, written, begun = corpus(tmp_path), [], threading.Event()
    write = preparation._write

    def slowly(folder: Path, *arguments: object) -> None:
        written.append(folder)
        begun.set()
        threading.Event().wait(0.3)
        write(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(preparation, "_write", slowly)
    results: list[PreparedCorpus] = []
    first = threading.Thread(target=lambda: results.append(prepared(config)))
    first.start()
    assert begun.wait(10)
    results.append(prepared(config))
    first.join()
    assert len(results) == 2 and len(written) == 1 and content(results[0]) == content(results[1])
    assert "waiting for process" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == [results[0].folder]


def test_two_at_once_without_locks_both_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = corpus(tmp_path)
    monkeypatch.setattr("sunfish.disk.lock._flock", lambda descriptor, shared: False)
    results: list[PreparedCorpus] = []
    threads = [threading.Thread(target=lambda: results.append(prepared(config))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and content(results[0]) == content(results[1])
    assert list((tmp_path / "data").iterdir()) == [results[0].folder]


@pytest.mark.parametrize("name", ["x" * 240 + ".jsonl", "ä" * 120 + ".jsonl", "数" * 80 + ".jsonl"])
def test_a_long_name_of_the_data_works(tmp_path: Path, name: str) -> None:
    folder = prepared(corpus(tmp_path, name)).folder
    assert folder.name.startswith(name[:30]) and len(folder.name.encode()) < 120
    assert open_prepared(folder)


def test_a_data_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(WriteError, match=r"could not be written: .*; choose another folder"):
        prepared(corpus(tmp_path))


def test_a_tilde_is_the_home_of_whoever_prepares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = corpus(tmp_path).with_fields(data_folder="~/data", checkpoints="~/ck", name="run")
    assert prepared(config).folder.parent == tmp_path / "home" / "data"
    assert config.training.folder == tmp_path / "home" / "ck" / "run"
