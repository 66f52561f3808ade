"""Owns the claim: under load a server loses no request, keeps its memory, and writes faster than one text at a time.

    ./run.sh benchmarks/robustness/serving_load.py checkpoints/small/last.ckpt --threads 1

A server of its own gets requests from several clients at once: texts, streams and gaps, and among them malformed ones,
oversized ones, and streams that their client leaves after the first event. A request is lost where its answer is none
that it should have: another status, or a stream without its end. Before that, the texts are asked for one at a time. A
text that is another one under load is counted as changed: shared passes round the last bits of a logit otherwise.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import checkpoint_path, run_name, story_prompts
from benchmarks.results import ROOT

REQUESTS, CLIENTS, TEXTS = 2000, 16, 40
SMOKE_REQUESTS, SMOKE_TEXTS = 40, 4
KINDS = {"text": 60, "stream": 15, "gap": 5, "malformed": 8, "oversized": 4, "abandoned": 8}  # percent
TOO_LARGE = 2**20 + 1  # bytes
SECONDS = 600.0  # until a request counts as lost
WARM_UP = 0.2  # share of the requests after which memory is looked at first
LISTENS = re.compile(r"serving .* at http://127\.0\.0\.1:(\d+)/v1")
JSON = {"Content-Type": "application/json"}


@dataclass
class Tally:
    """What came of all requests."""

    seconds: list[float] = field(default_factory=list)  # of whole texts
    texts: int = 0
    changed: int = 0
    lost: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def connect(self) -> http.client.HTTPConnection:
        """A connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and content of an answer."""
        with closing(self.connect()) as connection:
            connection.request("POST", "/v1/completions", body, JSON)
            response = connection.getresponse()
            return response.status, response.read()

    def metric(self, name: str) -> float:
        """A line of /metrics."""
        with closing(self.connect()) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def memory(self) -> float:
        """Resident memory, MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def serving(checkpoint: Path, threads: int, clients: int) -> Iterator[Server]:
    """A server of ``checkpoint`` on a free port."""
    words = [sys.executable, "-m", "sunfish", "serve", str(checkpoint), "--port", "0"]
    words += ["--max-running", str(clients)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = LISTENS.match(line)
        if found is None:
            process.kill()
            raise RuntimeError(f"the server did not start: {line.strip()}")
        try:
            yield Server(process, int(found[1]))
        finally:
            process.terminate()


def text_body(prompt: str, seed: int, **fields: Any) -> bytes:
    """A request for a text."""
    return json.dumps({"prompt": prompt, "seed": seed, **fields}).encode()


class Load:
    """The requests, and what each should have for an answer."""

    def __init__(self, server: Server, prompts: list[str], seed: int) -> None:
        """``seed``: of which requests come in what order."""
        self.server, self.prompts, self.dice = server, prompts, random.Random(seed)
        self.expected: dict[int, str] = {}

    def alone(self) -> list[float]:
        """Ask for each text once, one at a time; the seconds of each."""
        seconds = []
        for number, prompt in enumerate(self.prompts):
            begin = time.monotonic()
            status, content = self.server.post(text_body(prompt, number))
            seconds.append(time.monotonic() - begin)
            if status != 200:
                raise RuntimeError(f"a text alone was answered with {status}: {content[:200]!r}")
            self.expected[number] = json.loads(content)["choices"][0]["text"]
        return seconds

    def plan(self, count: int) -> Iterator[tuple[str, int]]:
        """Kinds of requests, each with the number of a prompt."""
        kinds = self.dice.choices(list(KINDS), list(KINDS.values()), k=count)
        return ((kind, self.dice.randrange(len(self.prompts))) for kind in kinds)

    def ask(self, kind: str, number: int, tally: Tally) -> str:
        """Make one request; what is wrong with its answer, or ""."""
        prompt = self.prompts[number]
        begin = time.monotonic()
        if kind in ("stream", "abandoned"):
            return self._stream(text_body(prompt, number, stream=True), number, kind == "abandoned", tally)
        body = {
            "text": text_body(prompt, number),
            "gap": json.dumps({"text": "One day [MASK:1-4] ran home.", "seed": number}).encode(),
            "malformed": self.dice.choice((b"{", b'{"top_p": 2}', b'{"echo": true}', b'{"n": "x"}', b"[]")),
            "oversized": b" " * TOO_LARGE,
        }[kind]
        status, content = self.server.post(body)
        wanted = {"malformed": 400, "oversized": 413}.get(kind, 200)
        if status != wanted:
            return f"status {status} in place of {wanted}: {content[:100]!r}"
        if kind == "gap":
            with tally.lock:
                tally.texts += 1
        if kind != "text":
            return ""
        with tally.lock:
            tally.seconds.append(time.monotonic() - begin)
        self._compare(json.loads(content)["choices"][0]["text"], number, tally)
        return ""

    def _compare(self, text: str, number: int, tally: Tally) -> None:
        with tally.lock:
            tally.texts += 1
            tally.changed += text != self.expected[number]

    def _stream(self, body: bytes, number: int, leaves: bool, tally: Tally) -> str:
        with closing(self.server.connect()) as connection:
            connection.request("POST", "/v1/completions", body, JSON)
            response = connection.getresponse()
            if response.status != 200:
                return f"status {response.status}"
            if leaves:
                response.readline()
                return ""
            events = response.read().decode().split("\n\n")
        if events[-2:] != ["data: [DONE]", ""]:
            return "a stream without its end"
        chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        self._compare("".join(chunk["choices"][0]["text"] for chunk in chunks), number, tally)
        return ""


def together(load: Load, count: int, clients: int) -> tuple[Tally, list[float]]:
    """All requests by several clients, and the server's memory after each."""
    tally, memory, plan, lock = Tally(), list[float](), load.plan(count), threading.Lock()

    def client() -> None:
        while True:
            with lock:
                kind, number = next(plan, ("", 0))
            if not kind:
                return
            try:
                fault = load.ask(kind, number, tally)
            except (OSError, http.client.HTTPException, ValueError) as why:
                fault = f"{type(why).__name__}: {why}"
            with lock:
                memory.append(load.server.memory())
                if fault:
                    tally.lost.append(f"{kind}: {fault}")

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally, memory


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What is served, and how much is asked of it."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint folder")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests in all (%(default)s)")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="that ask at once (%(default)s)")
    parser.add_argument("--texts", type=int, default=TEXTS, help="different texts (%(default)s)")


