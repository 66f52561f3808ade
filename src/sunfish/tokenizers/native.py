"""Owns how the native tokenizers library is called: Ctrl-C ends a long call, and its panics are errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

POLL_SECONDS = 0.1  # between two looks at signals; a call that ends is noticed at once
MAX_MESSAGE_CHARACTERS = 200


class NativeError(Exception):
    """What the library raised, in one line."""


def interruptible(call: Callable[[], Result]) -> Result:
    """The result of ``call``; a signal's exception leaves the call behind.

    Native code sees no signals but lets other threads run, so it gets a thread of its own while this one waits.

    Args:
        call: Without arguments. After an interruption it ends unobserved, with the process at the latest.

    Raises:
        BaseException: What ``call`` raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # handed to the thread that waits
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
    if errors:
        raise errors[0]
    return results[0]


def guarded(call: Callable[[], Result]) -> Result:
    """The result of ``call``, a call into the library.

    Raises:
        NativeError: The library failed; its panics are no ``Exception``, and it raises bare ones besides.
    """
    try:
        return call()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        message = " ".join(str(error).split())
        raise NativeError(message[:MAX_MESSAGE_CHARACTERS]) from error
