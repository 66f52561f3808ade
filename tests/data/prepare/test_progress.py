"""Plain lines of a preparation's progress, by a clock that is given."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sunfish.data.prepare import progress
from sunfish.data.prepare.progress import LINE_INTERVAL_SECONDS, show_progress

CALLS = [  # seconds since the start, stage, done, in all; the line, if there is one
    (0.0, "reading", 0, None, "reading: 0 documents"),
    (1.0, "reading", 1_000, None, None),
    (LINE_INTERVAL_SECONDS - 0.1, "reading", 2_000, None, None),
    (LINE_INTERVAL_SECONDS, "reading", 3_000, None, "reading: 3,000 documents"),
    (LINE_INTERVAL_SECONDS + 4.9, "reading", 4_000, None, None),
    (11.0, "encoding", 10, 5_000, "encoding: 10 of 5,000 documents"),
    (12.0, "encoding", 4_999, 5_000, None),
    (12.5, "encoding", 5_000, 5_000, "encoding: 5,000 of 5,000 documents"),
    (17.4, "encoding", 20, 5_000, None),
    (17.5, "encoding", 21, 5_000, "encoding: 21 of 5,000 documents"),
]


def test_a_line_for_each_stage_its_end_and_every_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with show_progress() as show:
        for seconds, stage, done, total, line in CALLS:
            now[0] = 100.0 + seconds
            show(stage, done, total)
            assert capsys.readouterr().err == (f"{line}\n" if line else "")
