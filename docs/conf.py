"""The site of these pages: Sphinx reads the Markdown files where they are, and every file it links is its own."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "SunFish"
project_copyright = "MIT license"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = [
    *("README.md", "QUICKSTART.md", "TRAINING_GUIDE.md", "PROMPT_CONDITIONING.md", "CHANGELOG.md"),
    *("docs/*.md", "docs/experiments/*.md", "benchmarks/README.md"),
]
myst_heading_anchors = 3
nitpicky = True
html_theme = "furo"
html_title = project
html_show_sphinx = html_copy_source = False
smartquotes = False  # texts of the model are shown as it wrote them

# The first page has no list of the others in its text, since a reader of the file has no use for one.
CONTENTS = """
```{{toctree}}
:hidden:
:glob:

{pages}
```
"""
GUIDES = ("QUICKSTART", "TRAINING_GUIDE", "PROMPT_CONDITIONING")
PACKAGES = ("docs/model", "docs/processes", "docs/sampling", "docs/training", "docs/data")
REST = ("docs/*", "docs/experiments/README", "benchmarks/README", "CHANGELOG")
LISTS = {
    "README": CONTENTS.format(pages="\n".join((*GUIDES, *PACKAGES, *REST))),
    "docs/experiments/README": CONTENTS.format(pages="*"),
}


def setup(app: Sphinx) -> None:
    """Add the lists of pages, and let the site begin with the first one."""
    app.connect("source-read", _add_list)
    app.connect("build-finished", _write_index)


def _add_list(_: Sphinx, name: str, source: list[str]) -> None:
    source[0] += LISTS.get(name, "")


def _write_index(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")
