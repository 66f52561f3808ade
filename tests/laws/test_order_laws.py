"""The likelihood of an order of unmasking, by enumeration: over all texts it sums to 1, and each is a product."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from benchmarks.quality.orders import ORDERS, nats_in_order, shuffled
from sunfish.model.kv_cache import KVCache
from sunfish.rng import make_generator
from sunfish.types import Condition, Start, State
from tests.laws.table_denoiser import PROMPT, TableDenoiser, V

N = 4  # positions, the first one known


class Canvas(TableDenoiser):
    """Logits that differ for each canvas and position."""

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        assert torch.equal(x == V, t == 1)
        seen = x[0].tolist()
        return torch.stack([self.logits("canvas", *seen, place) for place in range(len(seen))])[None]


def likelihood(canvas: Canvas, text: tuple[int, ...], name: str) -> float:
    order = shuffled(N, "law") if name == "random" else ORDERS[name]
    return math.exp(-nats_in_order(canvas, V, PROMPT, torch.tensor([[0, *text]]), 1, order))


@pytest.mark.parametrize("name", [*ORDERS, "random"])
def test_the_likelihoods_of_all_texts_sum_to_one(name: str) -> None:
    canvas = Canvas()
    total = sum(likelihood(canvas, text, name) for text in itertools.product(range(V), repeat=N - 1))
    assert total == pytest.approx(1, abs=1e-12)


def by_hand(canvas: Canvas, text: list[int], name: str) -> float:
    """Of ``text`` with the position of each step chosen in plain Python."""
    state, probability = [0, *[V] * (N - 1)], 1.0
    shuffle = torch.randperm(N, generator=make_generator("law")).tolist()
    while V in state:
        rows = {}
        for place in (place for place in range(N) if state[place] == V):
            weights = [math.exp(logit) for logit in canvas.logits("canvas", *state, place).tolist()]
            rows[place] = [weight / sum(weights) for weight in weights]
        scores = {
            "leftmost": {place: -place for place in rows},
            "confidence": {place: max(row) for place, row in rows.items()},
            "entropy": {place: sum(p * math.log(p) for p in row) for place, row in rows.items()},
            "random": {place: shuffle[place] for place in rows},
        }[name]
        place = max(rows, key=scores.__getitem__)
        probability *= rows[place][text[place]]
        state[place] = text[place]
    return probability


@pytest.mark.parametrize("name", [*ORDERS, "random"])
def test_a_likelihood_is_the_product_in_its_order(name: str) -> None:
    canvas, by_name = Canvas(), {}
    for text in itertools.product(range(V), repeat=N - 1):
        by_name[text] = likelihood(canvas, text, name)
        assert by_name[text] == pytest.approx(by_hand(canvas, [0, *text], name), rel=1e-9)
    other = "leftmost" if name != "leftmost" else "confidence"
    assert any(likelihood(canvas, text, other) != pytest.approx(p, rel=0.01) for text, p in by_name.items())
