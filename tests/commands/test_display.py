"""What a person sees of texts as they come into being."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sunfish.commands.display import watch
from sunfish.sampling.generated import Generated
from sunfish.utils import Stderr


def test_the_screen_shows_the_end_of_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal the text is wrapped, not cut; on a low one its last lines are seen."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=30, height=4)
    monkeypatch.setattr(Stderr, "live_console", lambda _: console)
    words = [f"word{number}" for number in range(40)]
    states = [Generated(" ".join(words[:count]), "", False, count, []) for count in (10, 40)]
    assert watch(iter(states)) == states[-1]
    assert "word39" in screen.getvalue() and "word20" not in screen.getvalue()
