"""Prepares ever larger corpora, and trains on one of 20 GB, and prints how much memory each takes.

    ./run.sh benchmarks/robustness/large_corpus.py
    ./run.sh benchmarks/robustness/large_corpus.py --megabytes 50 200 800 --gigabytes 20

Texts are made up while they are read, so nothing of a source is stored. The corpus of the training run repeats a
small one; ids beyond it are holes of a file, which take no room on the disk but as much memory as others when they are
read. Each run is a process of its own with one worker. Peaks of /proc/self/status every 20 ms: memory of the process
alone (anonymous), and all that is resident, which counts pages of files that are mapped or of libraries. The system can
drop the latter at any time, so the former is what a machine must have.

"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.children import run_child
from benchmarks.frame import Benchmark, Run
from benchmarks.resident import ResidentPeaks
from benchmarks.results import ROOT
from benchmarks.synthetic import SyntheticSource, inflate
from sunfish.config import Config
from sunfish.config.presets import preset

LIMIT = 1_500_000_000  # bytes
MODEL, STEPS, BATCHES = "nano", 50, 20_000
REPEATED_BYTES = 4_000_000  # of the corpus that is repeated
SMOKE_BYTES = 200_000
SMOKE = {"megabytes": [0.2, 0.4], "gigabytes": 0.01, "steps": 1, "batches": 20}


def config_of(folder: Path, stories: int) -> Config:
    """A run in ``folder`` of as many stories, by which its corpus is named."""
    return preset(
        MODEL,
        stories=stories,
        data_folder=str(folder),
        checkpoints=str(folder / "runs"),
        device="cpu",
        threads=1,
        max_minutes=0.0,
        trackers=(),
    )


def prepare_synthetic(folder: Path, size: int) -> None:
    """Prepare a corpus of so many bytes of text."""
    from sunfish.data.prepare.prepare import prepare

    prepare(SyntheticSource(size), config_of(folder, size), lambda *_: None, workers=1)


def train_inflated(folder: Path, size: int, steps: int) -> None:
    """Train on a prepared corpus of so many bytes."""
    from sunfish import train

    train(config_of(folder, size).with_fields(max_steps=steps))


def read_inflated(folder: Path, size: int, batches: int) -> None:
    """Read the batches of a prepared corpus, with no network between them."""
    from benchmarks.workload import prepared_corpus, train_batches

    loader = train_batches(prepared_corpus(config_of(folder, size)), 32, 0)
    for step in range(batches):
        loader.batch(step)


WORK: dict[str, Callable[..., None]] = {
    "prepare": prepare_synthetic,
    "train": train_inflated,
    "read": read_inflated,
}


def child_main(words: list[str]) -> None:
    """Do one piece of work and print the peaks of this process."""
    kind, folder, *numbers = words
    with ResidentPeaks() as resident:
        WORK[kind](Path(folder), *map(int, numbers))
    print(json.dumps(resident.peaks))


def peaks_of(run: Run, kind: str, folder: Path, *numbers: int) -> dict[str, float | None]:
    """The figures of one process."""
    words = [sys.executable, "-m", "benchmarks.robustness.large_corpus", "--child", kind, str(folder)]
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    child = run_child([*words, *map(str, numbers)], env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
    peaks = json.loads(child.stdout.splitlines()[-1])
    figures = {"anonymous_mb": peaks["RssAnon"] / 1e6, "resident_mb": peaks["VmRSS"] / 1e6}
    if peaks["VmRSS"] > LIMIT:
        run.exit_code = 1
    return {**figures, "seconds": child.seconds}


def measure(run: Run) -> None:
    """Prepare at each size, then train and read."""
    asked = {name: SMOKE[name] if run.smoke else getattr(run.arguments, name) for name in SMOKE}
    run.header(torch.float32, f"a fault: more than {LIMIT / 1e9} GB resident", model=MODEL)
    with tempfile.TemporaryDirectory(dir=run.arguments.folder) as name:
        measure_preparation(run, Path(name), asked["megabytes"], asked["gigabytes"])
        measure_training(run, Path(name), asked["gigabytes"], asked["steps"], asked["batches"])


def measure_preparation(run: Run, folder: Path, sizes: list[float], target: float) -> None:
    """Peaks over sizes, their slopes, and the line at the target in GB."""
    kinds = ("anonymous_mb", "resident_mb")
    peaks: list[list[float]] = []
    for number, size in enumerate(sizes):
        figures = peaks_of(run, "prepare", folder / f"prepare{number}", int(size * 1e6))
        run.add({"what": "prepare", "gigabytes": size / 1000}, figures)
        peaks.append([float(figures[kind] or 0) for kind in kinds])
    slopes, starts = np.polyfit(np.array(sizes) / 1000, np.array(peaks), 1)
    figures = {f"{kind}_per_gb": float(slope) for kind, slope in zip(kinds, slopes, strict=True)}
    for kind, slope, start in zip(kinds, slopes, starts, strict=True):
        figures[f"{kind}_extrapolated"] = float(start + slope * target)
    run.add({"what": "line", "gigabytes": target}, figures)
    if figures["resident_mb_extrapolated"] * 1e6 > LIMIT and not run.smoke:
        run.exit_code = 1


def measure_training(run: Run, folder: Path, gigabytes: float, steps: int, batches: int) -> None:
    """Peaks of a small corpus and of one that repeats it to the size."""
    from sunfish.data.prepare.prepare import prepare

    repeated, target = SMOKE_BYTES if run.smoke else REPEATED_BYTES, int(gigabytes * 1e9)
    for size in [target] if run.smoke else [2 * repeated, target]:
        place = folder / f"train{size}"
        config = config_of(place, size)
        small = prepare(SyntheticSource(repeated), config, lambda *_: None, workers=1)
        rows = inflate(small.folder, config, size)
        for kind, count in (("train", steps), ("read", batches)):
            figures = peaks_of(run, kind, place, size, count)
            run.add({"what": kind, "gigabytes": size / 1e9}, {**figures, "rows": float(rows)})


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How large."""
    parser.add_argument(
        "--megabytes",
        type=float,
        nargs="+",
        default=[50.0, 150.0, 450.0],
        help="that are prepared (%(default)s)",
    )
    parser.add_argument(
        "--gigabytes",
        type=float,
        default=20.0,
        help="that are trained on; the line is drawn to it (%(default)s)",
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="of training (%(default)s)")
    parser.add_argument("--batches", type=int, default=BATCHES, help="that are only read (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="where the corpora lie meanwhile (that of temporary files)"
    )


benchmark = Benchmark(
    "robustness/large_corpus",
    __doc__,
    measure,
    claim="preparing and training take less than 1.5 GB, however large the corpus is",
    peer="the same work on a corpus of a few megabytes",
    add_flags=add_flags,
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child_main(sys.argv[2:])
    else:
        sys.exit(benchmark.main())
