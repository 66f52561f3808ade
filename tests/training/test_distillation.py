"""Guidance distillation: the divergence, the start at the teacher, what is learned, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config import Config, GenerationConfig
from sunfish.model.denoiser import Denoiser
from sunfish.model.transformer import Transformer
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import make_generator
from sunfish.sampling.guidance import MAX_DISTILLED_SCALE, ClassifierFreeGuidance, DistilledGuidance
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers import TextTokenizer, build_tokenizer
from sunfish.training.distillation import Distillation, divergence
from sunfish.training.time_sampling import sample_training_times
from sunfish.types import Condition
from tests.helpers import CONFIG, batch, model
from tests.tiny_checkpoint import CONFIG as TINY
from tests.tiny_checkpoint import story_batch, story_tokenizer, write_checkpoint
from tests.training.recording import RecordedPasses, record_canvases


def student_of(teacher: Transformer) -> Transformer:
    """A copy that takes the scale in, as distillation starts it."""
    student = Transformer(CONFIG, guidance_conditioned=True).init_weights().double()
    student.load_state_dict(teacher.state_dict(), strict=False)
    return student


def test_the_divergence_is_the_sum_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.softmax(torch.randn(5, 7, generator=generator), -1)
    p[:, :2] = 0
    p = p / p.sum(-1, keepdim=True)
    logits = torch.randn(5, 7, generator=generator)
    q = torch.softmax(logits, -1)
    expected = (
        sum(float(a * (a / b).log()) for a, b in zip(p.flatten(), q.flatten(), strict=True) if a > 0) / 5
    )
    assert float(divergence(p.log(), logits)) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(p.log(), p.clamp(min=1e-30).log())) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_it_starts_as_the_conditional_teacher_at_every_scale(scale: float) -> None:
    m, b = model(), batch()
    student = student_of(m)
    t = torch.ones(b.x0.shape)
    logits = DistilledGuidance(student, scale).denoise(b.x0, t, student.encode(b.prompt, b.prompt_mask))
    expected = m.denoise(b.x0, t, m.encode(b.prompt, b.prompt_mask))
    torch.testing.assert_close(logits, expected, atol=1e-12, rtol=0)


def test_the_scale_reaches_every_row_of_a_doubled_condition() -> None:
    b = batch()
    student = model(guidance_conditioned=True)
    condition = student.encode(b.prompt, b.prompt_mask)
    doubled = condition.at_scale(2.0).concat(condition)  # the second rows have no scale: 1
    x, t = b.x0, torch.ones(b.x0.shape)
    logits = student.denoise(torch.cat([x, x]), torch.cat([t, t]), doubled)
    at_two, at_one = student.denoise(x, t, condition.at_scale(2.0)), student.denoise(x, t, condition)
    torch.testing.assert_close(logits, torch.cat([at_two, at_one]), atol=1e-10, rtol=0)
    torch.testing.assert_close(at_one, student.denoise(x, t, condition.at_scale(1.0)), atol=1e-10, rtol=0)
    assert (at_one - at_two).abs().max() > 1e-3


def test_the_total_weighs_next_tokens_and_canvas_as_training_does() -> None:
    m, b = model(), batch()
    student, process = student_of(m), MaskedProcess(CONFIG.vocab_size)
    training = replace(TINY.training, next_token_weight=0.4)
    losses = Distillation(m)(student, process, b, make_generator("step"), 4, training)
    expected = 0.6 * losses.canvas + 0.4 * losses.next_token + losses.draft
    torch.testing.assert_close(losses.total.detach(), expected)
    losses.total.backward()
    assert student.guidance_embedding is not None and student.guidance_embedding.weight.grad is not None
    assert all(parameter.grad is None for parameter in m.parameters())


@pytest.mark.slow
def test_a_copy_learns_what_two_passes_give(tmp_path: Path) -> None:
    """It comes nearer to the guided teacher than the conditional teacher is, and takes one pass."""
    path = write_checkpoint(tmp_path / "teacher", steps=60)
    student = Transformer(TINY.model, guidance_conditioned=True).init_weights(make_generator("student"))
    objective = Distillation.start(path, student, story_tokenizer())
    process = MaskedProcess(TINY.model.vocab_size)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    for step in range(60):
        losses = objective(
            student, process, story_batch(4 * step, 4), make_generator("d", step), 16, TINY.training
        )
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    teacher, copy = Pipeline.from_checkpoint(path), Pipeline(student.eval(), process, story_tokenizer())
    prompts = ["Write a story about a robot", "Describe the ocean"]
    guided, condition = teacher.guided(prompts, GenerationConfig())
    distilled, distilled_condition = copy.guided(prompts, GenerationConfig())
    assert isinstance(guided, ClassifierFreeGuidance) and isinstance(distilled, DistilledGuidance)
    ids = story_batch(100, 2).x0[:, :24]
    with torch.no_grad():
        target = guided.prefill(ids, condition)[0].flatten(0, 1)
        learned = divergence(target, distilled.prefill(ids, distilled_condition)[0].flatten(0, 1))
        plain = teacher.model.prefill(ids, condition)[0].flatten(0, 1)[:, : target.shape[1]]
    assert float(learned) < float(divergence(target, plain))


def test_a_teacher_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokenizer of the teacher"):
        start(tmp_path, TINY, build_tokenizer("bytes", 400, []))


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"prompt_length": 0}, "was trained without prompts, so there is nothing to guide by"),
        ({"process": "gaussian"}, "is a gaussian model; guidance in one pass is for the other processes"),
        ({"n_embd": 32}, "has another shape than the model"),
        ({"teacher": "another.ckpt"}, "has learned one-pass guidance already; sample it as it is"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^the teacher .*{message}[^\\n]*$"):
        start(tmp_path, TINY.with_fields(**changed), story_tokenizer())


def start(folder: Path, teacher: Config, tokenizer: TextTokenizer) -> Distillation:
    """Begin distillation of an untrained teacher of this configuration into a copy of the tiny model."""
    student = Transformer(TINY.model, guidance_conditioned=True).init_weights(make_generator("student"))
    return Distillation.start(write_checkpoint(folder / "teacher", teacher), student, tokenizer)


def by_blocks(
    denoiser: Denoiser, ids: Tensor, x: Tensor, t: Tensor, condition: Condition, block_length: int
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of next tokens and of the canvas, as sampling computes them over a cache."""
    cache, text, canvas = None, [], []
    for start in range(0, ids.shape[1], block_length):
        block = slice(start, start + block_length)
        canvas.append(denoiser.denoise(x[:, block], t[:, block], condition, cache, start))
        logits, cache = denoiser.prefill(ids[:, block], condition, cache)
        text.append(logits)
    return tuple(torch.log_softmax(torch.cat(part, 1).double(), -1) for part in (text, canvas))  # type: ignore[return-value]


