"""Owns forks: a function in a process of its own, within limits, and how that process ended. Linux only.

Importing PyTorch takes two seconds, so a test with hundreds of processes forks them from one that has it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from benchmarks.children import RSS_UNIT
from sunfish.cli import main
from sunfish.utils import log

LONGEST = 300.0  # seconds of a process that nobody kills


class Ended(NamedTuple):
    """How a process ended."""

    code: int  # the exit code, or minus the number of the signal that ended it
    stdout: str
    stderr: str
    grown_bytes: float  # its peak of resident memory above that of the process that forked it
    hung: bool = False  # it did not end in time, and was killed


class Fork:
    """A process that has begun; one of :meth:`wait` and :meth:`kill` must follow."""

    def __init__(self, function: Callable[[], int | None], spare_bytes: int = 0) -> None:
        """Fork.

        Args:
            function: What the process does; its result is the exit code, None counting as 0.
            spare_bytes: Address space that the process may add to what it begins with; 0: no limit.

        Raises:
            ValueError: The system is another one than Linux.
        """
        if sys.platform != "linux":
            raise ValueError(f"the system is {sys.platform}, but forks are watched on Linux only")
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._parent_bytes = _pages()[1] * resource.getpagesize()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        gc.freeze()  # its collector would touch, and so copy, every page that the two share
        self.pid = os.fork()
        if not self.pid:
            _child(function, [file.fileno() for file in self._files], spare_bytes)
        gc.unfreeze()

    def wait(self, seconds: float = LONGEST) -> Ended:
        """Wait for its end; what has not ended after ``seconds`` is killed with all that it has started."""
        ended = self.ends_within(seconds)
        if not ended:
            os.killpg(self.pid, signal.SIGKILL)
        return self._collect(hung=not ended)

    def kill(self) -> Ended:
        """End it with SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        return self._collect(hung=False)

    def ends_within(self, seconds: float) -> bool:
        """Whether it has ended before ``seconds`` are over."""
        descriptor = os.pidfd_open(self.pid)
        try:
            return bool(select.select([descriptor], [], [], seconds)[0])
        finally:
            os.close(descriptor)

    def _collect(self, hung: bool) -> Ended:
        _, status, usage = os.wait4(self.pid, 0)
        stdout, stderr = (_content(file) for file in self._files)
        grown = usage.ru_maxrss * RSS_UNIT - self._parent_bytes
        return Ended(os.waitstatus_to_exitcode(status), stdout, stderr, grown, hung)


def run_sunfish(words: Sequence[str], cwd: Path, seconds: float = LONGEST, spare_bytes: int = 0) -> Ended:
    """``sunfish WORDS`` in a process of its own.

    Args:
        words: The command line.
        cwd: Its working folder.
        seconds: How long it may take.
        spare_bytes: As :class:`Fork`.
    """
    return start_sunfish(words, cwd, spare_bytes).wait(seconds)


def start_sunfish(
    words: Sequence[str], cwd: Path, spare_bytes: int = 0, prepare: Callable[[], object] | None = None
) -> Fork:
    """As :func:`run_sunfish`, but it does not wait; ``prepare`` is called first, in the new process."""

    def command() -> int:
        os.chdir(cwd)
        if prepare is not None:
            prepare()
        return main(words)

    return Fork(command, spare_bytes)


def answer_of(function: Callable[[], Any]) -> Any:
    """What ``function`` returns in a process of its own, which must be JSON.

    Raises:
        RuntimeError: It failed; the message is its standard error.
    """
    ended = Fork(lambda: print(json.dumps(function()))).wait()
    if ended.code:
        raise RuntimeError(f"a check ended with {ended.code}: {ended.stderr}")
    return json.loads(ended.stdout)


@contextmanager
def scratch_folder(name: str, keep: bool) -> Iterator[Path]:
    """A new folder; it is deleted in the end, or kept and named on stderr."""
    folder = Path(tempfile.mkdtemp(prefix=f"sunfish-{name}-"))
    try:
        yield folder
    finally:
        if keep:
            log(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _child(function: Callable[[], int | None], outputs: list[int], spare_bytes: int) -> NoReturn:
    """Run ``function`` as the whole of this process."""
    code = 1
    try:
        os.setsid()  # the processes that it starts can be ended with it
        for number, descriptor in zip((0, 1, 2), (os.open(os.devnull, os.O_RDONLY), *outputs), strict=True):
            os.dup2(descriptor, number)
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            for number in (1, 2)
        )
        if spare_bytes:
            _limit_address_space(spare_bytes)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not outlive a fork
        code = function() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _content(file: IO[bytes]) -> str:
    """What a process wrote to ``file``, which is closed."""
    with file:
        file.seek(0)
        return file.read().decode("utf-8", errors="replace")


def _limit_address_space(spare_bytes: int) -> None:
    limit = _pages()[0] * resource.getpagesize() + spare_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _pages() -> tuple[int, int]:
    """The pages of this process: its address space, and those in memory."""
    size, resident, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return size, resident
