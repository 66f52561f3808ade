"""One training step: what the optimizers are given, and what they make of it, against their definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sunfish.config import Config
from sunfish.rng import make_generator
from sunfish.training.loss import Losses
from sunfish.training.optimizer import build_optimizers, learning_rate_factor, newton_schulz
from sunfish.training.step import NonFiniteLoss, TrainingStep
from tests.helpers import CONFIG, batch, model, process_of

LR, MATRIX_LR, DECAY = 0.01, 0.02, 0.5


def step_of(objective: Any = None, **training: object) -> TrainingStep:
    """A step of the small model in float32."""
    fields: dict[str, Any] = {
        "learning_rate": LR,
        "matrix_learning_rate": MATRIX_LR,
        "weight_decay": DECAY,
        **training,
    }
    config = Config(model=CONFIG, training=replace(Config().training, **fields))
    network = model(torch.float32)
    words = (config, network, process_of("masked", network), torch.float32)
    return TrainingStep.build(*words, *([objective] if objective else []))


def take(step: TrainingStep, number: int = 0, **arguments: float) -> Losses:
    return step(batch(), make_generator("step", number), number, **arguments)


def gradients_given(step: TrainingStep, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The gradients that the optimizers are given by one step, which changes nothing."""
    given: list[Tensor] = []
    for optimizer in step.optimizers:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        monkeypatch.setattr(
            optimizer,
            "step",
            lambda held=parameters: given.extend(p.grad.clone() for p in held if p.grad is not None),
        )
    take(step)
    return given


