"""Shows how far the preparation is, on stderr: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[str, int, int | None], None]  # stage, documents done, documents in all (None: unknown)

SECONDS = 5.0  # between two plain lines


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """A callback that displays what it is told."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bars:
            tasks = {}

            def move(stage: str, done: int, total: int | None) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total)
                bars.update(tasks[stage], completed=done, total=total)

            yield move
        return
    last, shown = time.monotonic(), ""

    def line(stage: str, done: int, total: int | None) -> None:
        nonlocal last, shown
        now = time.monotonic()
        if stage != shown or done == total or now - last >= SECONDS:
            last, shown = now, stage
            print(
                f"{stage}: {done:,}{f' of {total:,}' if total else ''} documents", file=sys.stderr, flush=True
            )

    yield line
