"""The likelihood of a given text, and the states that the page draws."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from starlette.testclient import TestClient

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.app import build_app
from sunfish.serving.service import Service

TEXT = "A small dog ran home. “It was late.”"
PROMPT = "Write a story about a dog"


@pytest.fixture(scope="module")
def client(pipeline: Pipeline) -> Iterator[TestClient]:
    with TestClient(build_app(Service(pipeline, "tiny")), "http://localhost") as client:
        yield client


@pytest.mark.parametrize("prompt", ["", PROMPT])
def test_a_score_is_the_exact_likelihood(client: TestClient, pipeline: Pipeline, prompt: str) -> None:
    answer = client.post("/v1/score", json={"text": TEXT, "prompt": prompt, "logprobs": 3}).json()
    tokenizer = pipeline.tokenizer
    ids = tokenizer.encode(TEXT)
    row = torch.tensor([[tokenizer.end, *ids, tokenizer.end]])
    whole = float(pipeline.log_likelihood(row, pipeline.encode([prompt])))
    without_end = float(pipeline.log_likelihood(row[:, :-1], pipeline.encode([prompt])))
    scores = answer["logprobs"]
    assert answer["log_likelihood"] == pytest.approx(whole, abs=1e-3)
    assert sum(scores["token_logprobs"]) == pytest.approx(without_end, abs=1e-3)
    assert scores["tokens"] == [tokenizer.decode([token]) for token in ids]
    assert all(1 <= len(top) <= 3 for top in scores["top_logprobs"])
    assert answer["model"] == "tiny"


def test_a_prompt_changes_the_score_and_a_written_text_has_that_of_its_completion(
    client: TestClient, pipeline: Pipeline
) -> None:
    body = {"prompt": PROMPT, "logprobs": 2, "max_tokens": 4}
    answers = (client.post("/v1/completions", json={**body, "seed": seed}).json() for seed in range(50))
    written = next(  # one whose tokens are those of its text
        choice
        for choice in (answer["choices"][0] for answer in answers)
        if [*map(pipeline.tokenizer.decode, ([i] for i in pipeline.tokenizer.encode(choice["text"])))]
        == choice["logprobs"]["tokens"]
    )
    scores = [
        client.post("/v1/score", json={"text": written["text"], "prompt": prompt, "logprobs": 2}).json()
        for prompt in (PROMPT, None)
    ]
    expected = pytest.approx(written["logprobs"]["token_logprobs"], abs=1e-4)
    assert scores[0]["logprobs"]["token_logprobs"] == expected
    assert scores[0]["log_likelihood"] != pytest.approx(scores[1]["log_likelihood"], abs=1e-3)


@pytest.mark.parametrize(
    "change,param",
    [
        ({"text": None}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"text": "word " * 500}, "text"),
        ({"prompt": "word " * 500}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"seed": 1}, "seed"),
        ({"model": "other"}, "model"),
    ],
)
def test_what_cannot_be_scored(client: TestClient, change: dict[str, object], param: str) -> None:
    body = json.dumps({"text": TEXT, **change}).encode()
    response = client.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 404)
    assert response.json()["error"]["param"] == param


def test_an_empty_text_is_scored_by_its_end(client: TestClient, pipeline: Pipeline) -> None:
    answer = client.post("/v1/score", json={"text": ""}).json()
    row = torch.tensor([[pipeline.tokenizer.end] * 2])
    assert answer["log_likelihood"] == pytest.approx(
        float(pipeline.log_likelihood(row, pipeline.encode([""]))), abs=1e-4
    )
    assert answer["logprobs"]["tokens"] == []


@pytest.mark.parametrize("sampler", ["verified", "confidence"])
def test_a_state_says_what_stands_at_each_position(
    client: TestClient, pipeline: Pipeline, sampler: str
) -> None:
    body = {
        "prompt": PROMPT,
        "seed": 5,
        "sampler": sampler,
        "block_length": 8,
        "max_tokens": 30,
        "stream": True,
    }
    lines = client.post(
        "/v1/completions", json={**body, "diffusing": True, "step_maps": True}
    ).text.splitlines()
    choices = [json.loads(line[6:])["choices"][0] for line in lines if line.startswith("data: {")]
    *states, last = choices
    assert len(states) > 3 and last["finish_reason"]
    for state in states:
        assert "".join(state["tokens"]) == state["text"]
        settled = state["settled"]
        assert 0 <= settled <= 30 and state["tokens"][:settled] == last["tokens"][:settled]
    counts = [state["settled"] for state in states]
    assert counts == sorted(counts) and counts[-1] > 8
    plain = client.post("/v1/completions", json={**body, "diffusing": True}).text
    assert '"settled"' not in plain and '"tokens"' not in plain
