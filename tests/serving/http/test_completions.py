"""Texts over HTTP are those of the pipeline: prompts, samples, drafts, ends, likelihoods, steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from starlette.testclient import TestClient

from sunfish.sampling.pipeline import Pipeline
from tests.serving.http.conftest import WARM, Json
from tests.serving.http.events import events, joined

URL = "/v1/completions"
PROMPTS = ["a dog", "the sea"]


def write(client: TestClient, **body: object) -> Json:
    response = client.post(URL, json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def test_texts_are_those_of_the_pipeline(client: TestClient, pipeline: Pipeline) -> None:
    """Each prompt's samples stand one after the other, as in a call of generate."""
    answer = write(client, prompt=PROMPTS, n=2, seed=10, max_tokens=12)
    expected = pipeline.generate([p for p in PROMPTS for _ in range(2)], WARM, seed=10, seq_len=13)
    assert [choice["text"] for choice in answer["choices"]] == [text.text for text in expected]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    reasons = ["stop" if text.finished else "length" for text in expected]
    assert [choice["finish_reason"] for choice in answer["choices"]] == reasons
    assert (answer["object"], answer["model"], answer["seed"]) == ("text_completion", "drawn", 10)
    tokens = sum(text.tokens for text in expected)
    prompts = sum(len(prompt) for prompt in PROMPTS)  # a byte is a token
    assert answer["usage"] == dict(
        prompt_tokens=prompts, completion_tokens=tokens, total_tokens=prompts + tokens
    )


def test_a_text_that_ends_and_one_that_is_cut(client: TestClient, pipeline: Pipeline) -> None:
    reasons = set()
    for seed in range(4):
        (choice,) = write(client, prompt="a dog", max_tokens=9, seed=seed, temperature=4.0)["choices"]
        config = replace(WARM, temperature=4.0)
        (text,) = pipeline.generate(["a dog"], config, seq_len=10, seed=seed)
        assert choice["finish_reason"] == ("stop" if text.finished else "length")
        assert len(text.ids) == 9 or text.finished
        reasons.add(choice["finish_reason"])
    assert "length" in reasons


@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"sampler": "leftmost", "num_steps": 4}, marks=pytest.mark.slow)],
    ids=["verified", "leftmost"],
)
def test_a_text_longer_than_the_context(client: TestClient, pipeline: Pipeline, settings: Json) -> None:
    """It is written in windows, as in the pipeline; a stream of it adds up to the same."""
    body: Json = {"prompt": "a dog", "seed": 5, "max_tokens": 45, "step_maps": True, **settings}
    config = replace(WARM, **settings)
    (text,) = pipeline.generate(["a dog"], config, seq_len=46, seed=5)
    (choice,) = write(client, **body)["choices"]
    assert choice["text"] == text.text and len(choice["step_maps"]) == text.tokens > 31
    assert choice["finish_reason"] == ("stop" if text.finished else "length")
    assert joined(events(client.post(URL, json={**body, "stream": True}))) == text.text


def test_without_a_seed_the_answer_names_one_that_gives_it_again(client: TestClient) -> None:
    first, other = (write(client, prompt="a dog", max_tokens=9) for _ in range(2))
    again = write(client, prompt="a dog", max_tokens=9, seed=first["seed"])
    assert again["choices"] == first["choices"] and first["seed"] != other["seed"]
    assert first["id"] != again["id"]


def test_nothing_asked_for_is_a_text_about_anything(client: TestClient, pipeline: Pipeline) -> None:
    text = write(client, seed=1)["choices"][0]["text"]
    assert text == pipeline.generate([""], replace(WARM, guidance_scale=0.0), seed=1)[0].text
    nothing = dict(prompt=None, model="drawn", n=None, stop=None)
    few = [write(client, seed=1, max_tokens=4, **more)["choices"][0]["text"] for more in ({}, nothing)]
    assert few[0] == few[1]


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_drafts_that_answer_best_are_kept(client: TestClient, pipeline: Pipeline, n: int) -> None:
    answer = write(client, prompt=PROMPTS, n=n, best_of=4, seed=2, max_tokens=12)
    drafts = pipeline.generate([p for p in PROMPTS for _ in range(4)], WARM, seed=2, seq_len=13)
    for number in range(2):
        group = drafts[4 * number : 4 * number + 4]
        group.sort(key=lambda text: (text.finished, pipeline.prompt_pmi(text)), reverse=True)
        kept = answer["choices"][n * number : n * (number + 1)]
        assert [choice["text"] for choice in kept] == [text.text for text in group[:n]]
    assert answer["usage"]["completion_tokens"] == sum(text.tokens for text in drafts)
    if n == 1:
        best = pipeline.generate(PROMPTS, WARM, seed=2, seq_len=13, best_of=4)
        assert [choice["text"] for choice in answer["choices"]] == [text.text for text in best]


