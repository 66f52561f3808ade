"""Shared passes: each call gets what the network says to it alone, whoever shares its pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sunfish.model.growing_cache import GrowingCache
from sunfish.model.kv_cache import KVCache
from sunfish.model.shared_pass import Call, SharedPasses
from sunfish.model.transformer import Transformer
from sunfish.processes import process_builders
from sunfish.types import Condition
from tests.helpers import ids_of, model, process_of, row_generators


def condition_of(network: Transformer, rows: int, length: int, name: str) -> Condition:
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[1:, -1] = False
    return network.encode(ids_of(rows, length, name), mask)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=0)


# Rows, prompt tokens, cached tokens, new tokens of each text; the third has a start for each row.
TEXTS = [(1, 3, 0, 4), (2, 5, 7, 4), (3, 1, 9, 2), (1, 4, 5, 1)]
STARTS = {2: torch.tensor([9, 4, 6])}


def cached_text(
    network: Transformer, number: int, guided: bool = False
) -> tuple[Condition, KVCache | None, int | Tensor]:
    rows, prompt, cached, _ = TEXTS[number]
    condition = condition_of(network, rows, prompt, f"prompt {number}")
    if guided and number % 2:
        condition = condition.at_scale(1.0 + number)
    cache = network.prefill(ids_of(rows, cached, f"text {number}"), condition)[1] if cached else None
    return condition, cache, STARTS.get(number, cached)


@pytest.mark.parametrize("guided", [False, True])
@torch.inference_mode()
def test_texts_are_read_as_each_would_be_alone(guided: bool) -> None:
    network = model(guidance_conditioned=guided)
    passes, calls, expected = SharedPasses(network), [], []
    for number, (rows, _, _, new) in enumerate(TEXTS):
        condition, cache, start = cached_text(network, number, guided)
        ids = ids_of(rows, new, f"new {number}")
        calls.append(Call(ids, None, None, condition, GrowingCache.of(cache), start))
        expected.append((network.causal_pass(ids, condition, cache, start), new))
    answers = passes.run(calls)
    for place, cache, ((hidden, grown), new) in zip(answers.places, answers.caches, expected, strict=True):
        close(answers.hidden[place, :new], hidden)
        close(cache.keys_values, grown.keys_values)


@pytest.mark.parametrize("name", process_builders())
@torch.inference_mode()
def test_canvases_are_denoised_as_each_would_be_alone(name: str) -> None:
    network, width = model(process=name), 4
    calls, expected = [], []
    for number, (rows, *_) in enumerate(TEXTS):
        condition, cache, start = cached_text(network, number)
        t = torch.linspace(0, 1, width, dtype=torch.float64).repeat(rows, 1)
        clean = ids_of(rows, width, f"canvas {number}")
        x = process_of(name, network).corrupt(clean, t, row_generators("noise", number))
        calls.append(Call(None, x, t, condition, GrowingCache.of(cache), start))
        expected.append(network.canvas_pass(x, t, condition, cache, start))
    answers = SharedPasses(network).run(calls)
    assert not answers.caches
    for place, hidden in zip(answers.places, expected, strict=True):
        close(answers.hidden[place], hidden)


@pytest.mark.parametrize("name", process_builders())
@torch.inference_mode()
def test_texts_with_a_canvas_after_each_token_are_read_as_alone(name: str) -> None:
    network, new, width = model(process=name), 2, 3
    calls, expected = [], []
    for number, (rows, *_) in enumerate(TEXTS):
        condition, cache, start = cached_text(network, number)
        ids, t = ids_of(rows, new, f"new {number}"), torch.ones(rows, new * width, dtype=torch.float64)
        clean = ids_of(rows, new * width, f"canvas {number}")
        x = process_of(name, network).corrupt(clean, t, row_generators("noise", number))
        calls.append(Call(ids, x, t, condition, GrowingCache.of(cache), start))
        expected.append(network.causal_and_drafts_pass(ids, x, t, condition, cache, start))
    answers = SharedPasses(network).run(calls)
    for place, cache, (logits, grown, canvases) in zip(answers.places, answers.caches, expected, strict=True):
        close(network.head(answers.hidden[place, :new]), logits)
        close(answers.hidden[place, new:].unflatten(1, (new, width)), canvases)
        close(cache.keys_values, grown.keys_values)
