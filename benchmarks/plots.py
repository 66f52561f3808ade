"""Owns how benchmarks draw, without torch, so that what only reads figures starts at once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sunfish.utils import how_to_install


def plot_lines(
    path: Path,
    lines: Mapping[str, tuple[Sequence[Any], Sequence[float | None]]],
    *,
    x: str,
    y: str,
    title: str = "",
    percent: bool = False,
    log2: bool = False,
) -> None:
    """Draw one line for each entry of ``lines``.

    Args:
        path: The file; its suffix says the format.
        lines: From each label to its x and y values.
        x: Label of the x axis.
        y: Label of the y axis.
        title: Above the figure.
        percent: The y axis ends at 0 and 102.
        log2: The x axis is logarithmic, with base 2.
    """
    figure, axes = pyplot().subplots(figsize=(7, 4.2))
    for label, (across, up) in lines.items():
        axes.plot(across, up, marker="o", label=label)
    axes.set(xlabel=x, ylabel=y, title=title)
    if percent:
        axes.set_ylim(0, 102)
    if log2:
        axes.set_xscale("log", base=2)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    save(figure, path)


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files.

    Raises:
        ImportError: matplotlib is missing; says which extra has it.
    """
    try:
        import matplotlib
    except ImportError as why:
        raise ImportError(f"--plot needs matplotlib; install it with: {how_to_install('eval')}") from why
    matplotlib.use("Agg")
    from matplotlib import pyplot as module

    return module


def plot_path(path: str) -> Path:
    """The path of ``--plot``; a missing library is noticed before hours of measuring, not after."""
    try:
        pyplot()
    except ImportError as why:
        raise argparse.ArgumentTypeError(str(why)) from why
    return Path(path)


def save(figure: Any, path: Path) -> None:
    """Write a figure of :func:`pyplot`, and the folder that it lies in, and close it: pyplot keeps all that are open."""
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot().close(figure)
