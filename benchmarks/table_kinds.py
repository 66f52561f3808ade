"""Owns the kinds of tables: how rows come from results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.results import Result, latest, matches


class Table(Protocol):
    """What a marker stands for."""

    def rows(self, results: Sequence[Result]) -> list[list[str]]:
        """The head, then the rows, as Markdown cells."""
        ...


@dataclass(frozen=True)
class Comparison:
    """A row of a comparison: one figure of the newest result, and the peer's of the same run."""

    what: str
    name: str  # of the benchmark
    case: Mapping[str, Any]
    figure: str
    peer: str
    ratio: str = "ratio"


@dataclass(frozen=True)
class ComparisonTable:
    """what, SunFish, peer, ratio, command."""

    comparisons: tuple[Comparison, ...]

    def rows(self, results: Sequence[Result]) -> list[list[str]]:
        """See :class:`Table`."""
        rows = [["what", "SunFish", "peer", "ratio", "command"]]
        for row in self.comparisons:
            result = need(results, row.name, row.case)
            cells = [f"{figure_of(result, key):,.0f}" for key in (row.figure, row.peer)]
            ratio = f"{figure_of(result, row.ratio):.2f}"
            rows.append([row.what, *cells, ratio, f"`{result.command}`"])
        return rows


@dataclass(frozen=True)
class Column:
    """A column: its head, the key of a case or of a figure, and how it is written."""

    head: str
    key: str
    form: str = "{}"


@dataclass(frozen=True)
class FigureTable:
    """A row for each newest result of some cases of one benchmark, in the order of ``cases``."""

    name: str
    cases: tuple[Mapping[str, Any], ...]
    columns: tuple[Column, ...]
    shared: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, results: Sequence[Result]) -> list[list[str]]:
        """See :class:`Table`."""
        rows = [[column.head for column in self.columns]]
        for case in self.cases:
            result = need(results, self.name, {**self.shared, **case})
            rows.append([column.form.format(_value(result, column.key)) for column in self.columns])
        return rows


def need(results: Sequence[Result], name: str, case: Mapping[str, Any]) -> Result:
    """The newest result of this benchmark and case.

    Raises:
        ValueError: There is none; it says what to run.
    """
    result = latest(results, name, case)
    if result is None:
        others = sum(matches(result, name, {}) for result in results)
        raise ValueError(
            f"results.jsonl has no result of {name} with {dict(case)} (of {name}: {others}); "
            f"run ./run.sh benchmarks/{name}.py"
        )
    return result


def figure_of(result: Result, key: str) -> float:
    """A figure of a result.

    Raises:
        ValueError: The result does not have it, or it is undefined.
    """
    value = result.figures.get(key)
    if value is None:
        raise ValueError(f"the result of {result.name} with {result.case} has no figure {key!r}")
    return value


def _value(result: Result, key: str) -> Any:
    return result.case[key] if key in result.case else figure_of(result, key)
