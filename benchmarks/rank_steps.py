"""One process of a run that waits for orders: a number of steps on stdin, what they took on stdout, as JSON lines.

``benchmarks.ranks`` starts it, once for each process of the run.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from benchmarks.children import RSS_UNIT
from sunfish.config import Config
from sunfish.training.ranks import joined
from sunfish.training.trainer import Trainer


def taken(trainer: Trainer, count: int) -> dict[str, Any]:
    """Take ``count`` steps; what they took, and their losses."""
    trainer.ranks.wait()
    begin, busy, before = time.perf_counter(), time.process_time(), trainer.tokens
    losses = [float(trainer.train_step()[0].total) for _ in range(count)]
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - busy,
        "tokens": trainer.tokens - before,
        "losses": losses,
        "peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * RSS_UNIT,
    }


def main() -> None:
    """Build the trainer that the first argument describes, then take steps until stdin ends."""
    config = Config.from_dict(json.loads(sys.argv[1]))
    with joined():
        trainer = Trainer(config)
        for line in sys.stdin:
            print(json.dumps(taken(trainer, int(line))), flush=True)


if __name__ == "__main__":
    main()
