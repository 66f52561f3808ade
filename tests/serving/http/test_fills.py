"""Gaps and rewriting over HTTP are those of the pipeline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING
from sunfish.sampling.gaps import parse
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.filling import FillTask, RewriteTask
from tests.serving.http.conftest import Json
from tests.serving.http.events import events

URL = "/v1/completions"
UNPROMPTED = replace(FILLING, guidance_scale=0.0)


def ask(client: TestClient, url: str = URL, **body: object) -> Json:
    response = client.post(url, json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def likelihood(pipeline: Pipeline, text: str, prompt: str, finished: bool = True) -> float:
    """log p of a text, and of its end where it is ``finished``, exact."""
    ids = pipeline.tokenizer.encode(text)
    whole = Generated(text, prompt, finished, len(ids), ids)
    return pipeline.log_likelihood(pipeline.row(whole), pipeline.encode([prompt])).item()


@pytest.mark.parametrize("left,right", [("the ", " ran"), ("", "abc"), ("ab", "")])
def test_a_gap_between_prompt_and_suffix(
    letters_client: TestClient, letters: Pipeline, left: str, right: str
) -> None:
    """The choice is what stands between them, letter by letter."""
    answer = ask(letters_client, prompt=left, suffix=right, about="a dog", n=2, seed=4, max_tokens=3)
    for choice in answer["choices"]:
        (fill,) = choice["fills"]
        assert choice["text"] == fill
        exact = likelihood(letters, left + choice["text"] + right, "a dog")
        assert choice["log_likelihood"] == pytest.approx(exact, abs=1e-3)
        assert 0 < choice["effective_sample_size"] <= 32 and choice["finish_reason"] == "stop"
    given = len(left) + len(right)
    assert answer["usage"]["prompt_tokens"] == given + len("a dog")
    fills = sum(len(choice["text"]) for choice in answer["choices"])
    assert answer["usage"]["completion_tokens"] == fills


def test_a_mask_in_prompt_and_suffix_is_a_word_like_any_other(client: TestClient) -> None:
    answer = ask(client, prompt="[MASK] a", suffix="[MASK]", seed=4, max_tokens=2)
    assert len(answer["choices"][0]["fills"]) == 1
    assert answer["usage"]["prompt_tokens"] == len("[MASK] a[MASK]")


def test_tasks_are_calls_of_the_pipeline(pipeline: Pipeline) -> None:
    """Over HTTP passes are shared, and the rounding of a logit may decide otherwise; here they are the same."""
    text = "a[MASK:2]b[MASK:1-3]c"
    config = GenerationConfig(guidance_scale=2.0)
    filled = list(FillTask(parse(text), "a dog", config, 4, 2, 9, 2)(pipeline))
    expected = pipeline.infill(
        text, config, prompt="a dog", seed=4, num_samples=2, num_particles=9, max_tokens=2
    )
    assert [fill.infilled for fill in filled] == expected
    assert [(fill.prompt_tokens, fill.tokens) for fill in filled] == [
        (8, text.tokens - 3) for text in expected
    ]
    rewritten = list(RewriteTask("the dog", [(4, 7)], "a dog", config, 4, 3, 9)(pipeline))
    assert rewritten == pipeline.rewrite("the dog", [(4, 7)], "a dog", config, seed=4, n=3, num_particles=9)


def test_several_gaps_of_a_text(letters_client: TestClient, letters: Pipeline) -> None:
    text = "a[MASK:2]b[MASK:1-3]c"
    (choice,) = ask(letters_client, text=text, prompt="a dog", seed=4, num_particles=9)["choices"]
    assert choice["text"] == "a{}b{}c".format(*choice["fills"])
    assert choice["log_likelihood"] == pytest.approx(likelihood(letters, choice["text"], "a dog"), abs=1e-3)


@pytest.mark.parametrize("settings", [{}, {"num_steps": 2}], ids=["posterior", "canvas"])
def test_log_probabilities_of_a_text_with_gaps(
    letters_client: TestClient, letters: Pipeline, settings: Json
) -> None:
    """Of all tokens, given and filled: without that of the end they add up to the likelihood of the text."""
    text = "a[MASK:2]b[MASK:1-3]c"
    (choice,) = ask(letters_client, text=text, prompt="a dog", seed=4, logprobs=20, **settings)["choices"]
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == list(choice["text"])
    assert logprobs["text_offset"] == list(range(len(choice["text"])))
    exact = likelihood(letters, choice["text"], "a dog", finished=False)
    assert sum(logprobs["token_logprobs"]) == pytest.approx(exact, abs=1e-3)
    assert all(len(top) == 20 for top in logprobs["top_logprobs"])
    alone = ask(letters_client, text=text, prompt="a dog", seed=4, **settings)["choices"][0]
    assert alone["logprobs"] is None and alone["text"] == choice["text"]


def test_log_probabilities_between_prompt_and_suffix(letters_client: TestClient) -> None:
    """Those of the choice's own tokens: of the same text as one with gaps, the part between."""
    body: Json = {"seed": 4, "num_particles": 9, "logprobs": 2, "max_tokens": 5}
    gap = ask(letters_client, prompt="the ", suffix=" ran", **body)["choices"][0]
    whole = ask(letters_client, text="the [MASK] ran", **body)["choices"][0]
    assert whole["text"] == f"the {gap['text']} ran"
    part = slice(4, 4 + len(gap["text"]))
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        assert gap["logprobs"][name] == whole["logprobs"][name][part]
    assert gap["logprobs"]["text_offset"] == list(range(len(gap["text"])))


def test_an_open_end_is_cut_where_there_is_no_more_room(
    letters_client: TestClient, letters: Pipeline
) -> None:
    """A gap at the end of a text is written to where the model ends it, if there is room."""
    reasons = set()
    for seed in range(3):
        (choice,) = ask(letters_client, text="a dog[MASK]", seed=seed, num_particles=2)["choices"]
        is_full = len(choice["text"]) == letters.model.config.context_length - 2
        assert choice["finish_reason"] == ("length" if is_full else "stop")
        reasons.add(choice["finish_reason"])
        bound = ask(letters_client, text="a dog[MASK]", seed=seed, num_particles=2, max_tokens=2)
        assert len(bound["choices"][0]["fills"][0]) <= 2 and bound["choices"][0]["finish_reason"] == "stop"
    assert "length" in reasons


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
    assert [chunk["usage"] for chunk in chunks] == [None, None, whole["usage"]]


def test_rewriting_spans_and_words(letters_client: TestClient, letters: Pipeline) -> None:
    """Different texts, the likeliest first, each with its exact likelihood; what was not named stays."""
    text = "the dog ran"
    answer = ask(
        letters_client,
        "/v1/rewrite",
        text=text,
        spans=[[8, 11]],
        replace=["dog"],
        n=3,
        seed=4,
        prompt="a dog",
    )
    choices = answer["choices"]
    assert answer["object"] == "rewriting" and [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({text, *(choice["text"] for choice in choices)}) == 4
    for choice in choices:
        assert choice["text"] == "the {} {}".format(*choice["fills"])
        exact = likelihood(letters, choice["text"], "a dog")
        assert choice["log_likelihood"] == pytest.approx(exact, abs=1e-3)
        assert choice["tokens"] == len(choice["text"]) and choice["effective_sample_size"] > 0
    likelihoods = [choice["log_likelihood"] for choice in choices]
    assert likelihoods == sorted(likelihoods, reverse=True)
