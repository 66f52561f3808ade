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


def test_the_manifest_lists_reasons_by_name_and_the_lines_by_count() -> None:
    report = PreparationReport()
    for reason, count in (("b", 1), ("c", 5), ("a", 2)):
        for line in range(count):
            report.notes.add(reason, f"f:{line}")
    assert list(report.notes.to_dict()) == ["a", "b", "c"]
    assert report.notes.lines() == [
        "5 x c (f:0, f:1, f:2, f:3, f:4)",  # as many as are kept: nothing is left out
        "2 x a (f:0, f:1)",
        "1 x b (f:0)",
    ]
    assert report.skips.lines() == []
