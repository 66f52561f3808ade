"""What a person sees of a training run: progress, metrics as JSON lines, samples on file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sunfish.checkpoint.links import METRICS, SAMPLES
from sunfish.disk.writing import append, drop_torn_line
from sunfish.training.trackers import EXTRA, open_tracker
from sunfish.utils import log, stderr, visible


class Logger:
    """Writes everything of one run; on a terminal with a live line, else as plain lines, always to stderr."""

    def __init__(self, folder: Path, trackers: Sequence[str], config: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        drop_torn_line(folder / METRICS)
        self._live: Progress | None = None
        self._trackers = []
        with ExitStack() as opened:
            for name in trackers:
                tracker = open_tracker(name, folder, config)
                if tracker is None:
                    self.log(f"{name} curves are off; to have them: {EXTRA}")
                else:
                    self._trackers.append(tracker)
                    opened.callback(tracker.close)
            self._start_live_line()
            if self._live is not None:
                opened.callback(self._live.stop)
            self._opened = opened.pop_all()

    def _start_live_line(self) -> None:
        console = stderr.live_console()
        if console is not None:
            self._live = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                console=console,
            )
            self._task = self._live.add_task("starting", total=1.0)
            self._live.start()

    def log(self, text: str) -> None:
        """One line (or more) for the person in front of the screen."""
        if self._live is not None:
            self._live.console.print(visible(text), markup=False, soft_wrap=True)
        else:
            log(text)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append one JSON line, and tell the trackers."""
        self._append(step, values)
        for tracker in self._trackers:
            tracker.log(step, values)

    def note(self, step: int, text: str) -> None:
        """Say something in ``metrics.jsonl``, where it can be read if nobody reads stderr."""
        self._append(step, {"note": text})

    def progress(self, step: int, share: float, values: dict[str, float], remaining: str) -> None:
        """The live line on a terminal, a plain line elsewhere; pure autoregression has no ``train_loss``."""
        losses = [f"{name} {values[name]:.3f}" for name in ("train_loss", "next_token") if name in values]
        speed = f"{values['tokens_per_second']:,.0f} tokens/s"
        line = "  ".join([f"step {step}", *losses, speed, f"{remaining} left"])
        if self._live is not None:
            self._live.update(self._task, completed=share, description=line)
        else:
            self.log(line)

    def samples(self, step: int, texts: list[tuple[str, str]]) -> None:
        """Show (prompt, text) pairs and append them to the run's ``samples.md``."""
        lines = [f"## step {step}", ""]
        for prompt, text in texts:
            lines += [f"**{prompt or '(no prompt)'}**", "", text or "(an empty text)", ""]
        append(self.folder / SAMPLES, "\n".join(lines) + "\n")
        for prompt, text in texts:
            self.log(f"  > {prompt or '(no prompt)'}\n    {text}")

    def close(self) -> None:
        """Flush and close everything."""
        self._opened.close()

    def _append(self, step: int, values: dict[str, Any]) -> None:
        record = {"step": step, "time": round(time.time(), 3), **values}
        append(self.folder / METRICS, json.dumps(record) + "\n")


class SilentLogger(Logger):
    """That of a process whose run another one reports."""

    def __init__(self, folder: Path, trackers: Sequence[str], config: dict[str, Any]) -> None:
        self._live, self._trackers, self._opened = None, [], ExitStack()

    def log(self, text: str) -> None:
        """Write nothing."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Write nothing."""

    def note(self, step: int, text: str) -> None:
        """Write nothing."""
