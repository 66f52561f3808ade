"""What a step learns from: noise levels, block lengths, dropped prompts, weights of the losses, the teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sunfish.training.loss as loss_module
from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config import TrainingConfig
from sunfish.model.transformer import Transformer
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import make_generator
from sunfish.sampling.guidance import MAX_DISTILLED_SCALE, ClassifierFreeGuidance
from sunfish.training.distillation import Distillation
from sunfish.training.loss import training_loss
from sunfish.training.trainer import Trainer
from sunfish.types import Batch, Condition
from tests.helpers import CONFIG, batch, model, process_of
from tests.settings.table import covers, spy

Make = Callable[..., Trainer]
Patch = pytest.MonkeyPatch


def texts(trainer: Trainer, count: int = 16) -> Batch:
    """``count`` batches of training texts as one."""
    parts = list(trainer.batches.in_order(0, 4 * count))
    return parts[0]


def learn(trainer: Trainer, step: int = 0) -> loss_module.Losses:
    """The loss of many texts as the step asks for it."""
    return trainer.training_step.loss(texts(trainer), make_generator("noise"), step)


@covers(TrainingConfig, "block_lengths")
def test_block_lengths_in_turn(make: Make, monkeypatch: Patch) -> None:
    """All are used, one a step; 0 is the whole context. The shortest one is validated."""
    trainer = make(block_lengths=(5, 5, 3, 0))
    seen, joint = (
        spy(monkeypatch, trainer.training_step, "objective"),
        spy(monkeypatch, trainer.model, "joint_pass"),
    )
    for _ in range(8):
        trainer.train_step()
    assert [call["block_length"] for call in seen] == [5, 5, 3, 32] * 2
    assert {call["block_length"] for call in joint} == {5, 3, 32}
    assert trainer.validate().block_length == 3


@covers(TrainingConfig, "mask_rate_min", "mask_rate_max")
@pytest.mark.parametrize(("process", "highest"), [("masked", 0.5), ("uniform", 1.0)])
def test_noise_levels(make: Make, monkeypatch: Patch, process: str, highest: float) -> None:
    """Uniform between the two rates; a network that is told the time is trained up to 1."""
    rates = {"mask_rate_min": 0.3} | ({"mask_rate_max": highest} if process == "masked" else {})
    trainer = make(process=process, block_lengths=(0,), **rates)
    calls = spy(monkeypatch, loss_module, "sample_training_times")
    learn(trainer)
    times = calls[0]["return"][:, 1:]
    assert 0.3 < float(times.min()) < 0.31 and highest - 0.02 < float(times.max()) <= highest
    assert float(times.mean()) == pytest.approx((0.3 + highest) / 2, abs=0.01)


def test_exact_count_of_each_block(make: Make, monkeypatch: Patch) -> None:
    """Of the n unknown positions of a block, ceil(t n) are masked.

    Known are the start mark and the first token of a draft.
    """
    times, scored = (
        spy(monkeypatch, loss_module, "sample_training_times"),
        spy(monkeypatch, loss_module, "losses_at"),
    )
    trainer = make(block_lengths=(4,))
    learn(trainer)
    t, x = times[0]["return"], scored[0]["x_t"]
    masked = x == trainer.config.model.vocab_size
    for block in range(0, x.shape[1], 4):
        known = (t[:, block] == 0).int()
        assert block or bool(known.all())
        expected = torch.ceil(t[:, block + 3] * (4 - known) - 1e-6)
        assert torch.equal(masked[:, block : block + 4].sum(1).float(), expected)


def test_share_of_steps_with_an_estimate(make: Make, monkeypatch: Patch) -> None:
    """Vectors are shown the network's own estimate in half of the steps."""
    shown = spy(monkeypatch, loss_module, "with_estimate")
    trainer = make(process="gaussian", block_lengths=(0,))
    for step in range(24):
        trainer.training_step.loss(trainer.batches.batch(0), make_generator("noise", step), 0)
    assert 6 < len(shown) < 18


@covers(TrainingConfig, "complementary")
def test_second_canvas_masks_the_others(make: Make, monkeypatch: Patch) -> None:
    trainer = make(complementary=True)
    calls = spy(monkeypatch, loss_module, "losses_at")
    learn(trainer)
    x, mask = calls[0]["x_t"], trainer.config.model.vocab_size
    length = texts(trainer).x0.shape[1]
    assert x.shape[1] == 2 * length
    first, second = (part[:, 1:] == mask for part in x.chunk(2, dim=1))
    assert torch.equal(first, ~second) and bool(first.any()) and bool(second.any())
    learn(make())
    assert calls[1]["x_t"].shape[1] == length


@covers(TrainingConfig, "next_token_weight")
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_weight_of_the_next_token(make: Make, weight: float) -> None:
    losses = learn(make(next_token_weight=weight))
    parts = (1 - weight) * losses.canvas + weight * losses.next_token + losses.draft
    torch.testing.assert_close(losses.total.detach(), parts)
    assert (float(losses.canvas) > 0, float(losses.next_token) > 0) == (weight < 1, weight > 0)


@covers(TrainingConfig, "prompt_dropout")
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("distills", [False, True])
def test_share_of_dropped_prompts(monkeypatch: Patch, share: float, distills: bool) -> None:
    """With a teacher, it and the network lose the prompts of the same rows."""
    teacher, b = model(torch.float32), batch(rows=300, length=8)
    training = TrainingConfig(prompt_dropout=share)
    network = model(torch.float32, guidance_conditioned=True) if distills else teacher
    dropped = spy(monkeypatch, Condition, "drop")
    objective = Distillation(teacher) if distills else training_loss
    objective(network, process_of(), b, make_generator("step"), 4, training)
    rows = [call["rows"] for call in dropped if call["self"].mask is not None]
    deviation = math.sqrt(share * (1 - share) / 300)
    assert float(rows[0].float().mean()) == pytest.approx(share, abs=4 * deviation)
    if distills:  # the teacher's prompts, all of them for its second side, the network's
        assert len(rows) == 3 and bool(rows[1].all()) and torch.equal(rows[2], rows[0])


