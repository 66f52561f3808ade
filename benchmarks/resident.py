"""Owns the peaks of this process's resident memory, by kind; Linux only."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import TracebackType

SECONDS = 0.02  # between two looks
KINDS = ("VmRSS", "RssAnon", "RssFile")


class ResidentPeaks:
    """A context manager that looks at ``/proc/self/status`` until it ends.

    Attributes:
        peaks: The most bytes of each of ``KINDS``: all of them, memory of the process alone, pages of mapped files,
            which the system can drop.
    """

    def __init__(self) -> None:
        self.peaks = dict.fromkeys(KINDS, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ResidentPeaks:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            for name, size in re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text()):
                if name in self.peaks:
                    self.peaks[name] = max(self.peaks[name], int(size) * 1024)
            if self._ended.wait(SECONDS):
                return
