"""Where metrics go besides the run's own metrics.jsonl: TensorBoard, Weights & Biases, Trackio."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sunfish.utils import first_line, how_to_install, log

EXTRA = how_to_install("log")
DEFAULT = "tensorboard"  # a run does without it where it is not installed


class Tracker(NamedTuple):
    """Two functions: log the values of a step, and finish."""

    log: Callable[[int, dict[str, float]], None]
    close: Callable[[], None]


def check_trackers(names: Iterable[str]) -> None:
    """Refuse a tracker that somebody asked for and that is not installed, before any work is done.

    Raises:
        ValueError: names the tracker and the extra.
    """
    for name in names:
        if name != DEFAULT:
            _library(name)


def open_tracker(name: str, folder: Path, config: dict[str, Any]) -> Tracker | None:
    """Open the tracker ``name`` of a run in ``folder``.

    Returns:
        The tracker; None where TensorBoard, the default, is not installed.

    Raises:
        ValueError: as :func:`check_trackers`.
    """
    if name == DEFAULT:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        try:
            board = SummaryWriter(str(folder / "tensorboard"))
        except OSError as why:
            _note_end(name, why)
            return Tracker(lambda step, values: None, lambda: None)

        def add(step: int, values: dict[str, float]) -> None:
            for key, value in values.items():
                board.add_scalar(key, value, step)

        return _until_it_fails(name, Tracker(add, board.close))
    library = _library(name)
    library.init(project="sunfish", name=folder.name, config=config)
    tracker = Tracker(lambda step, values: library.log(values, step=step), library.finish)
    return _until_it_fails(name, tracker)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as why:
        raise ValueError(f"trackers has {name!r}, which is not installed: {EXTRA}, or leave it out") from why


def _until_it_fails(name: str, tracker: Tracker) -> Tracker:
    """The same tracker, which ends with a note when it cannot write: no run is worth less than its curves."""
    failed = False

    def attempt(action: Callable[..., None], *values: Any) -> None:
        nonlocal failed
        if failed:
            return
        try:
            action(*values)
        except Exception as why:  # each library has kinds of its own
            failed = True
            _note_end(name, why)

    return Tracker(partial(attempt, tracker.log), partial(attempt, tracker.close))


def _note_end(name: str, why: Exception) -> None:
    reason = first_line(why)
    log(f"note: {name} cannot write ({reason}); its curves end here; metrics.jsonl has all of them")
