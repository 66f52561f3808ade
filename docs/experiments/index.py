"""The index of the experiments: writes the tables of README.md from the headers of the files beside it.

python docs/experiments/index.py          writes the tables
python docs/experiments/index.py --check  writes nothing and exits 1 where README.md is stale

What stands above the marker line in README.md is written by hand and stays.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
README = FOLDER / "README.md"
MARKER = "<!-- index.py writes everything below this line -->"
SUBJECTS = (
    "model",
    "processes",
    "sampling",
    "training",
    "data",
    "hardware",
    "infilling",
    "serving",
    "evaluation",
)
VERDICTS = ("kept", "rejected", "measured", "superseded")
REQUIRED = ("date", "commit", "machine", "verdict", "subject")
LINKS = ("supersedes", "superseded by")


class Experiment(NamedTuple):
    """The header of one file."""

    file: str
    title: str
    date: str
    verdict: str
    subject: str
    links: dict[str, list[str]]


def read(path: Path) -> Experiment:
    """Read the title and the header of one experiment.

    Args:
        path: A Markdown file whose first line is its title, followed by a list of ``- key: value`` lines.

    Returns:
        The header, with the files that it links to under ``supersedes`` and ``superseded by``.

    Raises:
        ValueError: A key is missing, or has a value that is not allowed.
    """
    title, _, rest = path.read_text(encoding="utf-8").partition("\n")
    header = dict(re.findall(r"^- ([a-z ]+): (.+)$", rest.split("\n## ", 1)[0], re.MULTILINE))
    if not title.startswith("# "):
        raise ValueError(f"{path.name}: the first line is {title!r}; begin with '# ' and a title")
    for key in REQUIRED:
        if key not in header:
            raise ValueError(f"{path.name}: the header has no {key!r}; add a line '- {key}: …'")
    for key, allowed in (("verdict", VERDICTS), ("subject", SUBJECTS)):
        if header[key] not in allowed:
            raise ValueError(f"{path.name}: {key} is {header[key]!r}; use one of {', '.join(allowed)}")
    try:
        date.fromisoformat(header["date"])
    except ValueError:
        raise ValueError(f"{path.name}: date is {header['date']!r}; write it as YYYY-MM-DD") from None
    links = {key: re.findall(r"\]\(([^)]+)\)", header.get(key, "")) for key in LINKS}
    return Experiment(path.name, title[2:], header["date"], header["verdict"], header["subject"], links)


def check_links(experiments: Sequence[Experiment]) -> None:
    """Hold every ``supersedes`` to a ``superseded by`` in the file that it names, and the reverse.

    Args:
        experiments: The headers of all files.

    Raises:
        ValueError: A link has no counterpart, or a superseded experiment names no successor.
    """
    by_file = {one.file: one for one in experiments}
    for one in experiments:
        if (one.verdict == "superseded") != bool(one.links["superseded by"]):
            raise ValueError(
                f"{one.file}: verdict is {one.verdict!r} with {len(one.links['superseded by'])} successors; "
                "name a successor under 'superseded by' exactly where the verdict is superseded"
            )
        for key, counterpart in (LINKS, LINKS[::-1]):
            for target in one.links[key]:
                if target not in by_file:
                    raise ValueError(
                        f"{one.file}: {key} names {target}, which does not exist; correct the link"
                    )
                if one.file not in by_file[target].links[counterpart]:
                    raise ValueError(f"{target}: add '- {counterpart}: …' with a link to {one.file}")


def tables(experiments: Sequence[Experiment]) -> str:
    """Write one table a subject, newest first.

    Args:
        experiments: The headers of all files, in any order.

    Returns:
        The Markdown below the marker.
    """
    titles = {one.file: one.title for one in experiments}
    parts = []
    for subject in SUBJECTS:
        rows = sorted((one for one in experiments if one.subject == subject), key=lambda one: one.file)
        rows.sort(key=lambda one: one.date, reverse=True)
        if not rows:
            continue
        lines = [f"## {subject.capitalize()}", "", "| date | experiment | verdict |", "|---|---|---|"]
        for one in rows:
            successors = ", ".join(f"[{titles[file]}]({file})" for file in one.links["superseded by"])
            verdict = f"superseded by {successors}" if successors else one.verdict
            lines.append(f"| {one.date} | [{one.title}]({one.file}) | {verdict} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write or check the index.

    Returns:
        The exit status: 1 where the index is stale or a header is wrong, else 0.
    """
    parser = argparse.ArgumentParser(description="Index the experiments by subject.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where README.md is stale")
    check = parser.parse_args().check
    try:
        experiments = [read(path) for path in sorted(FOLDER.glob("[0-9]*.md"))]
        check_links(experiments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    current = README.read_text(encoding="utf-8")
    intro, marker, _ = current.partition(MARKER)
    if not marker:
        print(f"README.md has no line {MARKER!r}; add it above the tables", file=sys.stderr)
        return 1
    wanted = f"{intro}{MARKER}\n\n{tables(experiments)}"
    if check and current != wanted:
        print("README.md is stale; run: python docs/experiments/index.py", file=sys.stderr)
        return 1
    if not check:
        README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
