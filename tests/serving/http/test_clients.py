"""OpenAI's own clients, in Python and JavaScript, against a server that listens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sunfish.config import GenerationConfig
from sunfish.sampling.pipeline import Pipeline
from tests.serving.http.conftest import WARM, Json

if TYPE_CHECKING:
    import openai

# What goes over HTTP is tested without them; the library alone takes most of a second to import.
pytestmark = pytest.mark.slow
USER: Json = {"role": "user", "content": "a dog"}


@pytest.fixture
def client(live: str) -> openai.OpenAI:
    import openai

    return openai.OpenAI(base_url=live, api_key="none", max_retries=0)


def type_of(name: str) -> type[openai.APIStatusError]:
    """An error of the library, by its name."""
    import openai

    error: type[openai.APIStatusError] = getattr(openai, name)
    return error


def test_models(client: openai.OpenAI) -> None:
    (card,) = client.models.list().data
    assert card.id == client.models.retrieve("drawn").id == "drawn"
    assert card.context_length == 32  # type: ignore[attr-defined]
    with pytest.raises(type_of("NotFoundError"), match="this server has drawn"):
        client.models.retrieve("other")


def test_a_completion_with_fields_of_ours(client: openai.OpenAI, pipeline: Pipeline) -> None:
    answer = client.completions.create(
        model="drawn", prompt="a dog", seed=10, logprobs=2, stop=["never"], extra_body={"top_k": 40}
    )
    config = GenerationConfig(**{**vars(WARM), "top_k": 40})
    (text,) = pipeline.generate(["a dog"], config, seed=10)
    (choice,) = answer.choices
    assert choice.text == text.text and choice.finish_reason == "length"
    assert choice.logprobs is not None and choice.logprobs.tokens is not None
    assert answer.usage is not None and answer.usage.completion_tokens == len(choice.logprobs.tokens) == 31


def test_a_stream_of_a_completion(client: openai.OpenAI, pipeline: Pipeline) -> None:
    chunks = list(client.completions.create(model="drawn", prompt="a dog", seed=10, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == pipeline.generate(["a dog"], seed=10)[0].text
    assert chunks[-1].choices[0].finish_reason == "length" and len(chunks) > 2


def test_an_infilling(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="drawn", prompt="the ", suffix=" ran", seed=4, max_tokens=3)
    (choice,) = answer.choices
    assert choice.fills == [choice.text] or choice.fills == [f" {choice.text}"]  # type: ignore[attr-defined]
    assert choice.log_likelihood < 0 and choice.text  # type: ignore[attr-defined]


def test_a_chat(client: openai.OpenAI, pipeline: Pipeline) -> None:
    answer = client.chat.completions.create(
        model="drawn", messages=[USER], seed=10, logprobs=True, top_logprobs=1, max_completion_tokens=12
    )
    (choice,) = answer.choices
    assert choice.message.content == pipeline.generate(["a dog"], seed=10, seq_len=13)[0].text
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert answer.usage is not None and 0 < len(choice.logprobs.content) == answer.usage.completion_tokens
    again = client.chat.completions.create(  # an answer goes back as it came
        model="drawn", messages=[USER, choice.message, USER], seed=10, max_completion_tokens=12
    )
    assert again.choices[0].message.content == choice.message.content


def test_a_stream_of_a_chat_and_its_states(client: openai.OpenAI, pipeline: Pipeline) -> None:
    whole = pipeline.generate(["a dog"], seed=10)[0].text
    chunks = client.chat.completions.create(
        model="drawn", messages=[USER], seed=10, stream=True, stream_options={"include_usage": True}
    )
    *parts, last = list(chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in parts) == whole
    assert last.choices == [] and last.usage is not None and last.usage.completion_tokens == 31
    states = client.chat.completions.create(
        model="drawn", messages=[USER], seed=10, stream=True, extra_body={"diffusing": True}
    )
    texts = [chunk.choices[0].delta.content for chunk in states]
    assert texts[-1] == whole and len(texts) > len(parts)


@pytest.mark.parametrize(
    "body,kind,param",
    [
        ({"top_p": 2.0}, "BadRequestError", "top_p"),
        ({"presence_penalty": 1.0}, "BadRequestError", "presence_penalty"),
        ({"model": "gpt"}, "NotFoundError", "model"),
    ],
)
def test_errors_are_those_of_the_client(client: openai.OpenAI, body: Json, kind: str, param: str) -> None:
    with pytest.raises(type_of(kind)) as error:
        client.completions.create(**{"model": "drawn", "prompt": "a", **body})
    assert error.value.param == param and error.value.type


SCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "a dog" }];
const result = {};
result.models = (await client.models.list()).data.map((model) => model.id);
const text = await client.completions.create({ model: "drawn", prompt: "a dog", seed: 10, logprobs: 1, top_k: 40 });
result.text = text.choices[0].text;
result.tokens = text.usage.completion_tokens;
const gap = await client.completions.create({ model: "drawn", prompt: "the ", suffix: " ran", seed: 4 });
result.fills = gap.choices[0].fills.length;
const chat = await client.chat.completions.create({ model: "drawn", messages, seed: 10 });
result.chat = chat.choices[0].message.content;
result.stream = "";
const stream = await client.chat.completions.create({ model: "drawn", messages, seed: 10, stream: true });
for await (const chunk of stream) result.stream += chunk.choices[0]?.delta?.content ?? "";
result.states = [];
const states = await client.chat.completions.create(
  { model: "drawn", messages, seed: 10, stream: true, diffusing: true });
for await (const chunk of states) result.states.push(chunk.choices[0].delta.content);
try {
  await client.completions.create({ model: "drawn", prompt: "a", echo: true });
} catch (error) {
  result.error = [error.status, error.param, error.code];
}
console.log(JSON.stringify(result));
"""


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenAI's client from npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not there")
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    words = ["npm", "install", "--no-audit", "--no-fund", "--cache", str(folder / "cache"), "openai@6"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"npm could not install openai: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.mark.slow
def test_the_javascript_client(javascript: Path, live: str, pipeline: Pipeline) -> None:
    (javascript / "ask.js").write_text(SCRIPT)
    done = subprocess.run(
        ["node", "ask.js", live],
        cwd=javascript,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NO_PROXY": "*"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    whole = pipeline.generate(["a dog"], seed=10)[0].text
    assert found["models"] == ["drawn"] and found["fills"] == 1
    assert (
        found["text"]
        == pipeline.generate(["a dog"], GenerationConfig(**{**vars(WARM), "top_k": 40}), seed=10)[0].text
    )
    assert found["chat"] == found["stream"] == found["states"][-1] == whole and found["tokens"] == 31
    assert len(found["states"]) > 4
    assert found["error"] == [400, "echo", "unsupported"]
