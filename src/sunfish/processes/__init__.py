"""The forward processes, found by their names."""

from __future__ import annotations

from collections.abc import Callable

from sunfish.config import ProcessConfig
from sunfish.processes.gaussian import GaussianProcess
from sunfish.processes.masked import MaskedProcess
from sunfish.processes.mixed import MixedProcess
from sunfish.processes.schedules import get_schedule
from sunfish.types import Process

PROCESSES: dict[str, Callable[[ProcessConfig], Process]] = {
    "masked": lambda config: MaskedProcess(get_schedule(config.schedule)),
    "uniform": lambda config: MixedProcess(get_schedule(config.schedule)),
    "mixed": lambda config: MixedProcess(get_schedule(config.schedule), config.uniform_share),
    "gaussian": lambda config: GaussianProcess(get_schedule(config.schedule)),
}


def build_process(config: ProcessConfig) -> Process:
    """The process that ``config`` names; ``ValueError`` for a name that does not exist."""
    if config.process not in PROCESSES:
        raise ValueError(f"process is {config.process!r}; the processes are: {', '.join(PROCESSES)}")
    return PROCESSES[config.process](config)
