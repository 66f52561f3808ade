"""One process of a run that waits for orders on stdin: a number of steps, or ``link``; it answers in JSON lines.

``benchmarks.ranks`` starts it, once for each process of the run.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.children import RSS_UNIT
from benchmarks.sockets import sent_bytes
from sunfish.config import Config
from sunfish.hardware.device import clock
from sunfish.training.ranks import joined
from sunfish.training.trainer import Trainer

LINK = "link"
LINK_NUMBERS, LINK_ROUNDS = 2**22, 9


def taken(trainer: Trainer, count: int) -> dict[str, Any]:
    """Take ``count`` steps; what they took, and their losses."""
    trainer.ranks.wait()
    sent, begin, busy, before = sent_bytes(), clock(trainer.device), time.process_time(), trainer.tokens
    losses = [float(trainer.train_step()[0].total) for _ in range(count)]
    return {
        "seconds": clock(trainer.device) - begin,
        "cpu_seconds": time.process_time() - busy,
        "tokens": trainer.tokens - before,
        "losses": losses,
        "sent_bytes": sent_bytes() - sent,
        "peak_bytes": peak_bytes(trainer.device),
    }


def link() -> dict[str, float]:
    """Seconds that an all-reduce of one number takes, and of ``LINK_NUMBERS``: medians."""
    seconds = {}
    for count in (1, LINK_NUMBERS):
        numbers, times = torch.zeros(count), []
        for _ in range(LINK_ROUNDS):
            begin = time.perf_counter()
            dist.all_reduce(numbers)
            times.append(time.perf_counter() - begin)
        seconds[str(count)] = median(times)
    return seconds


def peak_bytes(device: torch.device) -> float:
    """The most memory that was in use: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * RSS_UNIT


def main() -> None:
    """Build the trainer that the first argument describes, then take steps until stdin ends."""
    config = Config.from_dict(json.loads(sys.argv[1]))
    with joined():
        trainer = Trainer(config)
        for line in sys.stdin:
            answer = link() if line.strip() == LINK else taken(trainer, int(line))
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