def mean_divergence(p: Tensor, q: Tensor) -> float:
    """KL(p || q) of log-probabilities ``[M, V]``, in nats."""
    terms = torch.where(p > -1e3, p.exp() * (p - q), 0.0)
    return float(terms.sum() / len(p))


@torch.no_grad()
@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_loss_is_the_divergence_from_what_guidance_makes_of_the_teacher(
    dropout: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same scale, the same prompts and the same canvas, computed as sampling does."""
    teacher, student, b = model(), model(guidance_conditioned=True), batch(4)
    student.output_scale.mul_(0.5)
    process, seen = MaskedProcess(CONFIG.vocab_size), RecordedPasses(student, monkeypatch).conditions
    canvases = record_canvases(process)
    training = replace(TINY.training, prompt_dropout=dropout)
    losses = Distillation(teacher)(student, process, b, make_generator("step", seed), 4, training)
    ((x_t, t),), (condition,) = canvases, seen
    assert condition.scale is not None
    scale = float(condition.scale[0])
    kept = condition.mask[:, 1:].any(1)
    assert bool(kept.all()) == (dropout == 0) and bool(kept.any()) == (dropout < 1)
    guided = ClassifierFreeGuidance(teacher, scale, GenerationConfig.plausibility)
    plain = teacher.encode(b.prompt, b.prompt_mask).drop(~kept)
    of_teacher = by_blocks(guided, b.x0, x_t, t, plain, 4)
    prompts = student.encode(b.prompt, b.prompt_mask).drop(~kept).at_scale(scale)
    of_student = by_blocks(student, b.x0, x_t, t, prompts, 4)
    real = torch.arange(b.x0.shape[1]) < (b.lengths - 1)[:, None]
    for loss, where, p, q in zip(
        (losses.next_token, losses.canvas),
        (real, x_t == CONFIG.vocab_size),
        of_teacher,
        of_student,
        strict=True,
    ):
        assert float(loss) == pytest.approx(mean_divergence(p[where], q[where]), rel=1e-4)
    assert float(losses.cross_entropy) == float(losses.canvas) != float(losses.next_token)


@torch.no_grad()
def test_every_scale_that_can_be_sampled_is_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform from 0 to the largest, one a step; times are those of training."""
    teacher, student, b = model(), model(guidance_conditioned=True), batch(2, 8)
    process, seen = MaskedProcess(CONFIG.vocab_size), RecordedPasses(student, monkeypatch).conditions
    canvases = record_canvases(process)
    for seed in range(30):
        Distillation(teacher)(student, process, b, make_generator("step", seed), 4, TINY.training)
    scales = [float(condition.scale[0]) for condition in seen if condition.scale is not None]
    assert len(scales) == 30 and 0 <= min(scales) < 0.5 and 3.5 < max(scales) <= MAX_DISTILLED_SCALE
    assert 1.4 < sum(scales) / 30 < 2.6
    for seed, (_, t) in enumerate(canvases):
        generator = make_generator("step", seed)
        torch.rand((), generator=generator)  # the scale
        assert torch.equal(t, sample_training_times(b, 4, process, TINY.training, generator))


def test_the_student_starts_with_the_weights_of_the_teacher(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "teacher", steps=1)
    student = Transformer(TINY.model, guidance_conditioned=True).init_weights(make_generator("student"))
    objective = Distillation.start(path, student, story_tokenizer())
    weights, learned = load_checkpoint(path).model.state_dict(), student.state_dict()
    assert learned.keys() - weights.keys() == {"guidance_embedding.weight"}
    assert not learned["guidance_embedding.weight"].any()
    for name, value in weights.items():
        assert torch.equal(learned[name], value) and torch.equal(objective.teacher.state_dict()[name], value)
    assert not any(parameter.requires_grad for parameter in objective.teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
