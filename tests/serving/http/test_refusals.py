"""What is refused, with its status, its name and its remedy; and what asks for nothing and is let through."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.limits import Limits
from sunfish.serving.schemas import NEUTRAL, NEUTRAL_OF_MESSAGE
from sunfish.serving.writing import Chunk, TextTask
from tests.ids import brief
from tests.serving.http.conftest import Json, Serve

USER = {"role": "user", "content": "a dog"}


def refused(client: TestClient, url: str, body: Any, status: int = 400) -> Json:
    """The error of a request."""
    content = json.dumps(body).encode()  # which, unlike the client's own, may have a lone surrogate
    response = client.post(f"/v1/{url}", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    error: Json = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"] and len(error["message"]) <= 400
    return error


VALUES = [0.5, {"a": 1}, ["x"], "x", True, {"type": "json_object"}]


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_is_not_supported_is_refused_by_name(client: TestClient, name: str) -> None:
    """And let through where it asks for nothing."""
    wanted = next(value for value in VALUES if value not in NEUTRAL[name])
    error = refused(client, "completions", {"prompt": "a", name: wanted})
    assert error["message"] == f"{name} is not supported here; leave it out"
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", name, "unsupported")
    for value in (None, *NEUTRAL[name]):
        body = {"prompt": "a", "max_tokens": 1, name: value}
        assert client.post("/v1/completions", json=body).status_code == 200


@pytest.mark.parametrize("name", NEUTRAL_OF_MESSAGE)
def test_what_stands_beside_a_message(client: TestClient, name: str) -> None:
    wanted = next(value for value in VALUES if value not in NEUTRAL_OF_MESSAGE[name])
    messages = [{"role": "assistant", "content": "b", name: wanted}, USER]
    error = refused(client, "chat/completions", {"messages": messages})
    assert error["param"] == f"messages[0].{name}"
    for value in (None, *NEUTRAL_OF_MESSAGE[name]):
        messages = [{"role": "assistant", "content": "b", name: value}, USER]
        body = {"messages": messages, "max_tokens": 1}
        assert client.post("/v1/chat/completions", json=body).status_code == 200


@pytest.mark.parametrize("body", [[], [{"prompt": "a"}], "a dog", 5, None])
def test_a_body_that_is_no_object(client: TestClient, body: Any) -> None:
    error = refused(client, "completions", body)
    assert error["param"] is None
    assert error["message"] == (
        "the body is no JSON object; send one of text, with Content-Type: application/json"
    )


COMPLETIONS: list[tuple[Json, str | None, str]] = [  # body, the field to blame, a part of the message
    ({"tempreature": 1}, "tempreature", "not supported here"),
    ({"prompt": 5}, "prompt", "prompt is 5, but it should be a valid string"),
    ({"prompt": [1, 2]}, "prompt", "string"),
    ({"prompt": []}, "prompt", "a text needs one"),
    ({"prompt": "x" * 17}, "prompt", "has 17 tokens, but this model has room for 16"),
    ({"prompt": "\ud800"}, "prompt", "lone surrogate"),
    ({"prompt": "a", "negative_prompt": "x" * 17}, "negative_prompt", "has room for 16"),
    ({"prompt": "a", "composed_prompts": [["x" * 17, 1]]}, "composed_prompts", "has room for 16"),
    ({"prompt": "a", "composed_prompts": [["x", 0]]}, None, "the weight of the further prompt"),
    ({"prompt": "a", "composed_prompts": ["x"]}, "composed_prompts[0]", "valid tuple"),
    ({"composed_prompts": [["x", 1]]}, "composed_prompts",
     "composed_prompts is [['x', 1.0]], but they add to a prompt; give one"),
    ({"guidance_scale": 3}, "guidance_scale", "it needs a prompt to guide by"),
    ({"n": 0}, "n", "greater than or equal to 1"),
    ({"n": "2"}, "n", "n is '2', but it should be a valid integer"),
    ({"n": True}, "n", "n is True, but it should be a valid integer"),
    ({"seed": -1}, "seed", "greater than or equal to 0"),
    ({"seed": 2**64}, "seed", "less than or equal to"),
    ({"max_tokens": 4097}, "max_tokens", "asks for 4,097 tokens, but at most 4,096 are allowed"),
    ({"max_tokens": 32, "logprobs": 0}, "logprobs", "texts of more than 31 tokens"),
    ({"prompt": "a", "max_tokens": 32, "best_of": 2}, "best_of", "texts of more than 31 tokens"),
    ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
    ({"temperature": -1}, "temperature", "temperature is -1.0: give 0 (greedy) or more"),
    ({"temperature": 0, "top_p": 0.9}, "top_p", "has no effect where temperature is 0"),
    ({"top_p": 2}, "top_p", "top_p is 2.0"),
    ({"top_k": -5}, "top_k", "top_k is -5"),
    ({"sampler": "magic"}, "sampler", "the samplers are"),
    ({"sampler": "verified", "num_steps": 5}, "num_steps", "has no effect"),
    ({"num_steps": 1001}, "num_steps", "at most 1,000"),
    ({"sampler": "leftmost", "repetition_penalty": 2}, "repetition_penalty", "give verified"),
    ({"prompt": "a", "best_of": 2, "stream": True}, "best_of", "stream sends parts"),
    ({"prompt": "a", "best_of": 1, "n": 2}, "best_of", "n is 2 of these drafts"),
    ({"prompt": "", "best_of": 2}, "best_of", "how well texts answer a prompt"),
    ({"prompt": "a", "n": 65}, "n", "asks for 65 texts, but at most 64"),
    ({"prompt": ["a"] * 22, "n": 3}, "n", "asks for 66 texts"),
    ({"prompt": ["a"] * 65}, "prompt", "asks for 65 texts"),
    ({"prompt": "a", "best_of": 65}, "best_of", "asks for 65 texts"),
    ({"diffusing": True}, "diffusing", "give stream"),
    ({"stop": ["a"] * 9}, "stop", "stop asks for 9 strings, but at most 8 are allowed; ask for less"),
    ({"stop": ""}, "stop", "is empty"),
    ({"stop": ["\ud800"]}, "stop", "lone surrogate"),
    ({"about": "a"}, "about", "it is for gaps"),
    ({"num_particles": 5}, "num_particles", "it is for gaps"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", ""),
    ({"text": "a[MASK]", "prompt": "\ud800"}, "prompt", "prompt has a lone surrogate"),
    ({"prompt": "\ud800", "suffix": "b", "about": "\ud801"}, "prompt", "lone surrogate"),
    ({"text": "no gap"}, "text", "has no [MASK] to fill"),
    ({"text": "[MASK:0]"}, None, "has no length"),
    ({"text": "a" * 40 + "[MASK]"}, "text", "has a context of 32"),
    ({"text": "[MASK]" * 17}, "text", "asks for 17 gaps, but at most 16"),
    ({"text": "a[MASK]", "suffix": "b"}, "suffix", "text has gaps as well"),
    ({"text": "a[MASK]", "about": "b"}, "about", "prompt says what it is about"),
    ({"text": "a[MASK]", "prompt": ["b"]}, "prompt", "give one text"),
    ({"text": "a[MASK]", "num_particles": 257}, "num_particles",
     "num_particles asks for 257 particles, but at most 256 are allowed; ask for less"),
    *(
        ({"text": "a[MASK]", name: value}, name, "gaps have none; leave it out")
        for name, value in dict(
            best_of=2, stop="a", diffusing=True, step_maps=True, block_length=4, lenience=0.5
        ).items()
    ),
]  # fmt: skip


@pytest.mark.parametrize("body,param,message", COMPLETIONS, ids=brief)
def test_a_completion_that_cannot_be(client: TestClient, body: Json, param: str | None, message: str) -> None:
    error = refused(client, "completions", body)
    assert error["param"] == param and message in error["message"], error


CHATS: list[tuple[Json, str, str]] = [
    ({}, "messages", "messages is missing; give it"),
    ({"messages": []}, "messages", "at least 1 item"),
    ({"messages": [{"role": "system", "content": "b"}, USER]}, "messages[0].role", "should be 'user' or"),
    ({"messages": [USER, {"role": "assistant", "content": "b"}]}, "messages", "the user's comes last"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "valid string"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type", ""),
    ({"messages": [USER], "top_logprobs": 2}, "top_logprobs", "top_logprobs is 2, but logprobs is not; give both"),
    ({"messages": [USER], "logprobs": 2}, "logprobs", "valid boolean"),
    ({"messages": [USER], "max_tokens": 3, "max_completion_tokens": 4}, "max_tokens",
     "max_tokens is 3, but max_completion_tokens says otherwise; leave one out"),
    ({"messages": [{**USER, "content": "x" * 17}]}, "messages", "has room for 16"),
    ({"messages": [USER], "suffix": "a"}, "suffix", "not supported here"),
]  # fmt: skip


@pytest.mark.parametrize("body,param,message", CHATS, ids=brief)
def test_a_chat_that_cannot_be(client: TestClient, body: Json, param: str, message: str) -> None:
    error = refused(client, "chat/completions", body)
    if "type" not in param:  # the first thing that is wrong with a part of a message
        assert error["param"] == param
    assert message in error["message"] and error["param"].startswith(param.split("[")[0]), error


REWRITES: list[tuple[Json, str | None, str]] = [
    ({}, "text", "text is missing"),
    ({"text": "a dog"}, None, "nothing is to be replaced"),
    ({"text": "a dog", "spans": [[0, 9]]}, None, "the range 0:9 is not one of this text"),
    ({"text": "a dog", "spans": [[0]]}, "spans[0][1]", ""),
    ({"text": "a dog", "spans": [[0, 3], [2, 4]]}, None, "overlaps"),
    ({"text": "a dog", "replace": ["cat"]}, "replace", "is not in the text"),
    ({"text": "a dog", "replace": ["a"] * 17}, "replace", "asks for 17 spans"),
    ({"text": "a dog", "spans": [[0, 1]], "sampler": "leftmost"}, "sampler", "not supported here"),
    ({"text": "a dog", "spans": [[0, 1]], "n": 65}, "n", "less than or equal to 64"),
    ({"text": "a dog", "spans": [[i, i + 1] for i in range(17)]}, "spans", "asks for 17 spans"),
    ({"text": "\ud800", "spans": [[0, 1]]}, "text", "lone surrogate"),
]  # fmt: skip


@pytest.mark.parametrize("body,param,message", REWRITES, ids=brief)
def test_a_rewriting_that_cannot_be(client: TestClient, body: Json, param: str | None, message: str) -> None:
    error = refused(client, "rewrite", body)
    assert error["param"] == param and message in error["message"], error


@pytest.mark.parametrize(
    "content,kind",
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'"text"', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "application/json"),
        (b'{"prompt": "a"}', "text/plain"),
        (b'{"prompt": "a"}', None),
        (b"prompt=a", "application/x-www-form-urlencoded"),
        (b'{"temperature": NaN}', "application/json"),
        (b'{"\\ud800": 1}', "application/json"),
        (b"", "application/json"),
    ],
)
def test_a_body_that_is_none(client: TestClient, content: bytes, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    response = client.post("/v1/completions", content=content, headers=headers)
    assert response.status_code == 400 and response.json()["error"]["message"]


@pytest.mark.parametrize("url,body", [("completions", {}), ("chat/completions", {"messages": [USER]})])
def test_a_model_that_is_not_served(client: TestClient, url: str, body: Json) -> None:
    error = refused(client, url, {**body, "model": "gpt"}, 404)
    assert error["message"] == "model is 'gpt', but this server has drawn"
    assert (error["param"], error["code"]) == ("model", "model_not_found")


@pytest.mark.parametrize("method,url", [("GET", "/v1/completions"), ("POST", "/v1/models"), ("GET", "/v2")])
def test_a_path_or_method_that_is_none(client: TestClient, method: str, url: str) -> None:
    response = client.request(method, url)
    assert response.status_code in (404, 405) and "openapi.json" in response.json()["error"]["message"]


def test_a_full_queue_says_when_to_come_again(serve: Serve) -> None:
    """All texts of a request wait, or none does: those of one that was refused are canceled."""
    client = serve(max_running=1, max_waiting=2)
    error = refused(client, "completions", {"prompt": "a", "n": 4})
    assert "at most 3" in error["message"]
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    blocker = engine.submit(lambda pipeline: iter(lambda: pipeline.generate([""], seq_len=4), None))
    try:
        response = client.post("/v1/completions", json={"prompt": "a", "n": 3})
        assert response.status_code == 429 and int(response.headers["retry-after"]) >= 1
        error = response.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    finally:
        blocker.cancel()
    while engine.stats().running + engine.stats().waiting:
        time.sleep(0.01)
    assert engine.stats().canceled == 3
    assert client.post("/v1/completions", json={"prompt": "a", "n": 3}).status_code == 200


def test_what_takes_too_long_is_given_up(serve: Serve) -> None:
    client = serve(limits=Limits(seconds=0.0))
    for body in ({"prompt": "a"}, {"prompt": "a", "stream": True}):
        error = refused(client, "completions", body, 504)
        assert error["code"] == "timeout" and "ask for less" in error["message"]


def test_a_server_that_ends_takes_nothing_more(serve: Serve) -> None:
    client = serve()
    client.app.state.service.engine.drain(1)  # type: ignore[attr-defined]
    response = client.post("/v1/completions", json={"prompt": "a"})
    assert response.status_code == 503 and int(response.headers["retry-after"]) > 0


def test_what_a_closing_server_cannot_finish_is_not_the_fault_of_the_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    engine = client.app.state.service.engine  # type: ignore[attr-defined]

    def closing(self: TextTask, pipeline: Pipeline) -> Iterator[Chunk]:
        threading.Thread(target=engine.close).start()
        while True:
            pipeline.generate([""], seq_len=4)
            yield Chunk("", None, 0)

    monkeypatch.setattr(TextTask, "__call__", closing)
    error = refused(client, "completions", {"prompt": "a"}, 503)
    assert (error["type"], error["code"]) == ("server_error", "overloaded")
