"""Exact log-probabilities of the tokens of a growing text, with the likeliest others, from the causal mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from sunfish.model.kv_cache import KVCache
from sunfish.rng import refuse_nan
from sunfish.sampling.logits import VocabularyMask
from sunfish.sampling.text_generator import TextGenerator


class TokenLogprob(NamedTuple):
    """log p of a token given the prompt and the text before it, in nats; ``top``: the likeliest tokens there."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


class TokenScorer:
    """Scores a text piece by piece: plain likelihoods, without guidance, temperature or cuts.

    Over a text and its end mark they add up to :meth:`TextGenerator.log_likelihood`.
    """

    def __init__(self, pipeline: TextGenerator, prompt: str, num_top: int = 0) -> None:
        """``num_top``: how many of the likeliest tokens are named."""
        self.denoiser = VocabularyMask(pipeline.denoiser, pipeline.tokenizer.size)
        self.condition, self.num_top = pipeline.encode([prompt]), num_top
        self.device, self.newest = pipeline.device, pipeline.tokenizer.end
        self.cache: KVCache | None = None

    @torch.inference_mode()
    def score(self, ids: Sequence[int]) -> list[TokenLogprob]:
        """Score ``ids``, which follow those of earlier calls.

        Raises:
            ValueError: The network returned NaN.
        """
        if not ids:
            return []
        before = torch.tensor([[self.newest, *ids[:-1]]], device=self.device)
        logits, self.cache = self.denoiser.prefill(before, self.condition, self.cache)
        self.newest = ids[-1]
        refuse_nan(logits.amax(-1))
        logprobs = torch.log_softmax(logits[0].double(), dim=-1)
        chosen = logprobs.gather(-1, torch.tensor(ids, device=self.device)[:, None])[:, 0].tolist()
        values, tokens = logprobs.topk(min(self.num_top, logprobs.shape[-1]), dim=-1)
        return [
            TokenLogprob(token, logprob, list(zip(names, best, strict=True)))
            for token, logprob, names, best in zip(ids, chosen, tokens.tolist(), values.tolist(), strict=True)
        ]
