"""Owns the tables of figures in the pages: rendered from results.jsonl, between markers, never by hand.

    python -m benchmarks.tables            writes every table of README.md, the guides and docs/
    python -m benchmarks.tables --check    writes nothing and exits 1 where a page is stale

A page has ``<!-- table NAME -->``, the table, ``<!-- /table -->``; NAME is one of benchmarks/table_specs.py.
A figure without a result line is an error that names the benchmark to run.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.results import RESULTS, ROOT, Result, read_results
from benchmarks.table_kinds import Table
from benchmarks.table_specs import TABLES
from sunfish.utils import log

BEGIN = re.compile(r"<!-- table ([\w-]+) -->")
TABLE = re.compile(r"<!-- table ([\w-]+) -->\n(.*?)<!-- /table -->", re.S)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


def render(page: str, tables: Mapping[str, Table], results: Sequence[Result], where: str = "page") -> str:
    """The page with every table between its markers as the results say.

    Raises:
        ValueError: A marker has no end, its name no table, or a figure no result.
    """
    if len(BEGIN.findall(page)) != len(TABLE.findall(page)):
        raise ValueError(
            f"{where}: a <!-- table NAME --> has no <!-- /table -->; add it on a line of its own"
        )

    def table(match: re.Match[str]) -> str:
        name = match[1]
        if name not in tables:
            raise ValueError(f"{where}: there is no table {name!r}; the tables are: {', '.join(tables)}")
        if BEGIN.search(match[2]):
            raise ValueError(f"{where}: table {name!r} has no <!-- /table -->; add it on a line of its own")
        try:
            text = markdown(tables[name].rows(results))
        except ValueError as why:
            raise ValueError(f"{where}, table {name!r}: {why}") from why
        return f"<!-- table {name} -->\n{text}<!-- /table -->"

    return TABLE.sub(table, page)


def pages_of(root: Path = ROOT) -> list[Path]:
    """README.md, the guides next to it, and everything in docs/."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]


def main(words: Sequence[str] | None = None) -> int:
    """Write the tables, or check them. Returns 0; 1 for a stale page or a figure without a result."""

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pages", type=Path, nargs="*", help="Markdown files (README.md, the guides, docs/)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="result lines (benchmarks/results.jsonl)"
    )
    arguments = parser.parse_args(words)
    return update(arguments.pages or pages_of(), TABLES, arguments.results, arguments.check)


def update(pages: Sequence[Path], tables: Mapping[str, Table], path: Path, check: bool) -> int:
    """Render the tables of ``pages`` from the results in ``path``; see :func:`main`."""
    stale = 0
    try:
        results = read_results(path)
        rendered = {
            page: render(page.read_text(encoding="utf-8"), tables, results, str(page)) for page in pages
        }
    except (ValueError, OSError) as error:
        log(f"error: {error}")
        return 1
    for page, text in rendered.items():
        if text == page.read_text(encoding="utf-8"):
            continue
        if check:
            stale = 1
            log(f"{page} is stale; run python -m benchmarks.tables")
        else:
            page.write_text(text, encoding="utf-8")
            print(page)
    return stale


if __name__ == "__main__":
    sys.exit(main())
