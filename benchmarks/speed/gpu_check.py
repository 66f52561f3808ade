"""All that a lent GPU is to show, in one script: agreement with the CPU, the rate of base, full sharded by FSDP2.

    ./run.sh benchmarks/speed/gpu_check.py
    ./run.sh benchmarks/speed/gpu_check.py --only rate sharded
    ./run.sh benchmarks/speed/gpu_check.py --cpu --config nano

1. agrees: tests/model/test_gpu_agrees.py, the losses, gradients and texts of a GPU beside those of the CPU.
2. rate: benchmarks/speed/training_rate.py of base, compiled; the aim is 45% of the matrix rate.
3. sharded: 20 steps of full, FSDP2 on one process with activation checkpointing; peak memory beside sunfish plan.

Each runs in a process of its own. On a machine without a GPU it refuses, and --cpu takes the same steps on the CPU, with
one size for both of the last two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.children import run_child
from benchmarks.frame import Benchmark, Run
from benchmarks.ranks import RankedRun
from benchmarks.results import ROOT
from benchmarks.smoke import SHAPE
from benchmarks.timing import ratio
from benchmarks.workload import NEVER, PROMPT_TOKENS, full_rows
from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset
from sunfish.hardware.device import choose_device, choose_precision
from sunfish.training.communication import assumed_link, step_time
from sunfish.training.rank_memory import rank_memory

STEPS = ("agrees", "rate", "sharded")
RATE_FIGURES = (
    "tokens_per_second",
    "milliseconds",
    "ratio",
    "ratio_without_attention",
    "peak_mib",
    "estimated_mib",
)
SHARDED_STEPS, WARM_UP = 20, 2


def measure(run: Run) -> None:
    """Take the steps, each in a process of its own."""
    on_cpu = run.arguments.cpu or run.smoke
    if not on_cpu and not torch.cuda.is_available():
        raise ValueError(
            "PyTorch sees no CUDA GPU, which is what is checked; --cpu takes the same steps on the CPU"
        )
    device = choose_device("cpu" if on_cpu else "cuda")
    dtype = torch.float32 if on_cpu else choose_precision("auto", device)
    run.header(dtype, *([] if on_cpu else [torch.cuda.get_device_name(device)]))
    for step in run.arguments.only:
        {"agrees": agrees, "rate": rate, "sharded": sharded}[step](run, device, dtype)


def agrees(run: Run, device: torch.device, dtype: torch.dtype) -> None:
    """Run the tests of agreement; without a GPU they are collected and skipped."""
    words = ["-m", "pytest", "-p", "no:cacheprovider", "tests/model/test_gpu_agrees.py"]
    begin = run.clock()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        run.exit_code = 1
        run.say(done.stdout[-2000:])
    summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-200:]
    run.say(f"agrees: {summary}")
    run.add({"step": "agrees"}, {"failed": float(done.returncode != 0), "seconds": run.clock() - begin})


def rate(run: Run, device: torch.device, dtype: torch.dtype) -> None:
    """Measure the rate of base, compiled; on the CPU of a small size, as it is."""
    size = run.arguments.config or "base"
    words = ["--config", size, "--device", device.type, "--json", "--no-record"]
    words += ["--compile"] if device.type == "cuda" else ["--rounds", "1", "--precision", "float32"]
    words += ["--smoke"] if run.smoke else []
    script = str(ROOT / "benchmarks" / "speed" / "training_rate.py")
    child = run_child([sys.executable, script, *words], cwd=ROOT)
    figures = json.loads(child.stdout)["results"][0]["figures"]
    run.add({"step": "rate", "size": size}, {name: figures[name] for name in RATE_FIGURES})


def sharded_config(run: Run, device: torch.device, dtype: torch.dtype) -> Config:
    """Full, sharded by FSDP2, its blocks computed again in the backward pass."""
    config = preset(
        run.arguments.config or "full",
        batch_size=run.arguments.batch,
        parallel="fsdp",
        activation_checkpointing=True,
        device=device.type,
        precision=str(dtype).removeprefix("torch."),
        threads=run.threads,
        trackers=(),
    )
    return config.with_fields(**{**(SHAPE if run.smoke else {}), "max_steps": NEVER, "max_minutes": 0.0})


def sharded(run: Run, device: torch.device, dtype: torch.dtype) -> None:
    """Train full for some steps, and put its peak beside the plan's."""
    config = sharded_config(run, device, dtype)
    length, steps = config.model.context_length, 1 if run.smoke else SHARDED_STEPS
    memory = rank_memory(config, None, (length, PROMPT_TOKENS), dtype, device)
    with tempfile.TemporaryDirectory() as folder, RankedRun(full_rows(config, Path(folder)), 1) as ranks:
        ranks.steps(WARM_UP)
        (taken,) = ranks.steps(steps)
    seconds = taken.seconds / steps
    unit = step_time(config, 1, length, 1.0, assumed_link(1))
    figures = {
        "tokens_per_second": config.training.batch_size * length / seconds,
        "tflop_per_second": unit.compute / seconds / 1e12,
        "last_loss": taken.losses[-1],
        "peak_mib": taken.peak_bytes / 2**20,
        "planned_mib": memory.total / 2**20,
        "memory_ratio": ratio(memory.total, taken.peak_bytes),
    }
    run.add({"step": "sharded", "size": config.training.name, "batch": config.training.batch_size}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What is checked."""
    parser.add_argument(
        "--only", nargs="+", choices=STEPS, default=list(STEPS), help="some of the steps (all)"
    )
    parser.add_argument("--config", choices=PRESETS, help="one size for the last two (base, full)")
    parser.add_argument("--batch", type=int, default=8, help="texts of a sharded step (%(default)s)")
    parser.add_argument("--cpu", action="store_true", help="take the same steps on the CPU")


benchmark = Benchmark(
    "speed/gpu_check",
    __doc__,
    measure,
    claim="a GPU agrees with the CPU, trains base at 45% of its matrix rate, and full in the memory that is planned",
    peer="the CPU, the GPU's own matrix products, and sunfish plan",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
