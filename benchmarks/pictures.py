"""How the benchmarks draw: without torch, so that what only reads figures starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sunfish.utils import how_to_install


def plot(rows: list[dict[str, float]], lines: dict[str, str], path: Path, title: str) -> None:
    """Draw the columns ``lines`` (key to label) of ``rows`` over the guidance scale."""
    figure, axes = pyplot().subplots(figsize=(7, 4.2))
    for key, label in lines.items():
        axes.plot([row["scale"] for row in rows], [row[key] for row in rows], marker="o", label=label)
    axes.set(xlabel="guidance scale", ylabel="%", ylim=(0, 102), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    save(figure, path)


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files. ``SystemExit`` that names the extra where it is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit(
            f"--plot needs the library matplotlib; install it with: {how_to_install('eval')}"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as found

    return found


def picture(path: str) -> Path:
    """The path of ``--plot``, once it is known that pictures can be drawn: before hours of measuring, not after."""
    pyplot()
    return Path(path)


def save(figure: Any, path: Path) -> None:
    """Write a figure of :func:`pyplot`, and the folder that it lies in."""
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
