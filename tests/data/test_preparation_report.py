"""The report of a preparation: counts of reasons, and their first locations."""

from __future__ import annotations

from sunfish.data.report import MAX_LOCATIONS, PreparationReport


def test_merged_reports_add_counts_and_keep_the_first_locations() -> None:
    first, second = PreparationReport(), PreparationReport()
    for line in range(4):
        first.skips.add("text is empty", f"a:{line}")
        second.skips.add("text is empty", f"b:{line}")
    second.skips.add("line is no JSON", "b:9")
    second.notes.add("prompt derived", "b:1")
    first.merge(second)
    assert first.skips.counts == {"text is empty": 8, "line is no JSON": 1}
    assert first.skips.locations["text is empty"] == ["a:0", "a:1", "a:2", "a:3", "b:0"]
    assert len(first.skips.locations["text is empty"]) == MAX_LOCATIONS
    assert first.skips.lines() == [
        "8 x text is empty (a:0, a:1, a:2, a:3, b:0, …)",
        "1 x line is no JSON (b:9)",
    ]
    assert first.notes.to_dict() == {"prompt derived": {"count": 1, "places": ["b:1"]}}
