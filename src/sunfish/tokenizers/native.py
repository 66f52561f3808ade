"""Owns how the native tokenizers library is called: Ctrl-C ends a long call, and its panics are errors."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")

POLL_SECONDS = 0.1  # between two looks at signals; a call that ends is noticed at once
MAX_MESSAGE_CHARACTERS = 200


class NativeError(Exception):
    """What the library raised, in one line."""


class NativePanic(NativeError):
    """The library broke down, which no text and no file should make it do."""


def interruptible(call: Callable[[], Result]) -> Result:
    """The result of ``call``; a signal's exception leaves the call behind.

    Native code sees no signals but lets other threads run, so it gets a thread of its own while this one waits.

    Args:
        call: Without arguments. After an interruption it runs on unobserved, and the program exits without it.

    Raises:
        BaseException: What ``call`` raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    ended = threading.Event()  # join would mark the thread as stopped when a signal interrupts it

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # handed to the thread that waits
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        while not ended.wait(POLL_SECONDS):
            pass
    except BaseException as stop:
        atexit.register(_exit_unless, ended, 128 + int(getattr(stop, "signum", signal.SIGINT)))
        raise
    if errors:
        raise errors[0]
    return results[0]


def _exit_unless(ended: threading.Event, code: int) -> None:
    """End the process at once where the call still runs: the interpreter's own end waits seconds for the library."""
    if not ended.is_set():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, or its reader has left
                stream.flush()
        os._exit(code)


def guarded(call: Callable[[], Result]) -> Result:
    """The result of ``call``, a call into the library.

    Raises:
        NativeError: The library failed; it raises bare ``Exception``.
        NativePanic: It broke down; its own panics are no ``Exception``.
    """
    try:
        return call()
    except BaseException as error:
        panic = type(error).__name__ == "PanicException"
        if not panic and not isinstance(error, Exception):
            raise
        message = " ".join(str(error).split())[:MAX_MESSAGE_CHARACTERS]
        raise (NativePanic if panic else NativeError)(message) from error
