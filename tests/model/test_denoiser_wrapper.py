"""A wrapper around a denoiser: every call is repeated for each branch, prepared, and finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sunfish.model.denoiser import Denoiser, DenoiserWrapper
from sunfish.model.draft import Draft
from sunfish.model.transformer import Transformer
from sunfish.types import Condition, Start
from tests.helpers import CONFIG, batch, model, row_of

IDS = torch.tensor([[3, 9, 4], [7, 2, 8], [1, 1, 5]])
WIDTH = 4
RAGGED = torch.tensor([6, 2, 4])


class Doubling(DenoiserWrapper):
    """One branch; logits are doubled and the prompts hidden."""

    def prepare(self, condition: Condition) -> Condition:
        return condition.without_prompts()

    def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        return 2 * logits


class Contrasting(DenoiserWrapper):
    """Two branches, with the prompts and without; their difference counts."""

    num_branches = 2

    def prepare(self, condition: Condition) -> Condition:
        return condition.with_null()

    def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        conditional, unconditional = logits.chunk(2)
        return 3 * conditional - unconditional


def canvases(count: int) -> tuple[Tensor, Tensor]:
    """``count`` canvases of masks for each row, one after the other, and their times."""
    shape = (3, count * WIDTH)
    return torch.full(shape, CONFIG.vocab_size), torch.ones(shape)


def draft_logits(draft: Draft) -> list[Tensor]:
    """All that a draft says of three positions."""
    assert draft.conditional_logits is not None
    logits = draft.conditional_logits(None)(IDS)
    some = draft.conditional_logits(IDS)(IDS)
    expected = logits.gather(2, IDS[:, None].expand(-1, 3, -1))
    torch.testing.assert_close(some, expected, atol=1e-10, rtol=0)
    return [draft.marginal_logits(len(IDS)), logits]


def answers(denoiser: Denoiser, condition: Condition, cached: Tensor, start: Start) -> list[Tensor]:
    """The logits of every call of the protocol, after the text ``cached``."""
    logits, cache = denoiser.prefill(cached, condition)
    x, t = canvases(1)
    result = [logits, denoiser.denoise(x, t, condition, cache, start)]
    after, _ = denoiser.prefill(IDS, condition, cache, start)
    result += [after, *draft_logits(denoiser.draft(x, t, condition, cache, start))]
    x, t = canvases(IDS.shape[1])
    together, grown, draft_at = denoiser.prefill_and_draft(IDS, x, t, condition, cache, start)
    result += [together, *draft_logits(draft_at(torch.tensor([2, 0, 1])))]
    starts = start if isinstance(start, Tensor) else torch.full((3,), start)
    accepted, x, t = grown.accept(starts.tolist(), [3, 1, 2], 3), *canvases(1)
    return [*result, denoiser.denoise(x, t, condition, accepted, starts + torch.tensor([3, 1, 2]))]


def plain(network: Transformer, condition: Condition, start: Start) -> list[Tensor]:
    return answers(network, condition, batch().x0[:, :6], start)


@pytest.mark.parametrize("start", [6, RAGGED], ids=["even", "ragged"])
@torch.no_grad()
def test_the_base_passes_everything_on(start: Start) -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    wrapped = answers(DenoiserWrapper(network), condition, texts.x0[:, :6], start)
    for actual, expected in zip(wrapped, plain(network, condition, start), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("start", [6, RAGGED], ids=["even", "ragged"])
@pytest.mark.parametrize(
    ("wrapper", "combined"),
    [
        (Doubling, lambda conditional, unconditional: 2 * unconditional),
        (Contrasting, lambda conditional, unconditional: 3 * conditional - unconditional),
    ],
)
@torch.no_grad()
def test_every_call_is_prepared_and_finished(
    wrapper: type[DenoiserWrapper], combined: Callable[[Tensor, Tensor], Tensor], start: Start
) -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    conditional = plain(network, condition, start)
    unconditional = plain(network, condition.without_prompts(), start)
    wrapped = answers(wrapper(network), condition, texts.x0[:, :6], start)
    assert all(logits.shape[0] == 3 for logits in wrapped)
    for actual, *branches in zip(wrapped, conditional, unconditional, strict=True):
        torch.testing.assert_close(actual, combined(*branches), atol=1e-10, rtol=0)


@torch.no_grad()
def test_the_cache_has_a_row_for_every_branch() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    _, cache = Contrasting(network).prefill(texts.x0, condition)
    assert cache.num_rows == 6
    for row in range(3):
        alone = row_of(condition, row)
        for branch, prompt in enumerate((alone, alone.without_prompts())):
            _, expected = network.prefill(texts.x0[row : row + 1], prompt)
            actual = cache.keys_values[:, :, 3 * branch + row]
            torch.testing.assert_close(actual, expected.keys_values[:, :, 0], atol=1e-10, rtol=0)


@torch.no_grad()
def test_wrappers_nest() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    conditional, _ = network.prefill(texts.x0, condition)
    unconditional, _ = network.prefill(texts.x0, condition.without_prompts())

    class Halving(DenoiserWrapper):
        def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
            return logits / 2

    logits, _ = Contrasting(Halving(network)).prefill(texts.x0, condition)
    torch.testing.assert_close(logits, (3 * conditional - unconditional) / 2, atol=1e-10, rtol=0)


@torch.no_grad()
def test_a_draft_without_a_head_has_no_conditional_logits() -> None:
    network, texts = model(config=replace(CONFIG, draft_head=False)), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    draft = Doubling(network).draft(*canvases(1), condition, None, 0)
    assert draft.conditional_logits is None and draft.vocab_size == CONFIG.vocab_size
    plain = network.draft(*canvases(1), condition.without_prompts(), None, 0)
    torch.testing.assert_close(draft.marginal_logits(3), 2 * plain.marginal_logits(3))


@torch.no_grad()
def test_of_several_branches_the_first_says_what_is_likely() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    plain = network.draft(*canvases(1), condition, None, 0)
    contrasting = Contrasting(network).draft(*canvases(1), condition, None, 0)
    for likely, expected in zip(contrasting.likely_ids(4, 3), plain.likely_ids(4, 3), strict=True):
        assert torch.equal(likely, expected)
    assert contrasting.marginal_logits(2).shape == (2, WIDTH - 1, CONFIG.vocab_size)


def test_a_network_and_a_wrapper_are_denoisers() -> None:
    network = model()
    assert isinstance(network, Denoiser) and isinstance(Contrasting(network), Denoiser)


@torch.no_grad()
def test_a_condition_is_prepared_once_for_all_passes() -> None:
    network, texts = model(), batch()
    first, second = (network.encode(texts.prompt[:, :n], texts.prompt_mask[:, :n]) for n in (5, 3))
    seen: list[Condition] = []

    class Counting(Contrasting):
        def prepare(self, condition: Condition) -> Condition:
            seen.append(condition)
            return super().prepare(condition)

    wrapper = Counting(network)
    for condition in (first, first, second, first):
        wrapper.prefill(IDS, condition)
    assert [condition is first for condition in seen] == [True, False, True]
