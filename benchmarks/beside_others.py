"""What a training step costs while another program keeps one core busy, with the waiting of threads as SunFish sets it.

    ./run.sh benchmarks/beside_others.py --config tiny

The peer is the same step with OpenMP's own setting, alone and beside one endless loop. Each row is a process of its
own; the figure is the median step of the preset's own trainer, the ratio is to the peer in the same company.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from sunfish.hardware.cpu import SPINS

NEVER = 10**9


def one(config: str, seconds: float) -> float:
    """Median seconds of a step in this process."""
    from sunfish.config.presets import preset
    from sunfish.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            preset(
                config, name="beside", stories=2000, checkpoints=folder, data_folder=folder, trackers=(),
                max_minutes=0.0, max_steps=NEVER,
            )
        )  # fmt: skip
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(taken) < 8:
            begin = time.perf_counter()
            trainer.train_step()
            taken.append(time.perf_counter() - begin)
    return median(taken[4:])


def measured(config: str, seconds: float, spins: int | None, busy: bool) -> float:
    """The same in a new process whose threads wait ``spins`` turns (None: OpenMP's own), beside a loop if ``busy``."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    if spins is not None:
        environment["GOMP_SPINCOUNT"] = str(spins)
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        words = [sys.executable, __file__, "--config", config, "--seconds", str(seconds), "--one"]
        out = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    finally:
        if loop is not None:
            loop.kill()
            loop.wait()
    return float(out)


def main() -> None:
    """Parse, measure in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="tiny")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(one(arguments.config, arguments.seconds))
        return
    for busy in (False, True):
        peer, own = (measured(arguments.config, arguments.seconds, spins, busy) for spins in (None, SPINS))
        company = "beside a busy program" if busy else "alone"
        print(
            f"{arguments.config}, {company}: {1e3 * peer:.0f} ms a step with OpenMP's own waiting, "
            f"{1e3 * own:.0f} ms with {SPINS:,} turns; ratio {own / peer:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
