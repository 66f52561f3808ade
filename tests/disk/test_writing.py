"""Writing files: failures in one line whichever library fails, whole files or none, nothing left behind."""

from __future__ import annotations

import errno
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sunfish.disk import writing as disk
from sunfish.disk.writing import (
    TEMPORARY_NAME,
    WriteError,
    append,
    check_writable,
    clip_name,
    discard,
    drop_torn_line,
    flush_tree,
    remove_debris,
    replace_folder,
    temporary_path,
    writing,
)
from sunfish.tokenizers import build_tokenizer
from tests.limits import largest_file


def with_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save(torch.zeros(10**4), file)


WRITERS: dict[str, Callable[[Path], object]] = {
    "Python": lambda path: path.write_bytes(b"x" * 10**4),
    "PyTorch": with_torch,
    "PyTorch by name": lambda path: torch.save(torch.zeros(10**4), path),
    "safetensors": lambda path: save_file({"a": torch.zeros(10**4)}, path),
    "tokenizers": lambda path: build_tokenizer("bytes", 257, []).save(path),
    "append": lambda path: append(path, "x" * 10**4),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_library_fails_in_the_same_words(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    with pytest.raises(WriteError) as error, largest_file(1000), writing(path):
        write(path)
    assert str(error.value).startswith(f"{path} could not be written: ") and "\n" not in str(error.value)


REMEDIES = {
    errno.ENOSPC: "no space left on device; make room on that disk",
    errno.EDQUOT: "disk quota exceeded; make room on that disk",
    errno.EFBIG: "file too large; raise the limit on the size of a file (ulimit -f)",
    errno.EROFS: "read-only file system; make it writable, or choose another folder",
    errno.EACCES: "permission denied; make it writable, or choose another folder",
    errno.EIO: "input/output error; check the disk",
    errno.ENAMETOOLONG: "file name too long; choose a shorter --name",
    errno.ENOTDIR: "not a directory; choose another folder",
}


@pytest.mark.parametrize("number", REMEDIES)
@pytest.mark.parametrize("kind", ["OSError", "words", "cause"])
def test_the_reason_and_the_remedy_are_named(number: int, kind: str) -> None:
    """From an error with its number, from a library's words, from what an error arose from."""
    with pytest.raises(WriteError) as error, writing(Path("a/b")):
        if kind == "words":
            raise Exception(f"Something failed (os error {number})")
        if kind == "cause":
            raise RuntimeError("unexpected pos 64 vs 0") from OSError(number, "")
        raise OSError(number, os.strerror(number))
    assert str(error.value).startswith(f"a/b could not be written: {REMEDIES[number]}")


@pytest.mark.parametrize(
    "bug", [KeyError("x"), RuntimeError("shapes differ"), AssertionError(), MemoryError()]
)
def test_what_is_no_failed_write_stays_what_it_is(bug: Exception) -> None:
    with pytest.raises(type(bug)), writing(Path("a")):
        raise bug


def test_an_error_without_a_reason_on_a_full_disk_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0}))
    with pytest.raises(WriteError, match="no space left on device"), writing(Path("a")):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 598")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_device_is_said_to_be_full() -> None:
    with pytest.raises(
        WriteError, match=r"/dev/full could not be written: no space left on device; make room"
    ):
        append(Path("/dev/full"), "x")


def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, "first\n")
    with largest_file(10), pytest.raises(WriteError):
        append(path, "second line\n")
    assert path.read_text() == "first\n"
    append(path, "lone surrogate \ud800\n")
    assert path.read_text() == "first\nlone surrogate \\ud800\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("a\n", "a\n"),
        ("a\nb", "a\n"),
        ("torn", ""),
        ("a\n" + "x" * 200_000, "a\n"),
        ("\n\n", "\n\n"),
    ],
)
def test_a_torn_last_line_is_cut_off(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "metrics.jsonl"
    drop_torn_line(path)
    path.write_text(before)
    drop_torn_line(path)
    assert path.read_text() == after


@pytest.mark.parametrize("name", ["a", "x" * 255, "ä" * 127, "🐟" * 63, "a.b.1-2"])
def test_temporary_names_are_short_their_own_and_say_what_for(tmp_path: Path, name: str) -> None:
    names = {temporary_path(tmp_path / name) for _ in range(100)}
    assert len(names) == 100
    for path in names:
        assert path.parent == tmp_path and len(os.fsencode(path.name)) <= 255
        match = TEMPORARY_NAME.fullmatch(path.name)
        assert match and name.startswith(match[1]) and match[1]


def test_a_clipped_name_ends_between_letters() -> None:
    assert clip_name("äöü", 3) == "ä" and clip_name("abc", 100) == "abc"


def test_an_error_names_the_file_as_it_would_have_been_called(tmp_path: Path) -> None:
    path = temporary_path(tmp_path / "step-1") / "state.pt"
    with pytest.raises(WriteError, match=rf"^{tmp_path}/step-1/state.pt could not"), writing(path):
        raise OSError(errno.ENOSPC, "")


def test_debris_goes_but_not_what_is_new_where_others_write(tmp_path: Path) -> None:
    folder, file = temporary_path(tmp_path / "a"), temporary_path(tmp_path / "b")
    folder.mkdir()
    (folder / "x").write_text("")
    file.write_text("")
    (tmp_path / "kept").write_text("")
    remove_debris(tmp_path, ".*", locked=False)
    assert folder.exists() and file.exists()
    os.utime(folder, (time.time() - 100_000,) * 2)
    remove_debris(tmp_path, ".*", locked=False)
    assert not folder.exists() and file.exists()
    remove_debris(tmp_path, ".*", locked=True)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    remove_debris(tmp_path / "absent", ".*", locked=True)


def test_folders_are_replaced_and_discarded_whole(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / folder.name).write_text("")
    flush_tree(new)
    replace_folder(old, new)
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "sub", "new"]
    discard(old)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file/run", "x" * 256, "ä" * 128])
def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        WriteError, match=r"could not be written: (not a directory|file name too long); choose"
    ):
        check_writable(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="permission denied; make it writable"):
        check_writable(tmp_path)


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a").rglob("*")) == [tmp_path / "a" / "b"]


def test_the_new_name_of_a_folder_is_flushed_before_the_old_content_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "folder", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    (new / "file").write_text("new")
    states = []
    monkeypatch.setattr(
        disk, "flush", lambda path: states.append((path, (old / "file").exists(), len(list(path.iterdir()))))
    )
    disk.replace_folder(old, new)
    assert states == [(tmp_path, True, 2)] and [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_failed_write_travels_to_other_processes() -> None:
    error = WriteError(Path("run/.step-0000002.7-0123abcd.writing/model"), errno.ENOSPC, "no space left")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is WriteError and copy.errno is None
    assert (
        str(copy)
        == str(error)
        == "run/step-0000002/model could not be written: no space left; make room on that disk"
    )
