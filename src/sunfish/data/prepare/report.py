"""Counts what a corpus could not give, with reasons and places, so that nothing is lost in silence."""

from __future__ import annotations

from dataclasses import dataclass, field

PLACES = 5  # places kept of each reason


def line(reason: str, count: int, places: list[str]) -> str:
    """One skip in words."""
    more = ", …" if count > len(places) else ""
    return f"{count:,} x {reason} ({', '.join(places)}{more})"


@dataclass
class SkipReport:
    """Reason -> how often, and its first places as ``file:line``."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count one skip."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        kept = self.places.setdefault(reason, [])
        if len(kept) < PLACES:
            kept.append(place)

    def merge(self, other: SkipReport) -> None:
        """Count the skips of ``other`` as well."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            kept = self.places.setdefault(reason, [])
            kept.extend(other.places[reason][: PLACES - len(kept)])

    def to_dict(self) -> dict[str, dict[str, object]]:
        """For the manifest."""
        return {r: {"count": self.counts[r], "places": self.places[r]} for r in sorted(self.counts)}

    def lines(self) -> list[str]:
        """One readable line a reason."""
        return [
            line(r, self.counts[r], self.places[r])
            for r in sorted(self.counts, key=lambda r: -self.counts[r])
        ]
