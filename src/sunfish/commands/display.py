"""How texts are shown: plain, as JSON, or as they condense in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sunfish.commands.flags import print_json
from sunfish.commands.streams import screen_text
from sunfish.utils import log, stderr, visible

if TYPE_CHECKING:
    from sunfish.sampling.generated import Generated
    from sunfish.sampling.infilling import Infilled


def watch(states: Iterable[Generated]) -> Generated:
    """Draw every state on stderr, in place on a terminal and else one per line; returns the last."""
    console = stderr.live_console()
    if console is None:
        for state in states:
            log(state.text)
        return state
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, transient=True, refresh_per_second=20) as live:
        for state in states:
            lines = Text(visible(state.text)).wrap(console, console.width)
            live.update(Text("\n").join(lines[-max(1, console.height - 1) :]))
    return state


def show(texts: Sequence[Generated | Infilled], as_json: bool) -> None:
    """The texts on stdout."""
    if as_json:
        print_json([{key: value for key, value in text._asdict().items() if key != "ids"} for text in texts])
        return
    for number, text in enumerate(texts, start=1):
        if len(texts) > 1:
            head = f"--- {number} of {len(texts)}" + (f": {text.prompt}" if text.prompt else "")
            print(screen_text(head if number == 1 else f"\n{head}"))
        print(screen_text(text.text))
