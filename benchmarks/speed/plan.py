"""The plan beside the run: predicted and measured memory of a process, and the rate of many from that of one.

    ./run.sh benchmarks/speed/plan.py --cases nano,8 tiny,16 small,4,recompute small,4,ddp,2 small,4,fsdp,2

A case is a size and the texts of a step, then what differs from one process without activation checkpointing: a
number of processes, ddp or fsdp, recompute. Texts fill the context. Each case is trained in processes of its own, on
one thread each. Memory is the largest resident size of the main process less that of a tiny run of the same kind, so
that only what the plan has a formula for is compared. The rate of a case is predicted from that of its size in one
process, with the processor seconds that its processes take in place of the wall clock: others may use the machine.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.frame import Benchmark, Run
from benchmarks.ranks import RankedRun, Steps
from benchmarks.smoke import SHAPE
from benchmarks.timing import ratio
from benchmarks.workload import NEVER, PROMPT_TOKENS, full_rows
from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.hardware.device import PRECISIONS
from sunfish.training.communication import Link, step_time
from sunfish.training.rank_memory import rank_memory
from sunfish.utils import UsageError

CASES = (
    *("nano,8", "nano,8,recompute", "nano,16,ddp,2", "tiny,16", "tiny,16,recompute", "tiny,16,fsdp,2"),
    *("small,4", "small,4,recompute", "small,4,ddp,2", "small,4,fsdp,2", "micro,1", "micro,2,ddp,2"),
    "micro,2,fsdp,2",
)
SMOKE_CASES = ("nano,2",)
TINY = {name: SHAPE[name] for name in ("vocab_size", "n_layer", "n_head", "n_embd", "context_length")}
FREE = Link(1e30, 0.0)  # processor seconds hold no waiting


class Case(NamedTuple):
    """A run that is measured."""

    size: str
    batch: int
    processes: int
    parallel: str
    recompute: bool

    @staticmethod
    def parse(text: str) -> Case:
        """What ``--cases`` names.

        Raises:
            UsageError: it names nothing.
        """
        match = re.fullmatch(r"(\w+),(\d+)(?:,(ddp|fsdp),(\d+))?(,recompute)?", text)
        if match is None:
            raise UsageError(f"case is {text!r}; write SIZE,TEXTS[,ddp|fsdp,PROCESSES][,recompute]")
        return Case(match[1], int(match[2]), int(match[4] or 1), match[3] or "ddp", bool(match[5]))

    def config(self, precision: str, **fields: Any) -> Config:
        """The run, on one thread a process."""
        return preset(self.size).with_fields(
            **{
                **dict(
                    batch_size=self.batch, parallel=self.parallel, activation_checkpointing=self.recompute
                ),
                **dict(device="cpu", threads=1, precision=precision, trackers=()),
                **dict(max_steps=NEVER, max_minutes=0.0),
                **fields,
            }
        )


def trained(config: Config, processes: int, steps: int) -> list[Steps]:
    """Warm up, then take ``steps`` steps on full rows; what these took in each process."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RankedRun(full_rows(config, Path(folder)), processes) as run,
    ):
        run.steps(steps)
        return run.steps(steps)


def predicted(config: Config, processes: int) -> float:
    """Bytes of the main process, but for what every process has."""
    dtype, length = PRECISIONS[config.training.precision], config.model.context_length
    memory = rank_memory(config, None, (length, PROMPT_TOKENS), dtype, processes=processes)
    return memory.total - memory.process


def measure(run: Run) -> None:
    """Train every case."""
    precision, steps = run.arguments.precision, 1 if run.smoke else run.arguments.steps
    run.header(PRECISIONS[precision], steps=steps)
    baselines: dict[tuple[int, str], float] = {}
    rates: dict[str, float] = {}
    for case in [Case.parse(text) for text in (SMOKE_CASES if run.smoke else run.arguments.cases)]:
        kind = (case.processes, case.parallel)
        if kind not in baselines:
            tiny = case._replace(size="nano", batch=case.processes, recompute=False).config(precision, **TINY)
            baselines[kind] = trained(tiny, case.processes, steps)[0].peak_bytes - predicted(
                tiny, case.processes
            )
        config = case.config(precision, **(TINY if run.smoke else {}))
        taken = trained(config, case.processes, steps)
        memory = taken[0].peak_bytes - baselines[kind]
        figures = {
            "predicted_mib": predicted(config, case.processes) / 2**20,
            "measured_mib": memory / 2**20,
            "memory_ratio": ratio(predicted(config, case.processes), memory),
        }
        run.add(case._asdict(), figures | _speed(config, case, taken, rates))


def _speed(
    config: Config, case: Case, taken: list[Steps], rates: dict[str, float]
) -> dict[str, float | None]:
    """Tokens a second of processor time of a process, predicted from the first case of its size and measured."""
    busy = max(steps.cpu_seconds for steps in taken) / len(taken[0].losses)
    length = config.model.context_length
    unit = step_time(config, case.processes, length, 1.0, FREE)
    rate = rates.setdefault(case.size, unit.compute / busy)
    tokens = config.training.batch_size * length
    return {
        "predicted_tokens_per_second": tokens / (unit.compute / rate),
        "tokens_per_second": tokens / busy,
        "speed_ratio": ratio(busy, unit.compute / rate),
        "step_seconds": taken[0].seconds / len(taken[0].losses),
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What is trained."""
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="see above")
    parser.add_argument("--steps", type=int, default=4, help="steps that are measured (%(default)s)")
    parser.add_argument("--precision", choices=sorted(PRECISIONS), default="float32", help="(%(default)s)")


benchmark = Benchmark(
    "speed/plan",
    __doc__,
    measure,
    claim="sunfish plan knows the memory of a process, and the rate of many from that of one, within 15%",
    peer="the run itself, in processes of its own",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
