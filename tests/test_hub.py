"""Names of repositories, and a hub without its client."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

from sunfish.cli import main
from sunfish.hub import check_name, client, plain_progress
from sunfish.utils import UsageError

INSTALL = "sharing models needs an extra: ./run.sh -m pip install -e '.[hub]'"


@pytest.mark.parametrize("name", ["user/robots", "a/b", "Team_1/v2.0-tiny", f"u/{'n' * 94}"])
def test_names_that_the_hub_has(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("robots", "", "/", "a/", "/b", "a/b/c", "../x", "a/..", "a/.b", "a/-b", "a/b-", "a/b--c", "a/b..c"),
        *("a/b.git", "a b/c", "a/b\n", "a/b?x", "é/b", "a\\b", "https://host/a/b", f"u/{'n' * 95}"),
    ],
)
def test_other_names_are_wrong_use(name: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(UsageError, match=r"^the repository is .*; name it as the hub does: USER/NAME$"):
        check_name(name)
    for words in (["pull", name], ["push", str(tmp_path), name]):
        assert main(words) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("error: the repository is ")


def test_without_the_extra_a_line_says_how_to_get_it(monkeypatch: Any, capsys: Any) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "huggingface_hub" else find(name, *rest),
    )
    with pytest.raises(ImportError, match=re.escape(INSTALL)):
        client()
    for words in (["pull", "user/robots"], ["push", "last.ckpt", "user/robots"]):
        assert main(words) == 1
        assert capsys.readouterr().err == f"error: {INSTALL}\n"


def test_the_client_has_the_endpoint_and_the_token(monkeypatch: Any) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    api = client("hf_mine")
    assert (api.endpoint, api.token) == ("http://127.0.0.1:9", "hf_mine")
    assert client().token is None  # the client then reads HF_TOKEN


def test_bars_are_drawn_on_a_terminal_only(monkeypatch: Any) -> None:
    try:
        for terminal in (True, False):
            enable_progress_bars()
            monkeypatch.setattr("sunfish.utils.Stderr.isatty", lambda self, terminal=terminal: terminal)
            plain_progress()
            assert are_progress_bars_disabled() is not terminal
    finally:
        enable_progress_bars()