@pytest.mark.parametrize("clip", [0.0, 1e9, 0.01])
def test_the_gradient_is_clipped_as_a_whole(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its norm is that of all parameters together; below the limit, or without one, nothing changes."""
    plain = step_of()
    torch.autograd.backward(plain.loss(batch(), make_generator("step", 0), 0).total)
    exact = [
        p.grad for o in plain.optimizers for g in o.param_groups for p in g["params"] if p.grad is not None
    ]
    norm = float(torch.stack([gradient.square().sum() for gradient in exact]).sum().sqrt())
    given = gradients_given(step_of(gradient_clip=clip), monkeypatch)
    factor = clip / norm if clip == 0.01 else 1.0
    assert norm > 0.1 and len(given) == len(exact)
    for one, other in zip(given, exact, strict=True):
        torch.testing.assert_close(one, other * factor, rtol=1e-4, atol=1e-7)


def test_every_step_starts_from_a_gradient_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of()
    take(step)
    assert all(parameter.grad is None for parameter in step.model.parameters())


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_a_step_that_is_no_number_changes_nothing(fault: str) -> None:
    def objective(network: nn.Module, *_: object) -> Losses:
        total = torch.stack([parameter.square().sum() for parameter in network.parameters()]).sum()
        infinite = {"loss": torch.tensor(float("inf")), "gradient": (total - total.detach()).sqrt()}[fault]
        return Losses(total + infinite, *[total.detach()] * 4)

    step = step_of(objective)
    before = [parameter.detach().clone() for parameter in step.model.parameters()]
    with pytest.raises(NonFiniteLoss, match=r"^loss .*, gradient norm ") as error:
        take(step)
    assert error.value.fault == str(error.value)
    parameters = list(step.model.parameters())
    assert all(torch.equal(p, old) for p, old in zip(parameters, before, strict=True))
    assert all(p.grad is None for p in parameters) and not any(o.state for o in step.optimizers)


def test_the_factor_multiplies_the_rate_of_each_optimizer() -> None:
    step = step_of()
    take(step, factor=0.25)
    assert [o.param_groups[0]["lr"] for o in step.optimizers] == [MATRIX_LR / 4, LR / 4]
    take(step)
    assert [o.param_groups[0]["lr"] for o in step.optimizers] == [MATRIX_LR, LR]


def test_the_objective_is_given_the_settings_of_the_run() -> None:
    words: list[Any] = []

    def objective(*arguments: Any) -> Losses:
        words.append(arguments)
        total = torch.stack([p.sum() for p in arguments[0].parameters()]).sum()
        return Losses(total, *[total.detach()] * 4)

    step, given = step_of(objective, block_lengths=(4, 0, 2)), batch()
    for number in range(4):
        step(given, make_generator("step", number), number)
    assert [arguments[4] for arguments in words] == [4, CONFIG.context_length, 2, 4]
    for arguments in words:
        assert arguments[0] is step.model and arguments[1] is step.process
        assert arguments[2] is given and arguments[5] is step.config.training


def test_adamw_is_adam_with_these_betas_and_no_decay() -> None:
    """Of everything that is no matrix of a layer, by its equations in float64 (Kingma and Ba 2015)."""
    network = model(torch.float32)
    _, adam = build_optimizers(network, step_of().config.training, CONFIG.n_embd, torch.float32)
    parameters = adam.param_groups[0]["params"]
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    held = {names[id(parameter)] for parameter in parameters}
    assert "token_embedding" in held and any(name.endswith("scale") for name in held)
    expected = [parameter.detach().double() for parameter in parameters]
    first, second = ([torch.zeros_like(value) for value in expected] for _ in range(2))
    for number in range(1, 4):
        for index, parameter in enumerate(parameters):
            gradient = torch.randn(parameter.shape, generator=make_generator("adam", number, index))
            parameter.grad, gradient = gradient, gradient.double()
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.95 * second[index] + 0.05 * gradient**2
            mean, square = first[index] / (1 - 0.9**number), second[index] / (1 - 0.95**number)
            expected[index] -= LR * mean / (square.sqrt() + 1e-10)
        adam.step()
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), value, rtol=1e-4, atol=1e-5)


def test_muon_has_all_matrices_of_the_layers_and_takes_stacked_ones_apart() -> None:
    """Three steps with one gradient move each matrix once: each projection by itself, with rows of one size."""
    network = model(torch.float32)
    muon, adam = build_optimizers(network, step_of().config.training, CONFIG.n_embd, torch.float32)
    width = CONFIG.n_embd
    stacked = {"qkv_proj": 3, "gate_up_proj": 2}
    held = {id(p) for p in adam.param_groups[0]["params"]}
    matrices = {n: p for n, p in network.named_parameters() if id(p) not in held}
    assert {id(p) for p in matrices.values()} == {id(p) for p in muon.param_groups[0]["params"]}
    linear = {f"{name}.weight" for name, part in network.named_modules() if isinstance(part, nn.Linear)}
    assert linear == set(matrices)
    assert any("kv_proj" in name and len(p) > 2 * width for name, p in matrices.items())
    before = {name: parameter.detach().clone() for name, parameter in matrices.items()}
    for name, parameter in matrices.items():
        parameter.grad = torch.randn(parameter.shape, generator=make_generator("muon", name))
    for _ in range(3):
        muon.step()
    for name, parameter in matrices.items():
        layer = name.split(".")[-2]
        parts = len(parameter) // width if layer == "kv_proj" else stacked.get(layer, 1)
        assert parameter.grad is not None
        moved = []
        for part in parameter.grad.chunk(parts):
            update = newton_schulz(part[None], torch.float32)[0]
            rows = update / update.norm(dim=1, keepdim=True)
            tall = max(1.0, part.shape[0] / part.shape[1]) ** 0.5
            moved.append(rows * update.norm() / rows.norm() * tall)
        rate = 3 * MATRIX_LR
        expected = before[name] * (1 - rate * DECAY) - rate * torch.cat(moved)
        torch.testing.assert_close(parameter.detach(), expected, atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    ("step", "progress", "factor"),
    [
        (0, 0.0, 0.2),
        (3, 0.0, 0.8),
        (4, 0.0, 1.0),
        (9, 0.75, 1.0),
        (9, 0.9, 0.4),
        (9, 1.0, 0.0),
        (9, 1.1, 0.0),
        (1, 0.9, 0.16),
    ],
)
def test_the_rate_rises_stays_and_falls(step: int, progress: float, factor: float) -> None:
    training = replace(Config().training, warmup_steps=5, decay_fraction=0.25)
    assert learning_rate_factor(training, step, progress) == pytest.approx(factor)
    constant = replace(training, decay_fraction=0.0, warmup_steps=0)
    assert learning_rate_factor(constant, step, progress) == 1.0
