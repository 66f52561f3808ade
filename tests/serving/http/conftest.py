"""A served pipeline of drawn weights whose tokens are bytes, so that most texts hold half characters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from sunfish.config import GenerationConfig
from sunfish.processes.masked import MaskedProcess
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.app import build_app
from sunfish.serving.server import open_socket, server_of
from sunfish.serving.service import Service
from sunfish.tokenizers import build_tokenizer
from tests.helpers import CONFIG, ONE_LAYER, model, process_of

BYTES = replace(ONE_LAYER, vocab_size=257, context_length=32, prompt_length=16)
LOCAL = "http://localhost"
WARM = GenerationConfig(temperature=2.0, guidance_scale=2.0, plausibility=0.0)
Json = dict[str, Any]
Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """Not to be changed by a test."""
    network = model(torch.float32, BYTES)
    return Pipeline(network, MaskedProcess(257), build_tokenizer("bytes", 257, []), generation_config=WARM)


@pytest.fixture(scope="session")
def letters() -> Pipeline:
    """Of a model whose tokens are letters, so that a text says what its ids are; not to be changed by a test."""
    tokenizer = build_tokenizer("characters", CONFIG.vocab_size, [" abcdefghiklmnoprstuw."])
    return Pipeline(model(torch.float32, ONE_LAYER), process_of(), tokenizer)


@pytest.fixture(scope="module")
def letters_client(letters: Pipeline) -> Iterator[TestClient]:
    """Of a server of letters."""
    with TestClient(build_app(Service(letters, "letters")), LOCAL) as client:
        yield client


@pytest.fixture(scope="module")
def client(pipeline: Pipeline) -> Iterator[TestClient]:
    """Of a server without a token."""
    with TestClient(build_app(Service(pipeline, "drawn")), LOCAL) as client:
        yield client


@pytest.fixture
def serve(pipeline: Pipeline) -> Iterator[Serve]:
    """Clients of servers with other settings."""
    clients = []

    def start(**settings: Any) -> TestClient:
        clients.append(TestClient(build_app(Service(pipeline, "drawn", **settings)), LOCAL))
        return clients[-1].__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def live(pipeline: Pipeline) -> Iterator[str]:
    """The address of a server on a free port."""
    with open_socket("127.0.0.1", 0) as listener:
        server = server_of(Service(pipeline, "drawn"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        server.should_exit = True
        thread.join()
