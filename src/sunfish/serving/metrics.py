"""What a server has done, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sunfish.serving.engine import Engine

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)  # limits of the histogram
CLIENT_LEFT = 499  # what is counted where a client has not waited for a status


class EngineCollector(Collector):
    """What the engine says of itself when it is asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def collect(self) -> Iterator[Metric]:
        """Jobs by their state, and passes through the network."""
        stats = self.engine.stats()
        jobs = GaugeMetricFamily("sunfish_jobs", "Texts that are written or wait.", labels=["state"])
        jobs.add_metric(["running"], stats.running)
        jobs.add_metric(["waiting"], stats.waiting)
        yield jobs
        ended = CounterMetricFamily("sunfish_jobs_ended", "Texts by how they ended.", labels=["how"])
        for how in ("finished", "failed", "canceled"):
            ended.add_metric([how], getattr(stats, how))
        yield ended
        yield CounterMetricFamily("sunfish_passes", "Passes through the network.", value=stats.passes)
        yield CounterMetricFamily("sunfish_pass_rows", "Rows of all passes.", value=stats.rows)


class Metrics:
    """The counters of one server."""

    def __init__(self, engine: Engine) -> None:
        """Count for a server on ``engine``."""
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(engine))
        self.requests = Counter(
            "sunfish_requests", "Requests by path and status.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "sunfish_request_seconds",
            "Until the last byte.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "sunfish_tokens", "Tokens that were read and written.", ["kind"], registry=self.registry
        )

    def count_tokens(self, prompt: int, completion: int) -> None:
        """Add the tokens of an answer."""
        self.tokens.labels("prompt").inc(prompt)
        self.tokens.labels("completion").inc(completion)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self.registry)


class CountRequests:
    """Counts requests, how they end and how long they take."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note the status."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.monotonic(), CLIENT_LEFT

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            path = getattr(scope.get("route"), "path", "other")  # not what a client calls it: labels are kept
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - begin)
