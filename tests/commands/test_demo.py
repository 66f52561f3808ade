"""``sunfish demo``, and ``demo`` as the name of a checkpoint in every command that reads one."""

from __future__ import annotations

import re
import shlex
import socket
import sys
from pathlib import Path

import pytest

from sunfish.cli import main, parse
from sunfish.commands.demo import GAPPED, NEXT, open_page
from sunfish.data.stories.oracle import check
from sunfish.serving import server
from sunfish.serving.service import Service


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.isatty", lambda number: False)  # also where pytest -s runs at a terminal


@pytest.mark.slow
def test_it_writes_the_text_of_sample_and_fills_a_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "Write a story about a pig named Fatima"
    assert main(["demo", "--prompt", prompt, "--seed", "3"]) == 0
    shown = capsys.readouterr()
    text, filled = shown.out.splitlines()
    assert main(["sample", "demo", "--prompt", prompt, "--seed", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [text]
    assert list(check(prompt, text).values()) == [True, True]
    before, after = GAPPED.split("[MASK]")
    assert filled.startswith(before) and filled.endswith(after) and len(filled) > len(before + after) + 8
    assert prompt in shown.err and text[:20] in shown.err and NEXT in shown.err
    assert not list(tmp_path.iterdir())


def test_what_it_says_to_try_next_is_valid() -> None:
    commands = re.findall(r"^  (sunfish .+?)(?:    .*)?$", NEXT, re.M)
    assert len(commands) == 3
    for command in commands:
        arguments = parse(shlex.split(command)[1:])
        assert arguments.command == "train" or arguments.checkpoint == "demo"


@pytest.mark.parametrize("screen", [":0", ""])
def test_at_a_terminal_the_page_is_served_and_opened(
    monkeypatch: pytest.MonkeyPatch, screen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The socket and the service are real; the server is asked for nothing."""
    monkeypatch.setattr("os.isatty", lambda number: True)
    opened: list[str] = []
    served: list[tuple[str, int]] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.setenv("WAYLAND_DISPLAY", "")

    def run_server(service: Service, listener: socket.socket) -> None:
        served.append((service.card.id, listener.getsockname()[1]))

    monkeypatch.setattr(server, "run_server", run_server)
    assert open_page() == 0
    ((name, port),) = served
    assert name == "demo" and port > 0
    assert opened == ([f"http://127.0.0.1:{port}"] if screen else [])
    assert f"the page: http://127.0.0.1:{port}" in capsys.readouterr().err


def test_it_is_served_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(server, "run_server", lambda service, _: names.append(service.card.id))
    assert main(["serve", "demo", "--port", "0"]) == 0
    assert names == ["demo"]


def test_elsewhere_it_says_how_to_see_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as it is where it was closed
    assert open_page() == 0
    assert "sunfish serve demo" in capsys.readouterr().err


def test_without_the_extra_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.isatty", lambda number: True)
    monkeypatch.delitem(sys.modules, "sunfish.serving.server")
    monkeypatch.delattr("sunfish.serving.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert open_page() == 0
    assert capsys.readouterr().err.startswith(
        "no page: serve needs uvicorn; install it with: ./run.sh -m pip"
    )


READERS = {
    "sample": ["--seq-len", "12"],
    "infill": ["--text", "A [MASK:2] robot.", "--particles", "2"],
    "edit": ["--text", "A small lion.", "--replace", "lion", "--particles", "2"],
    "distill-guidance": ["--print-config"],
}


@pytest.mark.parametrize("command", READERS)
def test_a_command_reads_it_by_its_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "demo", *READERS[command]]) == 0
    assert capsys.readouterr().out.strip()


def test_its_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "demo", "--print-config"]) == 0
    assert '"name": "demo"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "--resume", "demo"], 1, "can be sampled but not resumed"),
        (["bench", "sample", "demo"], 2, "keeps no settings; give --no-write"),
        (["demo", "--seed", "-1"], 2, "seed is -1"),
        (["demo", "--prompt", "robot " * 100], 2, "prompt"),
    ],
)
def test_what_it_cannot_do_is_refused(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
