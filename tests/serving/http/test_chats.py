"""Chats: the last message is the prompt, and the answer has the shape of OpenAI's."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from sunfish.sampling.pipeline import Pipeline
from tests.serving.http.conftest import WARM, Json
from tests.serving.http.events import events, joined

URL = "/v1/chat/completions"
USER = {"role": "user", "content": "a dog"}


def chat(client: TestClient, **body: object) -> Json:
    response = client.post(URL, json={"messages": [USER], **body})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


PARTS = {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "dog"}]}
ANSWER = {"role": "assistant", "content": "The sea.", "refusal": None, "tool_calls": [], "annotations": []}


@pytest.mark.parametrize(
    "messages", [[USER], [PARTS], [{"role": "user", "content": "the sea"}, ANSWER, USER]]
)
def test_the_last_message_is_what_the_text_is_about(
    client: TestClient, pipeline: Pipeline, messages: list[Json]
) -> None:
    answer = chat(client, messages=messages, seed=10, n=2, max_tokens=8)
    expected = pipeline.generate(["a dog"] * 2, WARM, seed=10, seq_len=9)
    assert [choice["message"]["content"] for choice in answer["choices"]] == [text.text for text in expected]
    assert {choice["message"]["role"] for choice in answer["choices"]} == {"assistant"}
    assert answer["object"] == "chat.completion" and answer["usage"]["prompt_tokens"] == 5


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_length_has_two_names(client: TestClient, name: str) -> None:
    assert chat(client, seed=10, **{name: 4})["usage"]["completion_tokens"] == 4


def test_log_probabilities_are_those_of_completions(client: TestClient) -> None:
    body = {"prompt": "a dog", "seed": 10, "logprobs": 2, "max_tokens": 9}
    expected = client.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]
    (choice,) = chat(client, seed=10, logprobs=True, top_logprobs=2, max_tokens=9)["choices"]
    content = choice["logprobs"]["content"]
    assert [token["token"] for token in content] == expected["tokens"]
    assert [token["logprob"] for token in content] == pytest.approx(expected["token_logprobs"])
    assert all(len(token["top_logprobs"]) == 2 for token in content)
    for token in content:  # half a character has no bytes that are known
        known = None if token["token"] == "\ufffd" else list(token["token"].encode())
        assert token["bytes"] == known
    (without,) = chat(client, seed=10, logprobs=True, max_tokens=2)["choices"]
    assert all(token["top_logprobs"] == [] for token in without["logprobs"]["content"])
    assert chat(client, seed=10, max_tokens=2)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("stops", [False, True])
def test_a_stream_begins_with_the_role_and_ends_with_the_reason(client: TestClient, stops: bool) -> None:
    text = chat(client, seed=6)["choices"][0]["message"]["content"]
    body = {"seed": 6, "stop": text[4:6]} if stops else {"seed": 6}
    (whole,) = chat(client, **body)["choices"]
    chunks = events(client.post(URL, json={"messages": [USER], "stream": True, **body}))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert joined(chunks) == whole["message"]["content"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert whole["finish_reason"] == ("stop" if stops else "length")
    assert reasons == [None] * (len(chunks) - 1) + [whole["finish_reason"]]
    assert len({chunk["id"] for chunk in chunks}) == 1
