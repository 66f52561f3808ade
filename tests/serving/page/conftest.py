"""A served tiny model of stories, and a headless Chromium that looks at it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.server import open_socket, server_of
from sunfish.serving.service import Service
from tests.browser import chromium
from tests.tiny_checkpoint import write_checkpoint

ALL_IS_SHOWN = "main:not([aria-busy]) .word"
OpenPage = Callable[..., Page]
ServeAt = Callable[..., str]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a moment: it has words, if no stories."""
    return write_checkpoint(tmp_path_factory.mktemp("page") / "run" / "step-0000020", steps=20)


@pytest.fixture(scope="session")
def pipeline(checkpoint: Path) -> Pipeline:
    """Not to be changed by a test."""
    return Pipeline.from_checkpoint(checkpoint)


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """The address of a server on a free port."""
    with open_socket("127.0.0.1", 0) as listener:
        server = server_of(service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(pipeline: Pipeline) -> Iterator[str]:
    """Of a server without a token and without a run."""
    with serving(Service(pipeline, "tiny")) as at:
        yield at


@pytest.fixture(scope="module")  # while it runs, no other module can have an event loop of its own
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages, which must not complain while they are looked at."""
    complaints: list[str] = []
    contexts = []

    def new_page(url: str, width: int = 1200, **options: Any) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(url)
        page.complaints = complaints  # type: ignore[attr-defined]
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert complaints == []
