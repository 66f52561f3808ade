"""What a server says of itself to Prometheus, of an engine whose figures are given."""

from __future__ import annotations

from types import SimpleNamespace

from sunfish.serving.engine import EngineStats
from sunfish.serving.metrics import Metrics


def test_the_figures_are_those_of_the_engine_when_it_is_asked() -> None:
    stats = [EngineStats(1, 2, 3, 4, 5, 6, 7, 8), EngineStats(9, 0, 13, 4, 5, 16, 17, 18)]
    engine = SimpleNamespace(stats=lambda: stats[0])
    metrics = Metrics(engine)  # type: ignore[arg-type]
    metrics.count_tokens(20, 30)
    metrics.count_tokens(1, 2)
    for running, passes in ((1, 6), (9, 16)):
        lines = metrics.text().decode().splitlines()
        assert f'sunfish_jobs{{state="running"}} {running}.0' in lines
        assert f'sunfish_jobs{{state="waiting"}} {stats[0].waiting}.0' in lines
        for how in ("finished", "failed", "canceled"):
            assert f'sunfish_jobs_ended_total{{how="{how}"}} {getattr(stats[0], how)}.0' in lines
        assert f"sunfish_passes_total {passes}.0" in lines
        assert f"sunfish_pass_rows_total {stats[0].rows}.0" in lines
        assert 'sunfish_tokens_total{kind="prompt"} 21.0' in lines
        assert 'sunfish_tokens_total{kind="completion"} 32.0' in lines
        stats.reverse()