def student() -> Transformer:
    """A network that takes the scale in and is unlike its teacher."""
    network = model(guidance_conditioned=True)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.add_(
                torch.randn(parameter.shape, generator=make_generator("student", name)).double(), alpha=0.2
            )
    return network


def kl(target: Tensor, predicted: Tensor) -> float:
    """Mean of sum p (log p - log q) over ``[M, V]``, where p = 0 counts nothing."""
    p, q = torch.softmax(target.double(), -1), torch.log_softmax(predicted.double(), -1)
    return float((torch.special.xlogy(p, p) - p * q).sum(-1).mean())


@pytest.fixture
def scales(monkeypatch: Patch) -> Iterator[list[dict[str, object]]]:
    yield spy(monkeypatch, Condition, "at_scale")


@torch.no_grad()
def test_lesson_of_the_teacher(monkeypatch: Patch, scales: list[dict[str, object]]) -> None:
    """Against what the teacher's guidance says, two passes at the drawn scale and the default plausibility."""
    teacher, network, b = model(), student(), batch()
    corrupted = spy(monkeypatch, MaskedProcess, "corrupt")
    training = TrainingConfig(prompt_dropout=0.0, next_token_weight=0.25)
    length = b.x0.shape[1]
    losses = Distillation(teacher)(network, process_of(), b, make_generator("step", 3), length, training)
    scale = MAX_DISTILLED_SCALE * float(torch.rand((), generator=make_generator("step", 3)))
    assert scale > 1 and [call["scale"] for call in scales] == [scale]
    guided = ClassifierFreeGuidance(teacher, scale, plausibility=0.3)
    prompts = teacher.encode(b.prompt, b.prompt_mask)
    told = network.encode(b.prompt, b.prompt_mask).at_scale(scale)
    real = torch.arange(length) < (b.lengths - 1)[:, None]
    expected = kl(guided.prefill(b.x0, prompts)[0][real], network.prefill(b.x0, told)[0][real])
    assert float(losses.next_token) == pytest.approx(expected, rel=1e-3)
    x, t = corrupted[0]["return"], corrupted[0]["t"]
    masked = x == CONFIG.vocab_size
    canvas = kl(guided.denoise(x, t, prompts)[masked], network.denoise(x, t, told)[masked])
    assert float(losses.canvas) == pytest.approx(canvas, rel=1e-3)
    total = 0.75 * losses.canvas + 0.25 * losses.next_token + losses.draft
    torch.testing.assert_close(losses.total, total)


@covers(TrainingConfig, "teacher")
def test_a_run_with_a_teacher_starts_from_its_weights(make: Make) -> None:
    taught = make(seed=3)
    taught.train_step()
    path = taught.save()
    copy = make(teacher=str(path))
    objective = copy.training_step.objective
    assert isinstance(objective, Distillation)
    expected = load_checkpoint(path).model.state_dict()
    assert not torch.equal(expected["token_embedding"], taught.model.state_dict()["token_embedding"])
    for name, value in expected.items():
        assert torch.equal(objective.teacher.state_dict()[name], value), name
        assert torch.equal(copy.model.state_dict()[name], value), name
        assert torch.equal(copy.average.state_dict()[name], value), name
    assert copy.model.guidance_embedding is not None and not copy.model.guidance_embedding.weight.any()
    assert not any(parameter.requires_grad for parameter in objective.teacher.parameters())
    assert make().model.guidance_embedding is None
    for _ in range(2):
        copy.train_step()
    assert bool(copy.model.guidance_embedding.weight.any())


@covers(training_loss, "model", "process", "batch", "generator", "block_length", "training")
def test_each_argument_of_the_loss() -> None:
    """One after the other in place of the first; each changes the loss."""

    def base(
        process: str = "masked", seed: str = "step", rows: int = 3, length: int = 4, w: float = 0.5
    ) -> float:
        network = model(process=process)
        arguments = (process_of(process, network), batch(rows), make_generator(seed), length)
        return float(training_loss(network, *arguments, TrainingConfig(next_token_weight=w)).total.detach())

    totals = [base(), base("uniform"), base(seed="other"), base(rows=4), base(length=16), base(w=0.4)]
    assert base() == totals[0] and len(set(totals)) == 6


@covers(Distillation.__call__, "model", "process", "batch", "generator", "block_length", "training")
def test_each_argument_of_the_distillation() -> None:
    teacher = model()

    def base(
        network: Transformer, process: str = "masked", seed: str = "step", length: int = 4, w: float = 0.5
    ) -> float:
        training = TrainingConfig(next_token_weight=w)
        arguments = (process_of(process), batch(rows), make_generator(seed), length, training)
        return float(Distillation(teacher)(network, *arguments).total.detach())

    rows = 3
    totals = [base(student()), base(model(guidance_conditioned=True)), base(student(), seed="other")]
    totals += [base(student(), length=16), base(student(), w=0.4), base(student(), "mixed")]
    rows = 4
    totals.append(base(student()))
    assert len(set(totals)) == 7


def test_the_teacher_is_read_from_its_path(make: Make) -> None:
    missing = Path("no-such.ckpt")
    with pytest.raises((ValueError, OSError), match=r"no-such\.ckpt"):
        make(teacher=str(missing))
