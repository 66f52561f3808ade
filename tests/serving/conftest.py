"""Pipelines in which every weight matters, in float64, and an engine that ends with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.engine import Engine
from sunfish.tokenizers import build_tokenizer
from tests.helpers import CONFIG, ONE_LAYER, model, process_of

NewEngine = Callable[..., Engine]


def pipeline_of(process: str = "masked", distilled: bool = False) -> Pipeline:
    """A pipeline of drawn weights; float64, so that no rounding changes a text."""
    tokenizer = build_tokenizer("characters", CONFIG.vocab_size, [" abcdefghiklmnoprstuw."])
    network = model(torch.float64, ONE_LAYER, process, guidance_conditioned=distilled)
    return Pipeline(network, process_of(process), tokenizer)


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return pipeline_of()


@pytest.fixture
def new_engine(pipeline: Pipeline) -> Iterator[NewEngine]:
    """Makes engines; they are closed after the test, and so are their threads."""
    engines: list[Engine] = []

    def make(of: Pipeline = pipeline, start: bool = True, **limits: int) -> Engine:
        engines.append(Engine(of, **limits))
        if start:
            engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
