"""The model that comes with the package: ``demo`` where a checkpoint is named."""

from __future__ import annotations

import os
from pathlib import Path

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / DEMO


def packaged(path: Path) -> Path:
    """The folder of the package's model where ``path`` is its name, and any other path as it is.

    A file or folder ``demo`` in the current folder comes first, as it does for every other name.
    """
    return DEMO_FOLDER if path == Path(DEMO) and not os.path.lexists(path) else path
