"""Which files of a folder are read: through links, each once, and what is not read is listed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sunfish.data.sources.files import FileSource
from sunfish.utils import UsageError
from tests.data.sources.files import everything, texts, write


def test_the_name_of_a_link_counts(tmp_path: Path) -> None:
    blob = write(tmp_path / "blobs" / "3f5e9a7c21d0", "one\n\ntwo")
    (tmp_path / "c").mkdir()
    for name in ("tales.txt", "c/tales.TXT"):
        (tmp_path / name).symlink_to(os.path.relpath(blob, (tmp_path / name).parent))
        source = FileSource(tmp_path / name)
        assert source.name == "tales" and texts(source) == {"one", "two"}
    assert texts(FileSource(tmp_path / "c")) == {"one", "two"}
    source = FileSource(tmp_path / "tales.txt")
    before = source.fingerprint()
    write(blob, "one\n\ntwo\n\nthree")
    assert source.fingerprint() != before


def test_a_path_through_a_link_leads_where_the_system_leads(tmp_path: Path) -> None:
    write(tmp_path / "real" / "deep" / "a.txt", "no\n\nnever")
    write(tmp_path / "real" / "b.txt", "one\n\ntwo")
    (tmp_path / "link").symlink_to("real/deep")
    assert texts(FileSource(tmp_path / "link" / ".." / "b.txt")) == {"one", "two"}
    assert texts(FileSource(f"{tmp_path}/link/../../link")) == {"no", "never"}
    assert FileSource(tmp_path / "real" / ".").name == "real"


def test_linked_folders_are_read_once_and_cycles_end(tmp_path: Path) -> None:
    corpus = tmp_path / "c"
    write(corpus / "own.txt", "one\n\ntwo")
    write(tmp_path / "elsewhere" / "deep" / "far.txt", "three\n\nfour")
    (corpus / "first").symlink_to(tmp_path / "elsewhere")
    (corpus / "second").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "elsewhere" / "deep" / "loop").symlink_to(corpus)
    (corpus / "again.txt").symlink_to("own.txt")
    os.link(corpus / "own.txt", corpus / "zz.txt")
    source = FileSource(corpus)
    assert sorted(text for _, text in everything(source)) == ["four", "one", "three", "two"]
    locations = source.report().skips.locations
    assert sum(map(len, locations.values())) == 4
    assert locations["file is read under another name"] == ["own.txt", "zz.txt"]
    assert set(locations) == {"file is read under another name", "folder is read under another name"}


def test_what_is_not_read_is_listed_with_its_reason(tmp_path: Path) -> None:
    corpus = tmp_path / "c"
    write(corpus / "a.txt", "one\n\ntwo")
    write(corpus / ".git" / "b.txt", "hidden")
    write(corpus / "c.json", "[]")
    write(corpus / "d.txt.gz", b"\x1f\x8b")
    write(corpus / "e.txt", "")
    write(corpus / "line\nend.md", "")
    (corpus / "gone.txt").symlink_to("absent")
    (corpus / "self.txt").symlink_to("self.txt")
    os.mkfifo(corpus / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.getcwd()
        os.chdir(corpus)  # the path of a socket is short
        server.bind("socket.txt")
        os.chdir(folder)
    (corpus / "device.txt").symlink_to("/dev/null")
    source = FileSource(corpus)
    assert texts(source) == {"one", "two"}
    assert source.report().skips.locations == {
        "hidden, so not read": [".git"],
        "file is none of .txt, .jsonl, .csv, .tsv, .parquet": ["c.json", "d.txt.gz", "line\\nend.md"],
        "file is empty": ["e.txt"],
        "link leads nowhere": ["gone.txt", "self.txt"],
        "no regular file": ["device.txt", "pipe.txt", "socket.txt"],
    }


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_may_not_be_read_is_listed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "c"
    write(corpus / "a.txt", "one\n\ntwo")
    closed = write(corpus / "closed.txt" if kind == "file" else corpus / "closed" / "b.txt", "three")
    closed = closed if kind == "file" else closed.parent
    real_open, real_list = Path.open, os.listdir

    def refusing(real, path, *arguments):  # permissions do not bind the superuser
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments)

    monkeypatch.setattr(Path, "open", lambda *arguments: refusing(real_open, *arguments))
    monkeypatch.setattr(os, "listdir", lambda *arguments: refusing(real_list, *arguments))
    source = FileSource(corpus)
    list(source.documents("train"))
    assert source.report().skips.locations == {f"{kind} cannot be read (Permission denied)": [closed.name]}


def test_a_path_that_is_no_file_is_wrong_use(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UsageError, match=r"no regular file but a pipe"):
        FileSource(tmp_path / "pipe.txt")
    (tmp_path / "gone.txt").symlink_to("absent")
    with pytest.raises(ValueError, match="does not exist"):
        FileSource(tmp_path / "gone.txt")
