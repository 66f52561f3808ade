"""Runs a program against a copy of the package to which files were added."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import sunfish

PACKAGE = Path(sunfish.__file__).parent


def run_in_copy(folder: Path, files: dict[str, str], program: str) -> str:
    """The output of ``program`` where the package has ``files``, by their paths below it."""
    package = Path(
        shutil.copytree(PACKAGE, folder / "copy" / "sunfish", ignore=shutil.ignore_patterns("__pycache__"))
    )
    for name, content in files.items():
        (package / name).write_text(content, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
