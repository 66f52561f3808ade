"""Shows the progress of a preparation on stderr: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sunfish.utils import log, stderr

OnProgress = Callable[[str, int, int | None], None]  # stage, documents done, documents in all (None: unknown)

LINE_INTERVAL_SECONDS = 5.0  # between two plain lines of one stage


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """A callback that shows the progress it is called with."""
    console = stderr.live_console()
    if console is None:
        yield _plain_lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def move_bar(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield move_bar


def _plain_lines() -> OnProgress:
    last_time, last_stage = time.monotonic(), ""

    def print_line(stage: str, done: int, total: int | None) -> None:
        nonlocal last_time, last_stage
        now = time.monotonic()
        if stage != last_stage or done == total or now - last_time >= LINE_INTERVAL_SECONDS:
            last_time, last_stage = now, stage
            log(f"{stage}: {done:,}{f' of {total:,}' if total else ''} documents")

    return print_line
