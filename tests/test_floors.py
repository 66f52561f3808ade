"""Who may import whom: imports go down the floors only."""

from __future__ import annotations

import ast
import functools
from graphlib import TopologicalSorter
from pathlib import Path

from tests.conftest import ROOT
from tests.syntax import parsed

PACKAGE = ROOT / "src" / "sunfish"
# From the ground up; a package imports from lower floors, and inside itself.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("casts", "signals", "text_files", "utils"),
    ("rng", "disk"),
    ("config", "hardware", "tokenizers"),
    ("types", "hub"),
    ("data", "model", "processes"),
    ("checkpoint",),
    ("sharing",),
    ("sampling",),
    ("training",),
    ("serving", "export"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
SIBLINGS_APART = (
    "processes",
    "tokenizers",
)  # one file each kind, and none knows the others


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name below the package -> file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor; write sunfish.… instead"
            base = node.module or ""
            inner = {
                f"{base}.{a.name}"
                for a in node.names
                if f"{base}.{a.name}".removeprefix("sunfish.") in modules()
            }
            names |= inner or {base}
    return {name.removeprefix("sunfish.") for name in names if name.startswith("sunfish.")}


def test_every_module_has_a_floor() -> None:
    unknown = {name.split(".")[0] for name in modules() if name} - set(FLOOR)
    assert not unknown, f"say in FLOORS where these stand: {sorted(unknown)}"


def test_imports_go_down_only() -> None:
    wrong = []
    for name, path in modules().items():
        here = name.split(".")[0]
        for target in imports(path):
            there = target.split(".")[0]
            if name and there != here and FLOOR[there] >= FLOOR[here]:
                wrong.append(f"{name} (floor {FLOOR[here]}) imports {target} (floor {FLOOR[there]})")
    assert not wrong, "\n".join(wrong)


def test_no_cycles_inside_a_folder() -> None:
    graph = {name: imports(path) - {name} for name, path in modules().items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_kinds_do_not_know_each_other() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imports(path)
        if "." in name and name.split(".")[0] in SIBLINGS_APART
        and target.split(".")[0] == name.split(".")[0] and target.split(".")[-1] not in ("base", "native", "schedules")
    ]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_every_file_says_what_it_owns() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in modules().values()}
    silent = [str(p) for p, text in texts.items() if text.strip() and not ast.get_docstring(parsed(text))]
    assert not silent, silent
