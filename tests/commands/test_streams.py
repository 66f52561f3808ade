"""What reaches stdout: every letter, in any encoding, on any terminal, or one line that says why not."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sunfish.cli import main
from sunfish.commands.display import show
from sunfish.commands.flags import print_json
from sunfish.commands.streams import abandon_stdout, lossless_stdout
from sunfish.sampling.generated import Generated
from sunfish.utils import log, visible
from tests.conftest import ROOT

TEXT = "L'été à Kraków: 日本 😀 ✓ :runner: [bold]b[/] [link=x] \\n " + "long " * 60
HOSTILE = "a\x1b[2J\x1b]0;title\x07b\r\x08\x7f\x9b31m\tc\nd"


def stdout_of(text: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The bytes that showing ``text`` writes to a pipe of that encoding."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    with lossless_stdout():
        show([Generated(text, "", True, 1, [])], as_json=False)
    stream.flush()
    assert stream.errors == "strict"
    return raw.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "koi8-r", "utf-8", "utf-16-le"])
def test_a_text_is_never_lost(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in (TEXT, HOSTILE, "plain"):
        written = stdout_of(text, encoding, monkeypatch)
        assert written == (text + "\n").encode(encoding, "backslashreplace")
        lost = (text + "\n").encode(encoding, "ignore") != written
        assert capsys.readouterr().err.count("note: stdout is") == lost


def test_the_bytes_of_a_file_name_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stdout_of(os.fsdecode(b"caf\xe9/last.ckpt"), "utf-8", monkeypatch) == b"caf\xe9/last.ckpt\n"


@given(
    value=st.recursive(
        st.text(st.characters()),
        lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
        max_leaves=5,
    )
)
@settings(max_examples=20)
def test_json_is_valid_in_any_encoding(value: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        patch.setattr(sys, "stdout", stream)
        print_json(value)
        stream.flush()
    assert json.loads(raw.getvalue()) == value


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_text_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    show([Generated(TEXT, "", True, 1, []), Generated(HOSTILE, HOSTILE, True, 1, [])], as_json=False)
    shown = sys.stdout.getvalue()
    assert TEXT in shown and r"a\x1b[2J\x1b]0;title\x07b\x0d\x08\x7f\x9b31m" in shown
    assert not any(letter in shown for letter in "\x1b\x07\r\x08\x7f\x9b")


def test_a_log_cannot_drive_the_terminal_and_is_untouched_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, expected in ((Terminal(), visible(HOSTILE)), (io.StringIO(), HOSTILE)):
        monkeypatch.setattr(sys, "stderr", stream)
        log(HOSTILE)
        assert stream.getvalue() == expected + "\n"


@given(text=st.text())
def test_only_controls_are_made_visible(text: str) -> None:
    assert visible(text).isprintable() or any(not c.isprintable() and visible(c) == c for c in text)
    assert all(visible(letter) == letter for letter in text if letter.isprintable() or letter in "\n\t")


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell with ``$P`` as the program, without torch."""
    source = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    settings = {**os.environ, "PYTHONPATH": source, "P": f"{sys.executable} -m sunfish", **environment}
    return subprocess.run(["bash", "-c", command], env=settings, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [
        "--version",
        *(pytest.param(w, marks=pytest.mark.slow) for w in ("train --help-all", "data --print-config")),
    ],
)
def test_a_full_disk_behind_stdout_is_one_line(words: str) -> None:
    done = run(f"$P {words} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "error: the output cannot be written: no space is left on the device; free some, or write elsewhere\n"
    )


def test_a_reader_that_leaves_is_no_failure_and_a_closed_stdout_is() -> None:
    done = run("$P train --help-all | head -n 1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("usage")
    done = run("$P sizes --quick >&-")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "stdout is closed" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
    ],
)
def test_the_program_in_a_narrow_locale(environment: dict[str, str]) -> None:
    done = run("$P data --data 'Erzählung 日本' --print-config", **environment)
    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["corpus"]["data"].encode("utf-8", "surrogateescape")
        == "Erzählung 日本".encode()
    )


def test_an_abandoned_stdout_points_nowhere_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print("kept", flush=True)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        abandon_stdout()
        print("lost", flush=True)
        assert os.fstat(stream.fileno()).st_rdev == os.stat(os.devnull).st_rdev
        again = os.dup(0)
        os.close(again)
    assert (tmp_path / "out").read_text() == "kept\n" and again == lowest_free


def test_output_that_its_reader_leaves_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["--version"]) == 0
        assert os.fstat(writer).st_rdev == os.stat(os.devnull).st_rdev and stream.errors == "strict"


def test_output_on_a_full_disk_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["--version"]) == 1
    reason = "no space is left on the device; free some, or write elsewhere"
    assert capsys.readouterr().err == f"error: the output cannot be written: {reason}\n"
