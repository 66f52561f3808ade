"""The forward processes, found by their names."""

from __future__ import annotations

from sunfish.config import ProcessConfig
from sunfish.processes.gaussian import GaussianProcess
from sunfish.processes.masked import MaskedProcess
from sunfish.processes.uniform import UniformProcess
from sunfish.types import Process

PROCESSES: dict[str, type[MaskedProcess] | type[UniformProcess] | type[GaussianProcess]] = {
    "masked": MaskedProcess,
    "uniform": UniformProcess,
    "gaussian": GaussianProcess,
}


def build_process(config: ProcessConfig) -> Process:
    """The process that ``config`` names; ``ValueError`` for a name that does not exist."""
    if config.process not in PROCESSES:
        raise ValueError(f"process is {config.process!r}; the processes are: {', '.join(PROCESSES)}")
    return PROCESSES[config.process].from_names(config.schedule)
