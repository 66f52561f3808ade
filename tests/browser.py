"""A headless Chromium, where there is one."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# No sandbox, since tests often run as root; nothing that asks for hosts beyond this machine.
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def skip(reason: str) -> NoReturn:
    """Skip the tests that need what is missing, and say at the end of the suite that it was done."""
    warnings.warn(reason, stacklevel=2)
    pytest.skip(reason)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The one that SUNFISH_BROWSER names, or one on the path."""
    path = os.environ.get("SUNFISH_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        skip("no Chromium was found, so pages are NOT tested; install one (apt-get install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()
