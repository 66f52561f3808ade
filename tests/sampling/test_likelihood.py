"""Log-probabilities of tokens: piece by piece as in one pass, and their sum is the text's likelihood."""

from __future__ import annotations

import pytest
import torch

from sunfish.sampling.likelihood import TokenScorer
from sunfish.sampling.pipeline import Pipeline

IDS = [4, 9, 4, 17, 2, 6, 11]


@pytest.mark.parametrize("prompt", ["dogs", ""])
def test_they_add_up_to_the_likelihood_of_the_text(drawn_pipeline: Pipeline, prompt: str) -> None:
    end = drawn_pipeline.tokenizer.end
    row = torch.tensor([[end, *IDS, end]])
    expected = drawn_pipeline.log_likelihood(row, drawn_pipeline.encode([prompt])).item()
    scored = TokenScorer(drawn_pipeline, prompt).score([*IDS, end])
    assert [token for token, _, _ in scored] == [*IDS, end]
    assert sum(logprob for _, logprob, _ in scored) == pytest.approx(expected, abs=1e-4)


def test_pieces_are_scored_as_the_whole(drawn_pipeline: Pipeline) -> None:
    whole = TokenScorer(drawn_pipeline, "dogs", 3).score(IDS)
    scorer = TokenScorer(drawn_pipeline, "dogs", 3)
    pieces = [token for piece in ([], IDS[:1], IDS[1:5], [], IDS[5:]) for token in scorer.score(piece)]
    assert [token.token for token in pieces] == IDS
    for one, other in zip(pieces, whole, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
        assert [token for token, _ in one.top] == [token for token, _ in other.top]


@pytest.mark.parametrize("count", [0, 1, 5, 99])
def test_the_likeliest_are_those_of_a_pass(drawn_pipeline: Pipeline, count: int) -> None:
    with torch.no_grad():
        ids = torch.tensor([[drawn_pipeline.tokenizer.end, *IDS[:-1]]])
        logits = drawn_pipeline.model.prefill(ids, drawn_pipeline.encode(["dogs"]))[0]
    expected = torch.log_softmax(logits[0].double(), -1)
    for place, scored in enumerate(TokenScorer(drawn_pipeline, "dogs", count).score(IDS)):
        order = expected[place].argsort(descending=True)[:count].tolist()
        assert [token for token, _ in scored.top] == order
        assert [logprob for _, logprob in scored.top] == pytest.approx(expected[place][order].tolist())
