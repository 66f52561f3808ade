"""Owns the report of a preparation: what a corpus could not give, with reasons and locations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_LOCATIONS = 5  # kept of each reason


def format_reason(reason: str, count: int, locations: list[str]) -> str:
    """One reason in words: how often it was met, and where first."""
    more = ", …" if count > len(locations) else ""
    return f"{count:,} x {reason} ({', '.join(locations)}{more})"


@dataclass
class ReasonCounts:
    """How often each reason was met, and its first locations, such as ``file:line``."""

    counts: dict[str, int] = field(default_factory=dict)
    locations: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, location: str) -> None:
        """Count ``reason`` once more."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        kept = self.locations.setdefault(reason, [])
        if len(kept) < MAX_LOCATIONS:
            kept.append(location)

    def merge(self, other: ReasonCounts) -> None:
        """Add the counts of ``other``."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            kept = self.locations.setdefault(reason, [])
            kept.extend(other.locations[reason][: MAX_LOCATIONS - len(kept)])

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ReasonCounts:
        """The counts that :meth:`to_dict` gave."""
        return cls(
            {reason: entry["count"] for reason, entry in content.items()},
            {reason: list(entry["places"]) for reason, entry in content.items()},
        )

    def to_dict(self) -> dict[str, dict[str, object]]:
        """The counts as the manifest holds them, in the order of the reasons."""
        return {
            reason: {"count": self.counts[reason], "places": self.locations[reason]}
            for reason in sorted(self.counts)
        }

    def lines(self) -> list[str]:
        """One readable line for each reason, the most frequent first."""
        reasons = sorted(self.counts, key=lambda reason: -self.counts[reason])
        return [format_reason(reason, self.counts[reason], self.locations[reason]) for reason in reasons]


@dataclass
class PreparationReport:
    """What was left out of a corpus (``skips``), and what was kept but changed (``notes``)."""

    skips: ReasonCounts = field(default_factory=ReasonCounts)
    notes: ReasonCounts = field(default_factory=ReasonCounts)

    def merge(self, other: PreparationReport) -> None:
        """Add what ``other`` counts."""
        self.skips.merge(other.skips)
        self.notes.merge(other.notes)
