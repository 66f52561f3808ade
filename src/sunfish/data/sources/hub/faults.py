"""Owns what can go wrong with a data set on the hub, in one line that names it."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sunfish.data.sources.hub.address import Address
from sunfish.data.sources.hub.transfer import TransferError, Transfers
from sunfish.hub import Unreachable, hub_errors
from sunfish.utils import UsageError, how_to_install

LIBRARIES = ("datasets", "huggingface_hub")


def require_datasets() -> None:
    """Refuse to continue without the extra.

    Raises:
        ImportError: Says how to install it.
    """
    if any(importlib.util.find_spec(library) is None for library in LIBRARIES):
        raise ImportError(f"reading data sets of the hub needs an extra: {how_to_install('hf')}")


@contextmanager
def reading(address: Address, transfers: Transfers, place: Callable[[], str]) -> Iterator[None]:
    """Let the libraries read patiently and quietly, and explain what they raise.

    Args:
        address: The data set.
        transfers: Its requests.
        place: Says what is being read.

    Raises:
        Unreachable: The hub does not answer.
        ValueError: It refuses, the transfer fails, or the files cannot be read.
    """
    with transfers.running(), _quiet():
        try:
            yield
        except UsageError:
            raise
        except Exception as why:
            raise _explained(why, address, place()) from why


def _explained(error: Exception, address: Address, place: str) -> Exception:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    for cause in _causes(error):
        if isinstance(cause, TransferError):
            kind = Unreachable if cause.is_unreachable else ValueError
            return kind(f"{address}: {cause}")
        if isinstance(cause, HfHubHTTPError | OfflineModeIsEnabled):
            try:
                with hub_errors(f"datasets/{address.repository}"):
                    raise cause
            except ValueError as explained:
                return explained
    if (isinstance(error, OSError) and error.errno is not None) or isinstance(error, MemoryError):
        return error
    first = (str(error).splitlines() or [""])[0]
    return ValueError(f"{address}: {place} cannot be read ({type(error).__name__}: {first:.200})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and all that led to it; the libraries wrap what they meet."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


@contextmanager
def _quiet() -> Iterator[None]:
    """No lines and bars of the libraries: what matters of them is said in words of this program."""
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    loggers = [logging.getLogger(library) for library in LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
