"""The denoiser: what may see what, cached equals uncached, sizes, the fused loss against plain float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sunfish.config import ProcessConfig, TrainingConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.model.kernels.autograd import gated, normalise
from sunfish.model.kernels.cross_entropy import linear_cross_entropy
from sunfish.model.layers import attend, merge_heads
from sunfish.model.masks import canvas_mask
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import Streams, generator_of
from sunfish.sampling.block_diffusion import generate
from sunfish.sampling.guidance import Guided
from sunfish.training.loss import block_times, losses_at, objective
from tests.helpers import CONFIG, END, batch, model, trained_and_cached


def test_reading_is_causal_and_cached() -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    _, whole = m.remember(b.x0, cond)
    past, first = m.remember(b.x0[:, :7], cond)
    past, second = m.remember(b.x0[:, 7:9], cond, past)
    _, third = m.remember(b.x0[:, 9:], cond, past)
    torch.testing.assert_close(torch.cat([first, second, third], 1), whole, atol=1e-10, rtol=0)
    changed = b.x0.clone()
    changed[:, 10] = (changed[:, 10] + 1) % CONFIG.vocab_size
    _, other = m.remember(changed, cond)
    torch.testing.assert_close(other[:, :10], whole[:, :10], atol=1e-12, rtol=0)
    assert (other[:, 10:] - whole[:, 10:]).abs().max() > 1e-3


@pytest.mark.parametrize("block", [1, 4, 5, 16, 0])
def test_training_and_cached_sampling_give_the_same_logits(block: int) -> None:
    together, cached = trained_and_cached(model(), build_process(ProcessConfig()), block)
    torch.testing.assert_close(cached, together, atol=1e-10, rtol=0)


def test_no_block_sees_its_own_clean_tokens() -> None:
    """Changing a clean token changes the canvas only in later blocks: otherwise the loss would leak the answer."""
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    x_t = torch.full_like(b.x0, CONFIG.vocab_size)
    t = torch.ones(b.x0.shape)

    def logits(x0: torch.Tensor) -> torch.Tensor:
        past, _ = m.remember(x0, cond)
        return m(x_t, t, cond, past, 0, 4)

    before = logits(b.x0)
    changed = b.x0.clone()
    changed[:, 6] = (changed[:, 6] + 1) % CONFIG.vocab_size
    difference = (logits(changed) - before).abs().amax(dim=(0, 2))
    assert difference[:8].max() == 0  # blocks 0-3 and 4-7
    assert difference[8:].min() > 1e-6


def test_canvas_mask_closed_form() -> None:
    mask = canvas_mask(5, 5, 0, 2, torch.device("cpu"))
    assert mask is not None
    for query in range(5):
        for key in range(5):
            assert bool(mask[query, key]) == (key < query // 2 * 2)
            assert bool(mask[query, 5 + key]) == (key // 2 == query // 2)
    assert canvas_mask(5, 0, 0, 0, torch.device("cpu")) is None


def test_dropped_prompt_empty_prompt_and_null_are_one_thing() -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    dropped = cond.drop(torch.ones(3, dtype=torch.bool))
    empty = m.encode(torch.full((3, 1), END), torch.zeros(3, 1, dtype=torch.bool))
    _, one = m.remember(b.x0, dropped)
    _, two = m.remember(b.x0, empty)
    torch.testing.assert_close(one, two, atol=1e-10, rtol=0)
    _, right = m.remember(b.x0, cond)
    assert (right - one).abs().max() > 1e-3
    null_rows = cond.with_null()
    _, both = m.remember(torch.cat([b.x0, b.x0]), null_rows)
    torch.testing.assert_close(both, torch.cat([right, one]), atol=1e-10, rtol=0)
    mixed = cond.drop(torch.tensor([True, False, True]))
    _, some = m.remember(b.x0, mixed)
    torch.testing.assert_close(some, torch.stack([one[0], right[1], one[2]]), atol=1e-10, rtol=0)


def test_padding_of_prompts_changes_nothing() -> None:
    m, b = model(), batch()
    longer = torch.cat([b.prompt, torch.full((3, 1), 7)], 1)
    mask = torch.cat([b.prompt_mask, torch.zeros(3, 1, dtype=torch.bool)], 1)
    _, one = m.remember(b.x0, m.encode(b.prompt, b.prompt_mask))
    _, two = m.remember(b.x0, m.encode(longer, mask))
    torch.testing.assert_close(one, two, atol=1e-10, rtol=0)


def test_fused_cross_entropy_against_autograd() -> None:
    hidden = torch.randn(1100, 12, dtype=torch.float64, requires_grad=True)
    table = torch.randn(31, 12, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 31, (1100,))
    weights = torch.rand(1100, dtype=torch.float64)
    plain = (F.cross_entropy(hidden @ table.T, targets, reduction="none") * weights).sum() * 0.7
    expected = torch.autograd.grad(plain, (hidden, table))
    total, losses = linear_cross_entropy(hidden, table, targets, weights)
    got = torch.autograd.grad(total * 0.7, (hidden, table))
    torch.testing.assert_close((total * 0.7).double(), plain, rtol=1e-5, atol=1e-3)
    for mine, truth in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        losses.double(), F.cross_entropy(hidden @ table.T, targets, reduction="none"), rtol=1e-5, atol=1e-5
    )


def test_cross_entropy_in_bfloat16_reports_and_learns_what_float64_does() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(700, 16, generator=generator).bfloat16().requires_grad_()
    table = torch.randn(40, 16, generator=generator).requires_grad_()
    targets, weights = torch.randint(0, 40, (700,), generator=generator), torch.ones(700)
    logits = hidden.double() @ table.double().T
    exact = F.cross_entropy(logits, targets, reduction="none")
    expected = torch.autograd.grad(exact.sum(), (hidden, table))
    total, losses = linear_cross_entropy(hidden, table, targets, weights)
    for mine, truth in zip(torch.autograd.grad(total, (hidden, table)), expected, strict=True):
        assert (mine.double() - truth.double()).norm() < 0.01 * truth.double().norm()
    assert abs(float(losses.double().mean() - exact.detach().mean())) < 0.005
    with torch.no_grad():
        _, judged = linear_cross_entropy(hidden, table, targets, weights)
        rounded = (hidden @ table.bfloat16().T).float()
    torch.testing.assert_close(judged, F.cross_entropy(rounded, targets, reduction="none"))


def test_cross_entropy_of_an_impossible_token_is_finite() -> None:
    hidden = torch.full((3, 4), 30.0, requires_grad=True)
    table = torch.tensor([[10.0] * 4, [-10.0] * 4])
    total, losses = linear_cross_entropy(hidden, table, torch.ones(3, dtype=torch.long), torch.ones(3))
    (gradient,) = torch.autograd.grad(total, hidden)
    assert losses.isfinite().all() and (losses > 80).all()
    torch.testing.assert_close(gradient, (table[0] - table[1]).expand(3, 4))


def test_written_out_attention_is_the_fused_one() -> None:
    q, k, v = (torch.randn(2, 2, n, 8, requires_grad=True) for n in (5, 9, 9))
    mask = torch.rand(5, 9) < 0.7
    mask[:, 0] = True
    row_mask = torch.rand(2, 1, 1, 9) < 0.7
    row_mask[..., 0] = True
    for visible in (mask, row_mask, None):
        exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=visible)
        written = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), visible)
        assert written.requires_grad and written.dtype == torch.bfloat16
        torch.testing.assert_close(written.double(), merge_heads(exact), atol=0.05, rtol=0.05)


def test_gated_is_swiglu_with_its_gradient() -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gated, x)
    expected = F.silu(x[:, :3]) * x[:, 3:]
    torch.testing.assert_close(gated(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(gated(x), expected)


def test_normalise_gradient() -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(normalise, x)
    torch.testing.assert_close(normalise(x), F.rms_norm(x, (6,), None, 0.0))


@pytest.mark.parametrize("block", [4, 0])
def test_objective_equals_a_plain_float64_recomputation(block: int) -> None:
    m, b = model(), batch()
    process = build_process(ProcessConfig())
    t = block_times(b, block, 0.0, 1.0, generator_of("t"))
    x_t = process.corrupt(b.x0, t, m.table, Streams([generator_of("x")]))
    cond = m.encode(b.prompt, b.prompt_mask)
    losses = losses_at(m, process, b, cond, x_t, t.double(), block, 0.3)
    tokens = (b.lengths - 1).sum()
    past, next_logits = m.remember(b.x0, cond)
    real = torch.arange(15) < (b.lengths - 1)[:, None]
    next_token = F.cross_entropy(next_logits[:, :-1][real], b.x0[:, 1:][real], reduction="sum") / tokens
    bound = process.loss(m(x_t, t, cond, past, 0, block), b.x0, x_t, t.double()).sum() / tokens
    joint = losses.total - losses.draft  # the draft head's own is proven in test_draft.py
    torch.testing.assert_close(joint.double(), 0.7 * bound + 0.3 * next_token, rtol=1e-5, atol=1e-5)
    losses.total.backward()
    assert m.table.grad is not None and float(m.table.grad.abs().sum()) > 0


def test_training_starts_at_the_logarithm_of_the_vocabulary() -> None:
    fresh = Transformer(CONFIG).initialise(generator_of("fresh"))
    losses = objective(fresh, build_process(ProcessConfig()), batch(), generator_of("g"), 0, TrainingConfig())
    assert losses.cross_entropy.item() == pytest.approx(torch.log(torch.tensor(23.0)).item(), abs=0.15)


def test_the_start_mark_is_never_corrupted() -> None:
    t = block_times(batch(), 4, 0.0, 1.0, generator_of("t"))
    assert bool((t[:, 0] == 0).all()) and bool((t[:, 1:] > 0).all())
    assert bool((t[:, 4:8] == t[:, 4:5]).all())


@pytest.mark.parametrize("block", [4, 7, 0])
def test_a_text_does_not_depend_on_its_batch(block: int) -> None:
    m, b = model(), batch()
    process = build_process(ProcessConfig())
    free = torch.ones(3, 16, dtype=torch.bool)
    free[:, 0] = False
    settings = SamplingSettings(num_steps=5, block_length=block, sampler="leftmost")

    def write(rows: slice) -> torch.Tensor:
        cond = m.encode(b.prompt[rows], b.prompt_mask[rows])
        first = rows.start or 0
        rng = Streams.for_rows(9, first, len(range(3)[rows]))
        blocks = generate(Guided(m, 2.0), process, cond, b.x0[rows], free[rows], rng, settings)
        return torch.cat(list(blocks), 1)

    together = write(slice(0, 3))
    for row in range(3):
        assert torch.equal(write(slice(row, row + 1)), together[row : row + 1])


def test_too_long_texts_and_prompts_are_refused() -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    with pytest.raises(ValueError, match=r"25 positions.*context_length 24"):
        m.remember(torch.zeros(3, 25, dtype=torch.long), cond)
    with pytest.raises(ValueError, match=r"7 tokens.*prompt_length 6"):
        m.encode(torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 7, dtype=torch.bool))


@torch.no_grad()
def test_a_fresh_model_leans_towards_the_words_of_its_prompt() -> None:
    """Cross-attention starts as a copy: without it prompts are learned several times later (docs/log.md)."""
    fresh = Transformer(CONFIG).initialise(generator_of("fresh"))
    prompt = torch.tensor([[5, 9], [14, 20]])
    cond = fresh.encode(prompt, torch.ones(2, 2, dtype=torch.bool))
    _, logits = fresh.remember(torch.zeros(2, 12, dtype=torch.long), cond)
    mean = torch.log_softmax(logits, -1).mean(1)  # [2, V]
    assert float((mean[0] - mean[1])[prompt[0]].min()) > 0 > float((mean[0] - mean[1])[prompt[1]].max())
