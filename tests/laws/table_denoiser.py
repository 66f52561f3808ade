"""A denoiser with logits looked up by the text so far, and the autoregressive distribution they make."""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser
from sunfish.model.draft import Draft, DraftAt, likely_ids_of
from sunfish.model.kv_cache import KVCache
from sunfish.rng import make_generator
from sunfish.sampling.logits import warp
from sunfish.types import Condition, Start, State

V, N = 3, 5  # the first position is the start mark
PROMPT = Condition(torch.zeros(1, 1, 1, 2, 1), torch.zeros(1, 1, 1, 2, 1), torch.ones(1, 2, dtype=torch.bool))


class TableDenoiser:
    """Next-token and canvas logits, drawn once for each prefix, with and without the prompt.

    Its cache holds the ids themselves: what a row's start does not reach belongs to longer rows.
    """

    def __init__(self) -> None:
        self.table: dict[tuple[object, ...], Tensor] = {}
        self.draft_passes = 0

    def logits(self, *key: object) -> Tensor:
        """``[V]``, always the same for one key."""
        if key not in self.table:
            generator = make_generator(*map(str, key))
            self.table[key] = 1.5 * torch.randn(V, generator=generator, dtype=torch.float64)
        return self.table[key]

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        raise AssertionError("speculative decoding denoises drafts only")

    def draft(self, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start) -> Draft:
        """Of a canvas that begins with the newest token; what is settled after it, the tables do not look at."""
        assert bool((x[:, 0] < V).all()) and torch.equal(x == V, t == 1) and torch.equal(x < V, t == 0)
        self.draft_passes += 1
        texts = [[*self._text(cache, start, row), int(ids[0])] for row, ids in enumerate(x)]
        return self.draft_after("alone", texts, condition, x.shape[1] - 1)

    def prefill_and_draft(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, DraftAt]:
        """Of canvases of masks after every id."""
        self.draft_passes += 1
        width = t.shape[1] // ids.shape[1]
        assert x.shape == t.shape == (len(ids), width * ids.shape[1])
        assert bool((x == V).all()) and bool((t == 1).all())
        known = [self._text(cache, start, row) for row in range(len(ids))]

        def draft_at(index: Tensor) -> Draft:
            rows = zip(known, ids.tolist(), index.tolist(), strict=True)
            texts = [[*text, *new[: i + 1]] for text, new, i in rows]
            return self.draft_after("together", texts, condition, width - 1)

        return *self.prefill(ids, condition, cache, start), draft_at

    def draft_after(self, kind: str, texts: list[list[int]], condition: Condition, count: int) -> Draft:
        """Logits that differ for each text, place, and token before."""
        visible = condition.mask[:, 1].tolist()
        rows = [(kind, prompted, *text) for prompted, text in zip(visible, texts, strict=True)]

        def conditional_logits(ids: Tensor, candidates: Tensor | None) -> Tensor:
            logits = torch.stack(
                [
                    torch.stack(
                        [self.logits(*row, "conditional", i, last) for i, last in enumerate(previous)]
                    )
                    for row, previous in zip(rows, ids.tolist(), strict=True)
                ]
            )
            if candidates is None:
                return logits
            return logits.gather(2, candidates[:, None].expand(-1, logits.shape[1], -1))

        def marginal_logits(number: int) -> Tensor:
            places = [[self.logits(*row, "marginal", i) for i in range(count)] for row in rows[:number]]
            return torch.stack([torch.stack(place) for place in places])

        return Draft(
            V,
            marginal_logits,
            likely_ids_of(marginal_logits),
            lambda candidates: partial(conditional_logits, candidates=candidates),
        )

    def prefill(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        """Next-token logits, and the cache of ids ``[1, 1, B, 1, C, 1]``."""
        new = KVCache(ids.double()[None, None, :, None, :, None])
        grown, begin = (new, 0) if cache is None else (cache.append(new), cache.length)
        rows = []
        for row, tokens in enumerate(ids.tolist()):
            text = self._text(cache, begin if start is None else start, row)
            prompted = bool(condition.mask[row, 1])
            keys = [(*text, *tokens[: i + 1]) for i in range(len(tokens))]
            rows.append(torch.stack([self.logits("next", prompted, *key) for key in keys]))
        return torch.stack(rows), grown

    def _text(self, cache: KVCache | None, start: Start, row: int) -> list[int]:
        """The ids of the cache that ``row`` sees."""
        text = [] if cache is None else cache.keys_values[0, 0, row, 0, :, 0].int().tolist()
        assert isinstance(start, Tensor) or len(text) == start
        return text[: int(start[row])] if isinstance(start, Tensor) else text


def autoregressive(denoiser: Denoiser, config: GenerationConfig) -> Tensor:
    """The probability of every text of N - 1 tokens after the start mark, by enumeration, ``[V^(N-1)]``."""
    probabilities = []
    for text in itertools.product(range(V), repeat=N - 1):
        ids = torch.tensor([[0, *text]])
        logits, _ = denoiser.prefill(ids[:, :-1], PROMPT)
        for place in range(1, N - 1):  # the start mark is none of the text
            for token in set(text[:place]):
                factor = config.repetition_penalty ** (1 if logits[0, place, token] < 0 else -1)
                logits[0, place, token] *= factor
        warped = warp(logits, config)
        chosen = torch.log_softmax(warped, -1).gather(-1, ids[:, 1:, None])
        probabilities.append(math.exp(float(chosen.sum())))
    return torch.tensor(probabilities, dtype=torch.float64)
