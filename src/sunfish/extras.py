"""How to install what a plain installation leaves out."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """The command that adds ``extra`` of pyproject.toml, in the project's folder.

    By its folder and not by its name: the package index has another project of this name.
    """
    return f"./run.sh -m pip install -e '.[{extra}]'"
