"""Gaps and rewriting over HTTP are those of the pipeline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING
from sunfish.sampling.gaps import DEFAULT_LENGTHS, Gaps
from sunfish.sampling.pipeline import Pipeline
from tests.serving.http.conftest import Json
from tests.serving.http.events import events

URL = "/v1/completions"
UNPROMPTED = replace(FILLING, guidance_scale=0.0)


def ask(client: TestClient, url: str = URL, **body: object) -> Json:
    response = client.post(url, json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


@pytest.mark.parametrize("left,right", [("the ", " ran"), ("", "abc"), ("[MASK] ", " b")])
def test_a_gap_between_prompt_and_suffix(
    client: TestClient, pipeline: Pipeline, left: str, right: str
) -> None:
    """The choice is what stands between them, letter by letter; [MASK] in them is a word like any other."""
    answer = ask(client, prompt=left, suffix=right, about="a dog", n=2, seed=4, max_tokens=3)
    gaps = Gaps([left, right], [DEFAULT_LENGTHS])
    expected = pipeline.infill(
        gaps, FILLING, prompt="a dog", seed=4, num_samples=2, max_tokens=3, num_particles=32
    )
    for choice, text in zip(answer["choices"], expected, strict=True):
        assert left + choice["text"] + right == text.text and choice["fills"] == text.fills
        assert choice["log_likelihood"] == pytest.approx(text.log_likelihood, abs=1e-3)
        assert choice["effective_sample_size"] == pytest.approx(text.effective_sample_size, rel=0.5)
        assert choice["finish_reason"] == "stop"
    given = len(left) + len(right)
    fills = sum(text.tokens - given for text in expected)
    assert answer["usage"]["prompt_tokens"] == given + len("a dog")
    assert answer["usage"]["completion_tokens"] == fills


def test_several_gaps_of_a_text(client: TestClient, pipeline: Pipeline) -> None:
    text = "a[MASK:2]b[MASK:1-3]c"
    (choice,) = ask(client, text=text, prompt="a dog", seed=4, num_particles=9, guidance_scale=2.0)["choices"]
    config = GenerationConfig(guidance_scale=2.0)
    (expected,) = pipeline.infill(text, config, prompt="a dog", seed=4, num_particles=9)
    assert (choice["text"], choice["fills"]) == (expected.text, expected.fills)


def test_gaps_on_the_canvas(client: TestClient, pipeline: Pipeline) -> None:
    (choice,) = ask(client, text="a[MASK:2]b", seed=4, num_steps=2)["choices"]
    config = GenerationConfig(sampler="leftmost", num_steps=2, guidance_scale=0.0)
    (expected,) = pipeline.infill("a[MASK:2]b", config, seed=4)
    assert choice["text"] == expected.text and choice["effective_sample_size"] is None


def test_fills_in_a_stream(client: TestClient) -> None:
    body = {
        "text": "a[MASK:2]b",
        "seed": 4,
        "n": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    chunks = events(client.post(URL, json=body))
    whole = ask(client, text="a[MASK:2]b", seed=4, n=2)
    assert [choice for chunk in chunks for choice in chunk["choices"]] == whole["choices"]
    assert chunks[-1]["usage"] == whole["usage"]


def test_rewriting_spans_and_words(client: TestClient, pipeline: Pipeline) -> None:
    text = "the dog ran"
    answer = ask(
        client, "/v1/rewrite", text=text, spans=[[8, 11]], replace=["dog"], n=3, seed=4, prompt="a dog"
    )
    expected = pipeline.rewrite(text, [(4, 7), (8, 11)], "a dog", seed=4, n=3)
    assert answer["object"] == "rewriting" and len(answer["choices"]) == 3
    for index, (choice, new) in enumerate(zip(answer["choices"], expected, strict=True)):
        assert choice["index"] == index
        assert (choice["text"], choice["fills"], choice["tokens"]) == (new.text, new.fills, new.tokens)
        assert choice["log_likelihood"] == pytest.approx(new.log_likelihood, abs=1e-3)
        assert choice["effective_sample_size"] == pytest.approx(new.effective_sample_size, rel=0.5)
        assert choice["text"].startswith("the ") and choice["text"] != text
