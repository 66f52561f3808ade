"""Finds a process by its name: each file here says in ``PROCESSES`` how its processes are built."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable

from sunfish.config import ProcessConfig
from sunfish.config.rules import did_you_mean, shown
from sunfish.types import Process
from sunfish.utils import UsageError

SHARED = ("base", "schedules")  # what processes are made of
Builder = Callable[[ProcessConfig, int], Process]  # from the settings and mask_id


@functools.cache
def process_builders() -> dict[str, Builder]:
    """Every process by its name.

    Raises:
        ImportError: A file has no ``PROCESSES``, or two files name one process.
    """
    builders: dict[str, Builder] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name in SHARED:
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        if not hasattr(module, "PROCESSES"):
            raise ImportError(f"{module.__file__} has no PROCESSES; see docs/contributing.md")
        for name, build in module.PROCESSES.items():
            if name in builders:
                raise ImportError(
                    f"{module.__file__} names the process {name!r}, which exists; choose another name"
                )
            builders[name] = build
    return builders


def build_process(config: ProcessConfig, vocab_size: int) -> Process:
    """The process that ``config`` names, over ``vocab_size`` tokens.

    Raises:
        UsageError: There is no process of that name.
    """
    builders = process_builders()
    if config.process not in builders:
        near = did_you_mean(config.process, builders)
        raise UsageError(
            f"process is {shown(config.process)}; the processes are: {', '.join(builders)}{near}"
        )
    return builders[config.process](config, vocab_size)
