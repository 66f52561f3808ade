"""Streams: what is sent is settled, whatever tokens and stop strings; states, usage, errors, clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import sunfish.serving.writing as writing_module
from sunfish.config import GenerationConfig
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.stop import StopStrings
from sunfish.serving.app import build_app
from sunfish.serving.metrics import CLIENT_LEFT
from sunfish.serving.service import Service
from sunfish.serving.streaming import EventStream
from sunfish.serving.writing import MASK, StepMap, settled_tokens
from sunfish.tokenizers import build_tokenizer
from tests.serving.http.conftest import WARM, Json
from tests.serving.http.events import events, joined
from tests.tiny_checkpoint import story_tokenizer

URL = "/v1/completions"
SAMPLERS: list[Json] = [
    {},
    {"sampler": "verified:1", "block_length": 4},
    {"sampler": "leftmost", "num_steps": 4, "block_length": 8},
    {"sampler": "confidence", "num_steps": 6, "block_length": 0},
]

TWO_FAST = pytest.mark.parametrize(
    "settings",
    [
        SAMPLERS[0],
        SAMPLERS[3],
        *(pytest.param(settings, marks=pytest.mark.slow) for settings in SAMPLERS[1:3]),
    ],
    ids=str,
)


def stream(client: TestClient, **body: object) -> list[Json]:
    return events(client.post(URL, json={"stream": True, **body}))


@pytest.mark.parametrize(
    ("settings", "seed"),
    [
        *((settings, 4) for settings in SAMPLERS),
        *(pytest.param(settings, seed, marks=pytest.mark.slow) for settings in SAMPLERS for seed in (10, 12)),
    ],
    ids=str,
)
def test_chunks_add_up_to_the_text(client: TestClient, settings: Json, seed: int) -> None:
    """Half a character is sent only where the text has no other half."""
    body = {"prompt": "a dog", "seed": seed, "logprobs": 1, **settings}
    (whole,) = client.post(URL, json=body).json()["choices"]
    chunks = stream(client, **body)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert joined(chunks) == whole["text"]
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == whole["finish_reason"]
    for name in ("tokens", "text_offset"):
        assert [item for choice in choices for item in choice["logprobs"][name]] == whole["logprobs"][name]
    found = [item for choice in choices for item in choice["logprobs"]["token_logprobs"]]
    assert found == pytest.approx(whole["logprobs"]["token_logprobs"], abs=1e-4)
    if settings.get("block_length", 8):
        assert len(chunks) > 1


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
@given(st.text("aé€😀", max_size=8), st.lists(st.text("aé€", min_size=1, max_size=3), max_size=2), st.data())
def test_what_is_settled_is_never_taken_back(
    kind: str, text: str, stops: list[str], data: st.DataObject
) -> None:
    """For ids that come in any portions: each settled text begins the next one and the text as it ends."""
    tokenizer = build_tokenizer("bytes", 257, []) if kind == "bytes" else story_tokenizer()
    ids, strings = tokenizer.encode(text), StopStrings(stops)
    pipeline = _only_decoding(tokenizer)
    whole = pipeline.decode(ids, "", stops=strings).text
    count, shown = 0, ""
    for end in sorted(data.draw(st.sets(st.integers(0, len(ids))))):
        count = settled_tokens(pipeline, ids[:end], strings, count)
        settled = tokenizer.decode(ids[:count])
        assert settled.startswith(shown) and whole.startswith(settled) and "\ufffd" not in settled
        shown = settled
    final = settled_tokens(pipeline, ids, StopStrings(), 0)
    assert tokenizer.decode(ids[:final]) == text  # without stop strings nothing whole is held back


def _only_decoding(tokenizer: Any) -> Pipeline:
    """A pipeline of which nothing but its tokenizer is used."""
    pipeline = object.__new__(Pipeline)
    pipeline.tokenizer = tokenizer
    return pipeline


def test_no_chunk_has_the_beginning_of_a_stop_string(client: TestClient, pipeline: Pipeline) -> None:
    whole = pipeline.generate(["a dog"], WARM, seed=10)[0].text
    stop = whole[8:11]
    chunks = stream(client, prompt="a dog", seed=10, stop=[stop])
    assert joined(chunks) == whole[: whole.index(stop)]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    shown = ""
    for chunk in chunks[:-1]:
        shown += chunk["choices"][0]["text"]
        assert not any(shown.endswith(stop[:size]) for size in (1, 2))


def test_texts_of_one_stream_keep_their_indexes(client: TestClient) -> None:
    body = {"prompt": ["a dog", "the sea"], "n": 2, "seed": 10, "max_tokens": 12}
    whole = client.post(URL, json=body).json()
    chunks = stream(client, **body, stream_options={"include_usage": True})
    for choice in whole["choices"]:
        assert joined(chunks, choice["index"]) == choice["text"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1


@TWO_FAST
def test_denoising_states_are_whole_texts(client: TestClient, pipeline: Pipeline, settings: Json) -> None:
    """Every state of the pipeline's stream; the last one is the text, with its reason and its steps."""
    body = {"prompt": "a dog", "seed": 4, "max_tokens": 12, "step_maps": True, **settings}
    choices = [chunk["choices"][0] for chunk in stream(client, **body, diffusing=True)]
    config = GenerationConfig(**(vars(WARM) | settings))
    states = [s.text for s in pipeline.stream("a dog", config, seq_len=13, seed=4, mask=MASK)]
    distinct = [text for text, before in zip(states, ["", *states], strict=False) if text != before]
    assert [choice["text"] for choice in choices[:-1]] == distinct
    (whole,) = client.post(URL, json=body).json()["choices"]
    for name in ("text", "finish_reason", "step_maps"):
        assert choices[-1][name] == whole[name]
    steps = [choice["step"] for choice in choices]
    assert steps == sorted(steps) and steps[-1] >= max(whole["step_maps"], default=0)


