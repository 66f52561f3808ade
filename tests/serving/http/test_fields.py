"""Each field of each request with a value of its own: the work that is submitted, or the answer, is as it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING, NUM_PARTICLES
from sunfish.sampling.gaps import DEFAULT_LENGTHS, Gaps
from sunfish.sampling.infilling import Infilled
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.app import build_app
from sunfish.serving.filling import Filled, FillTask, RewriteTask
from sunfish.serving.schemas import GENERATION, ChatRequest, CompletionRequest, DrawingRequest, RewriteRequest
from sunfish.serving.service import Service
from sunfish.serving.writing import Chunk, TextTask, Written
from tests.serving.http.conftest import LOCAL, WARM, Json
from tests.settings.values import STEPPED, VERIFIED

WRITTEN = Written("ab", True, 3, 2, [1, 2], ["a", "b"], 0.5)
FILLED = Filled(Infilled("ab", "", ["a"], 2, [1, 2], -1.5, 9.0), True, 3, 2, 0)
MESSAGES = [{"role": "user", "content": "a dog"}]


class Recorded:
    """A client, and the tasks that its server was to run."""

    def __init__(self, client: TestClient, tasks: list[Any]) -> None:
        self.client, self.tasks = client, tasks

    def ask(self, url: str, body: Json) -> Any:
        """The answer; the tasks are those of this request."""
        self.tasks.clear()
        response = self.client.post(f"/v1/{url}", json=body)
        assert response.status_code == 200, response.text
        return response

    def task(self, url: str, body: Json) -> Any:
        """The one task of a request."""
        self.ask(url, body)
        (task,) = self.tasks
        return task


@pytest.fixture
def recorded(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """Tasks end at once, without the network."""
    tasks: list[Any] = []

    def answered(answer: Any) -> Any:
        def call(self: Any, _: Pipeline) -> Iterator[Any]:
            tasks.append(self)
            yield answer

        return call

    monkeypatch.setattr(TextTask, "__call__", answered(Chunk("ab", None, 2, WRITTEN)))
    monkeypatch.setattr(FillTask, "__call__", answered(FILLED))
    monkeypatch.setattr(RewriteTask, "__call__", answered(FILLED.infilled))
    with TestClient(build_app(Service(pipeline, "drawn")), LOCAL) as client:
        yield Recorded(client, tasks)


TEXT = TextTask("a dog", WARM, 32, 7, 0)
FILL = FillTask(
    Gaps(["a", ""], [DEFAULT_LENGTHS]), "", replace(FILLING, guidance_scale=0.0), 7, 1, NUM_PARTICLES, None
)
GAP = Gaps(["a", "b"], [DEFAULT_LENGTHS])
# Field -> what is given, and what changes in the task; of fields that the answer shows, in a test below.
TEXT_FIELDS: dict[str, tuple[Json, Json]] = {
    "model": ({"model": "drawn"}, {}),
    "seed": ({"seed": 9}, {"seed": 9}),
    "max_tokens": ({"max_tokens": 50}, {"seq_len": 51}),
    "stop": ({"stop": "x"}, {"stop": ("x",)}),
    "stream": ({"stream": True}, {"streams": True}),
    "diffusing": ({"stream": True, "diffusing": True}, {"streams": True, "diffusing": True}),
}
SHOWN = {"n", "best_of", "stream_options", "step_maps"}
COMPLETION: dict[str, tuple[Json, Json]] = {
    **TEXT_FIELDS,
    "prompt": ({"prompt": "the sea"}, {"prompt": "the sea"}),
    "logprobs": ({"logprobs": 4}, {"num_top": 4}),
}
FILLS: dict[str, tuple[Json, Json]] = {
    "text": ({"text": "b[MASK:2]"}, {"gaps": Gaps(["b", ""], [range(2, 3)])}),
    "suffix": ({"text": None, "prompt": "a", "suffix": "b"}, {"gaps": GAP}),
    "about": (
        {"text": None, "prompt": "a", "suffix": "b", "about": "c"},
        {"gaps": GAP, "prompt": "c", "config": FILLING},
    ),
    "prompt": ({"prompt": "c"}, {"prompt": "c", "config": FILLING}),
    "num_particles": ({"num_particles": 5}, {"num_particles": 5}),
    "max_tokens": ({"max_tokens": 5}, {"max_tokens": 5}),
    "n": ({"n": 3}, {"count": 3}),
    "seed": ({"seed": 9}, {"seed": 9}),
    "logprobs": ({"logprobs": 2}, {"num_top": 2}),
}
CHAT: dict[str, tuple[Json, Json]] = {
    **TEXT_FIELDS,
    "messages": ({"messages": [{"role": "user", "content": "b"}]}, {"prompt": "b"}),
    "max_completion_tokens": ({"max_completion_tokens": 5}, {"seq_len": 6}),
    "logprobs": ({"logprobs": True}, {"num_top": 0}),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 4}, {"num_top": 4}),
}
REWRITE: dict[str, tuple[Json, Json]] = {
    "model": ({"model": "drawn"}, {}),
    "text": ({"text": "a cat"}, {"text": "a cat"}),
    "spans": ({"spans": [[0, 2]]}, {"spans": [(0, 2)]}),
    "replace": ({"replace": ["dog"]}, {"spans": [(0, 1), (2, 5)]}),
    "prompt": ({"prompt": "c"}, {"prompt": "c", "config": FILLING}),
    "seed": ({"seed": 9}, {"seed": 9}),
    "n": ({"n": 3}, {"count": 3}),
    "num_particles": ({"num_particles": 5}, {"num_particles": 5}),
}
REWRITING = RewriteTask("a dog", [(0, 1)], "", replace(FILLING, guidance_scale=0.0), 7, 1, NUM_PARTICLES)


def test_every_field_has_a_row() -> None:
    settings = set(GENERATION)
    assert COMPLETION.keys() | FILLS.keys() | SHOWN | settings == set(CompletionRequest.model_fields)
    assert CHAT.keys() | SHOWN | settings == set(ChatRequest.model_fields)
    assert set(REWRITE) == set(RewriteRequest.model_fields) - settings
    assert settings == {field.name for field in fields(GenerationConfig)}
    assert {**VERIFIED, **STEPPED}.keys() | {"composed_prompts"} == settings


@pytest.mark.parametrize("name", COMPLETION)
def test_a_field_of_a_completion(recorded: Recorded, name: str) -> None:
    body, change = COMPLETION[name]
    task = recorded.task("completions", {"prompt": "a dog", "seed": 7, **body})
    assert task == replace(TEXT, **change)


@pytest.mark.parametrize("name", CHAT)
def test_a_field_of_a_chat(recorded: Recorded, name: str) -> None:
    body, change = CHAT[name]
    task = recorded.task("chat/completions", {"messages": MESSAGES, "seed": 7, **body})
    assert task == replace(TEXT, **change)


@pytest.mark.parametrize("name", FILLS)
def test_a_field_of_a_text_with_gaps(recorded: Recorded, name: str) -> None:
    body, change = FILLS[name]
    task = recorded.task("completions", {"text": "a[MASK]", "seed": 7, **body})
    assert task == replace(FILL, **change)


@pytest.mark.parametrize("name", REWRITE)
def test_a_field_of_a_rewriting(recorded: Recorded, name: str) -> None:
    body, change = REWRITE[name]
    assert recorded.task("rewrite", {"text": "a dog", "seed": 7, "spans": [[0, 1]], **body}) == replace(
        REWRITING, **change
    )


@pytest.mark.parametrize("values", [VERIFIED, STEPPED], ids=["verified", "stepped"])
@pytest.mark.parametrize("url", ["completions", "chat/completions"])
def test_settings_of_sampling(recorded: Recorded, values: Json, url: str) -> None:
    """All at once, each with a value of its own, in the place of the checkpoint's."""
    further = {"composed_prompts": [["the sea", 0.5]]}
    asked = {"prompt": "a dog"} if url == "completions" else {"messages": MESSAGES}
    given = {name: value[:3] if name == "negative_prompt" else value for name, value in values.items()}
    task = recorded.task(url, {**asked, "seed": 7, **given, **further})
    expected = replace(WARM, **{**given, "composed_prompts": (("the sea", 0.5),)})
    assert task == replace(TEXT, config=expected)