def measure(run: Run) -> None:
    """Ask alone, then together."""
    checkpoint, arguments = checkpoint_path(run), run.arguments
    count = SMOKE_REQUESTS if run.smoke else arguments.requests
    prompts = story_prompts(SMOKE_TEXTS if run.smoke else arguments.texts)
    run.header(torch.float32, model=run_name(checkpoint), requests=count, clients=arguments.clients)
    with serving(checkpoint, run.threads, arguments.clients) as server:
        load = Load(server, prompts, run.seed)
        load.alone()  # the first time, the server warms up
        alone = load.alone()
        begin = run.clock()
        tally, memory = together(load, count, arguments.clients)
        seconds = run.clock() - begin
        canceled = server.metric('sunfish_jobs_ended_total{how="canceled"}')
    for fault in sorted(set(tally.lost)):
        run.say(f"lost {tally.lost.count(fault)}: {fault}")
    rate, rate_alone = tally.texts / seconds, len(alone) / sum(alone)
    early = memory[int(WARM_UP * len(memory))]
    run.add(
        {},
        {
            "lost": float(len(tally.lost)),
            "changed": float(tally.changed),
            "texts_per_second": rate,
            "texts_per_second_alone": rate_alone,
            "ratio": rate / rate_alone,
            "seconds_p50": median(tally.seconds),
            "seconds_p95": quantiles(tally.seconds, n=20)[-1],
            "seconds_alone_p50": median(alone),
            "memory_mib_early": early,
            "memory_mib_late": memory[-1],
            "canceled": canceled,
        },
    )
    if tally.lost:
        run.exit_code = 1


benchmark = Benchmark(
    "robustness/serving_load",
    __doc__,
    measure,
    claim="a server under load loses no request and keeps its memory",
    peer="the same server, asked for one text at a time",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