@TWO_FAST
def test_denoising_states_say_how_likely_their_final_tokens_are(client: TestClient, settings: Json) -> None:
    """The scores of the whole text, as far as it was final; those of drafts are not known yet."""
    body = {"prompt": "a dog", "seed": 4, "max_tokens": 24, "step_maps": True, "logprobs": 1, **settings}
    *states, last = [chunk["choices"][0] for chunk in stream(client, **body, diffusing=True)]
    (whole,) = client.post(URL, json=body).json()["choices"]
    assert len({state["settled"] for state in states}) > 1 or not settings.get("block_length", 1)
    for state in (*states, last):
        known = len(state["logprobs"]["tokens"])
        assert known == min(state.get("settled", known), len(state["tokens"]))
        for name, values in state["logprobs"].items():
            wanted = whole["logprobs"][name][:known]
            if name == "top_logprobs":
                values, wanted = ([v for top in each for v in top.values()] for each in (values, wanted))
            assert values == pytest.approx(wanted, abs=1e-4) if name.endswith("probs") else values == wanted


def test_a_step_that_changes_nothing_does_not_count() -> None:
    steps = StepMap(5)
    for ids in ([], [9, 9], [9, 1], [9, 1], [2, 1, 9], [3, 1, 4]):
        steps.note(list(ids))
    assert (steps.number, steps.numbers) == (3, [3, 1, 3])


class Broken(ValueError):
    """What a network might raise."""


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The second state of each text is a failure."""
    original = Pipeline.states

    def states(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for number, state in enumerate(original(*args, **kwargs)):
            if number == 3:
                raise Broken("secret place")
            yield state

    monkeypatch.setattr(Pipeline, "states", states)
    yield


def test_an_error_in_the_middle_is_an_event(
    client: TestClient, breaking: None, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"prompt": "a dog", "seed": 10, "stream": True, "diffusing": True}
    response = client.post(URL, json=body)
    parts = response.text.strip().split("\n\n")
    assert response.status_code == 200 and len(parts) > 1
    error = json.loads(parts[-1].removeprefix("data: "))["error"]
    assert error["type"] == "server_error" and "secret" not in error["message"]
    assert "Broken: secret place" in capsys.readouterr().err


def test_an_error_before_the_first_event_has_its_status(client: TestClient, breaking: None) -> None:
    response = client.post(URL, json={"prompt": "a dog", "seed": 10})
    assert response.status_code == 500 and response.json()["error"]["type"] == "server_error"


class Leaving:
    """A client that reads a few events, and then leaves."""

    def __init__(self, body: Json, events: int) -> None:
        self.body, self.events = json.dumps(body).encode(), events
        self.sent: list[Any] = []
        self.leaves, self.asked = asyncio.Event(), False

    async def receive(self) -> Json:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if len(self.sent) > self.events:
            self.leaves.set()


@pytest.mark.parametrize("streams", [True, False])
def test_the_work_of_a_client_that_leaves_is_canceled(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    """However much there is left to write."""
    monkeypatch.setattr(writing_module.TextTask, "__call__", _endless)
    service = Service(pipeline, "drawn")
    app = build_app(service)
    scope: Json = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "raw_path": URL.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }

    async def run() -> None:
        async with app.router.lifespan_context(app):
            client = Leaving({"prompt": "a dog", "stream": streams}, events=2)
            if not streams:
                asyncio.get_running_loop().call_later(0.1, client.leaves.set)
            await app(scope, client.receive, client.send)
            assert client.sent[0]["status"] == (200 if streams else CLIENT_LEFT)
            for _ in range(500):
                if service.engine.stats().canceled:
                    return
                await asyncio.sleep(0.01)
            pytest.fail("the job was not canceled")

    asyncio.run(run())
    assert service.engine.stats().running == 0


def test_a_client_that_leaves_before_the_response_has_begun() -> None:
    """Its events, of which the first is there, are closed before the response returns."""
    closed = list[bool]()

    async def events() -> AsyncGenerator[str, None]:
        try:
            yield "first"
            yield "second"
        finally:
            closed.append(True)

    async def leaves() -> Json:
        return {"type": "http.disconnect"}

    async def blocks(message: Any) -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        begun = events()
        stream = EventStream(await anext(begun), begun, asyncio.get_running_loop().time() + 60)
        await stream({}, leaves, blocks)
        assert closed == [True]

    asyncio.run(run())


def _endless(self: writing_module.TextTask, pipeline: Pipeline) -> Iterator[writing_module.Chunk]:
    while True:
        yield from (writing_module.Chunk("a", None, 0) for _ in pipeline.states("a dog", seq_len=4))
