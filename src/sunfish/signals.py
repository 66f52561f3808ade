"""The signals that ask a program to end: which they are, and who handles them. Imports no torch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A person, an operating system, a terminal that closes, a batch system before it takes the machine away.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING: tuple[signal.Signals, ...] = tuple(getattr(signal, n) for n in NAMES if hasattr(signal, n))


class Interrupted(KeyboardInterrupt):
    """A signal ended the work at once. ``signum`` gives the exit code; no ``except Exception`` stops it."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message or f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def interrupt(signum: int, frame: object) -> None:
    """A handler that ends the program through its ``finally`` clauses.

    Raises:
        Interrupted: always.
    """
    raise Interrupted(signum)


@contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[bool]:
    """Let ``handler`` take the stopping signals, and restore their handlers at the end.

    A signal that was ignored at the start stays ignored, as ``nohup`` wants it; SIGINT is the exception,
    because shells ignore it for every job in the background. A handler that was not installed from Python
    stays in place: Python could not restore it.

    Yields:
        Whether the signals are handled. Only the main thread may do so.
    """
    before: dict[signal.Signals, Any] = {}
    is_main = True
    try:
        for signum in STOPPING:
            old = signal.getsignal(signum)
            if old is not None and (old != signal.SIG_IGN or signum == signal.SIGINT):
                before[signum] = signal.signal(signum, handler)
    except ValueError:  # not the main thread
        is_main = False
    try:
        yield is_main
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)