@pytest.mark.parametrize("url", ["completions", "rewrite"])
def test_settings_of_gaps(recorded: Recorded, url: str) -> None:
    """As with ``sunfish infill``: those of the posterior, whatever suits the checkpoint's texts."""
    given = {name: value for name, value in VERIFIED.items() if name in DrawingRequest.model_fields}
    given["negative_prompt"] = "sea"
    asked: Json = {"text": "a[MASK]"} if url == "completions" else {"text": "a dog", "spans": [[0, 1]]}
    task = recorded.task(url, {**asked, "prompt": "c", **given, "composed_prompts": [["b", 2]]})
    assert task.config == GenerationConfig(**given, composed_prompts=(("b", 2.0),))


def test_gaps_on_the_canvas_are_not_as_cold_as_a_posterior(recorded: Recorded) -> None:
    task = recorded.task("completions", {"text": "a[MASK]", "prompt": "c", "sampler": "leftmost"})
    assert task.config == GenerationConfig(sampler="leftmost", guidance_scale=1.0)


def test_texts_and_drafts_are_numbered(recorded: Recorded) -> None:
    recorded.ask("completions", {"prompt": ["a", "b"], "n": 1, "best_of": 2, "seed": 7})
    numbered = [(task.prompt, task.number, task.is_ranked) for task in recorded.tasks]
    assert sorted(numbered) == [("a", 0, True), ("a", 1, True), ("b", 2, True), ("b", 3, True)]
    choices = recorded.ask("chat/completions", {"messages": MESSAGES, "n": 3}).json()["choices"]
    assert len(choices) == 3 and not any(task.is_ranked for task in recorded.tasks)


@pytest.mark.parametrize("url", ["completions", "chat/completions"])
def test_what_the_answer_shows(recorded: Recorded, url: str) -> None:
    asked: Json = {"prompt": "a dog"} if url == "completions" else {"messages": MESSAGES}
    (choice,) = recorded.ask(url, {**asked, "step_maps": True}).json()["choices"]
    assert (choice["step_maps"], choice["tokens"]) == ([1, 2], ["a", "b"])
    for options, last in (({"include_usage": True}, '"usage": {"prompt_tokens": 3'), (None, '"stop"')):
        text = recorded.ask(url, {**asked, "stream": True, "stream_options": options}).text
        assert last in text.strip().split("\n\n")[-2]
        assert ('"usage"' in text) == bool(options)


def test_a_number_of_steps_asks_for_the_sampler_of_the_process(recorded: Recorded) -> None:
    task = recorded.task("completions", {"prompt": "a dog", "seed": 7, "num_steps": 3})
    assert task.config == replace(WARM, sampler="leftmost", num_steps=3)
