"""The processes of a run: which one this is, how they meet, and what they agree on. Without several, no torch."""

from __future__ import annotations

import gc
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sunfish.training.rendezvous import store_of_attempt
from sunfish.utils import Stderr, UsageError

if TYPE_CHECKING:
    from torch import Tensor

# Others wait as long while one prepares the corpus, validates or saves; then they end.
TIMEOUT = timedelta(minutes=30)
# Rank, number of processes, rank on this machine: as torchrun and srun name them.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
)
# What PyTorch's errors say when another process has left, or is silent.
LOST = re.compile(
    r"gloo|connection (closed|reset|refused)|broken pipe|timed? ?out|NCCL|recvValue", re.IGNORECASE
)


class RankLost(ValueError):
    """Another process of the run has ended or does not answer."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local: its number on its machine, which is that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @staticmethod
    def launched(environment: Mapping[str, str]) -> Ranks:
        """The place that ``torchrun`` or ``srun`` gives this process in its environment; alone without them.

        Raises:
            UsageError: a variable holds no number, or the rank is not below the number of processes.
        """
        for names in LAUNCHERS:
            if names[0] in environment and names[1] in environment:
                rank, size = (_number(environment, name) for name in names[:2])
                if rank >= size:
                    raise UsageError(f"{names[0]} is {rank}, but {names[1]} is {size}; ranks count from 0")
                return Ranks(rank, size, _number(environment, names[2]) if names[2] in environment else rank)
        return Ranks()

    @staticmethod
    def current() -> Ranks:
        """This process among those that :func:`joined` has brought together."""
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            return Ranks(dist.get_rank(), dist.get_world_size(), _number(os.environ, "LOCAL_RANK", 0))
        return Ranks()

    @property
    def is_main(self) -> bool:
        """Whether this process reports, validates and saves."""
        return self.rank == 0

    def maximum(self, *numbers: float) -> list[float]:
        """The largest of each number over all processes, which wait for each other here."""
        if self.size == 1:
            return list(numbers)
        import torch
        import torch.distributed as dist

        shared = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return list(shared.tolist())

    def of_main(self, number: float) -> float:
        """The ``number`` of the main process, which is not negative."""
        return self.maximum(number if self.is_main else 0.0)[0]

    def sum(self, numbers: Tensor) -> Tensor:
        """``numbers`` added up over all processes, in place."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(numbers)
        return numbers

    def wait(self) -> None:
        """Wait until every process is here."""
        self.maximum(0.0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process through first; the others find what it has written."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name, default)
    if value is None or not str(value).isdecimal():
        raise UsageError(
            f"{name} is {value!r}, but it is the number of a process; leave it to torchrun or srun"
        )
    return int(value)


@contextmanager
def joined() -> Iterator[Ranks]:
    """Meet the other processes that ``torchrun`` or ``srun`` has started, if any; yields this one's place.

    Until an error, only the main process writes a log.

    Raises:
        UsageError: the environment does not say where to meet.
        RankLost: another process has ended, or has not answered for ``TIMEOUT``.
    """
    ranks = Ranks.launched(os.environ)
    if ranks.size == 1:
        yield ranks
        return
    # PyTorch's advice on parameters that take part in every step; which do depends on the settings.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    Stderr.silent = not ranks.is_main
    try:
        _meet(ranks)
        yield ranks
    except BaseException as why:
        is_lost = _is_loss(why) or _is_loss(
            why.__context__
        )  # torchrun also ends those who notice it by a signal
        if hasattr(why, "signum") and not is_lost:  # it ends them all, and the main process says so
            traceback.clear_frames(why.__traceback__)
            _part()
            raise
        Stderr.silent, Stderr.speaker = False, f"rank {ranks.rank}: "
        if is_lost:
            minutes = TIMEOUT.total_seconds() / 60
            raise RankLost(
                f"another process of this run has ended, or was silent for {minutes:.0f} minutes; its own line says why"
            ) from why
        raise
    _part()


def _is_loss(error: BaseException | None) -> bool:
    """Whether it is what PyTorch says when another process does not answer."""
    return isinstance(error, RuntimeError) and LOST.search(str(error)) is not None


def _meet(ranks: Ranks) -> None:
    """Start PyTorch's process group; numbers on a GPU go through NCCL, those in memory through Gloo."""
    import torch
    import torch.distributed as dist
    import torch.distributed.nn  # imported later, its default arguments would keep the process group alive

    if ranks.local >= torch.cuda.device_count() > 0:
        raise ValueError(
            f"rank {ranks.rank} is number {ranks.local} on its machine, which has {torch.cuda.device_count()} GPUs; "
            "start one process for each GPU"
        )
    address, port = meeting_place(os.environ)
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=port, LOCAL_RANK=str(ranks.local))
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(ranks.local)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=store_of_attempt(os.environ, ranks.rank, ranks.size, TIMEOUT),
        rank=ranks.rank,
        world_size=ranks.size,
        timeout=TIMEOUT,
    )


def _part() -> None:
    """Leave the others, when the threads that spoke with them have ended.

    Each of Gloo's threads lets go of a tensor after the call that waited for it has returned; one that does so while
    Python shuts down aborts the process (pytorch#179291). So everything that holds the process group goes first, the
    caches of DTensor included: its destructor waits for the threads.
    """
    import torch.distributed as dist

    dist.destroy_process_group()
    if "torch.distributed.tensor" in sys.modules:
        from sunfish.training.sharding import forget_meshes

        forget_meshes()
    gc.collect()


def meeting_place(environment: Mapping[str, str]) -> tuple[str, str]:
    """The address and the port at which the processes meet; without torchrun, on the first machine of a SLURM job.

    Raises:
        UsageError: there are none.
    """
    if "MASTER_ADDR" in environment and "MASTER_PORT" in environment:
        return environment["MASTER_ADDR"], environment["MASTER_PORT"]
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    first = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    job = environment.get("SLURM_JOB_ID", "")
    if first is None or not job.isdecimal():
        raise UsageError("MASTER_ADDR and MASTER_PORT are not set; start the processes with torchrun or srun")
    return f"{first[1]}{first[2] or ''}", str(
        15000 + int(job) % 15000
    )  # jobs on one machine do not share a port