def test_a_text_ends_before_its_stop_string(client: TestClient, pipeline: Pipeline) -> None:
    whole = pipeline.generate(["a dog"], WARM, seed=10)[0].text
    stop = whole[8:10]
    (choice,) = write(client, prompt="a dog", seed=10, stop=stop)["choices"]
    assert choice["text"] == whole[: whole.index(stop)] and choice["finish_reason"] == "stop"
    (choice,) = write(client, prompt="a dog", seed=10, stop=["never so", stop])["choices"]
    assert choice["text"] == whole[: whole.index(stop)]


def test_log_probabilities_are_exact(client: TestClient, pipeline: Pipeline) -> None:
    """They are of the causal mode given the prompt, whatever the text was drawn with."""
    (choice,) = write(client, prompt="a dog", seed=10, logprobs=3, max_tokens=12)["choices"]
    (text,) = pipeline.generate(["a dog"], WARM, seed=10, seq_len=13)
    row = torch.tensor([[pipeline.tokenizer.end, *text.ids]])
    expected = pipeline.log_likelihood(row, pipeline.encode(["a dog"])).item()
    found = choice["logprobs"]
    assert sum(found["token_logprobs"]) == pytest.approx(expected, abs=1e-3)
    assert len(found["tokens"]) == len(found["top_logprobs"]) == len(found["text_offset"]) == text.tokens
    for token, logprob, top in zip(
        found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True
    ):
        assert len(top) <= 3 and max(top.values()) >= logprob - 1e-9
        if token in top and token != "\ufffd":
            assert top[token] == pytest.approx(logprob)
    assert write(client, prompt="a dog", seed=10, max_tokens=2)["choices"][0]["logprobs"] is None
    assert (
        write(client, prompt="a dog", logprobs=0, max_tokens=2)["choices"][0]["logprobs"]["top_logprobs"][0]
        == {}
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "confidence", "block_length": 0, "num_steps": 4},
        {"sampler": "leftmost", "block_length": 4},
    ],
)
def test_the_step_of_each_token(client: TestClient, pipeline: Pipeline, settings: Json) -> None:
    """Against the states of a stream: a token has the number of the step after which it stays."""
    config = replace(WARM, **settings)
    (choice,) = write(client, prompt="a dog", seed=5, max_tokens=12, step_maps=True, **settings)["choices"]
    states = [s.ids for s in pipeline.states("a dog", config, seq_len=13, seed=5)]
    final, expected, step, shown = states[-1], [0] * len(states[-1]), 0, list[int]()
    for ids in states:
        tokens = [token if token < 257 else -1 for token in ids]
        if any(a != b for a, b in zip(tokens, shown + [-1] * len(tokens), strict=False)):
            step += 1
        for place, token in enumerate(tokens):
            if token == final[place] and not expected[place]:
                expected[place] = step
        shown = tokens
    count = len(choice["step_maps"])
    assert choice["step_maps"] == expected[:count] and max(choice["step_maps"]) > 1
    assert [pipeline.tokenizer.decode([token]) for token in final[:count]] == choice["tokens"]
    assert "step_maps" not in write(client, prompt="a dog", max_tokens=2)["choices"][0]


def test_models_are_listed(client: TestClient) -> None:
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["context_length"], card["prompt_length"]) == ("drawn", 32, 16)
    assert "verified" in card["samplers"] and "ddim" not in card["samplers"]
    assert client.get("/v1/models/drawn").json() == card
    assert client.get("/v1/models/other").status_code == 404


def test_counters_and_health(client: TestClient) -> None:
    before = client.get("/metrics").text
    usage = write(client, prompt="a dog", seed=1)["usage"]
    client.post(URL, json={"prompt": 5})
    client.get("/no/such/path")
    after = client.get("/metrics").text

    def value(text: str, name: str) -> float:
        lines = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(lines[0].split()[-1]) if lines else 0.0

    def gain(name: str) -> float:
        return value(after, name) - value(before, name)

    assert gain('sunfish_requests_total{path="/v1/completions",status="200"}') == 1
    assert gain('sunfish_requests_total{path="/v1/completions",status="400"}') == 1
    assert gain('sunfish_requests_total{path="other",status="404"}') == 1
    assert gain('sunfish_request_seconds_count{path="/v1/completions"}') == 2
    assert gain('sunfish_tokens_total{kind="completion"}') == usage["completion_tokens"]
    assert gain('sunfish_tokens_total{kind="prompt"}') == usage["prompt_tokens"] == 5
    assert gain('sunfish_jobs_ended_total{how="finished"}') == 1
    assert client.get("/healthz").json() == {"status": "ok"}
