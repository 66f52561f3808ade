"""Where metrics go besides the run's own metrics.jsonl: TensorBoard, Weights & Biases, Trackio."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sunfish.utils import how_to_install

EXTRA = how_to_install("log")


class Tracker(NamedTuple):
    """Two functions: log the values of a step, and finish."""

    log: Callable[[int, dict[str, float]], None]
    close: Callable[[], None]


def open_tracker(name: str, folder: Path, config: dict[str, Any]) -> Tracker | None:
    """Open the tracker ``name`` of a run in ``folder``.

    Returns:
        The tracker; None where TensorBoard, the default, is not installed.

    Raises:
        ValueError: where wandb or trackio, which somebody asked for, is not installed; it names the extra.
    """
    if name == "tensorboard":
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        board = SummaryWriter(str(folder / "tensorboard"))

        def log(step: int, values: dict[str, float]) -> None:
            for key, value in values.items():
                board.add_scalar(key, value, step)

        return Tracker(log, board.close)
    try:
        library = importlib.import_module(name)
    except ImportError as why:
        raise ValueError(f"trackers has {name!r}, which is not installed: {EXTRA}, or leave it out") from why
    library.init(project="sunfish", name=folder.name, config=config)
    return Tracker(lambda step, values: library.log(values, step=step), library.finish)
