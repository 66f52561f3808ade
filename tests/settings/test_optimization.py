"""What moves the weights: rates, decay, momenta, clipping, dropout, the average; each against its formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sunfish.config import TrainingConfig
from sunfish.training.optimizer import (
    BETA2,
    UPDATE_INTERVAL,
    build_optimizers,
    learning_rate_factor,
    update_average,
)
from sunfish.training.trainer import Trainer
from tests.helpers import CONFIG, model
from tests.settings.table import covers, spy

Make = Callable[..., Trainer]
Weights = dict[str, Tensor]


def weights(module: torch.nn.Module) -> Weights:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def gradients_of_step(trainer: Trainer) -> Weights:
    """Take a step; the gradients that the optimizers were given."""
    given: Weights = {}
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            given.update((names[p], p.grad.detach().clone()) for p in group["params"] if p.grad is not None)

    hooks = [o.register_step_pre_hook(note) for o in trainer.training_step.optimizers]
    trainer.train_step()
    for hook in hooks:
        hook.remove()
    return given


def total(trainer: Trainer) -> float:
    """The loss of its next step."""
    return float(trainer.train_step()[0].total.detach())


def norm(gradients: Weights) -> float:
    return float(torch.stack([gradient.double().norm() for gradient in gradients.values()]).norm())


@covers(
    TrainingConfig, "learning_rate", "matrix_learning_rate", "warmup_steps", "decay_fraction", "max_steps"
)
def test_rates_of_each_step(make: Make) -> None:
    """Up in 4 steps, then flat, then down over the last half of 10 steps; the last one still moves."""
    rates = {"matrix_learning_rate": 0.03, "learning_rate": 0.01}  # Muon's, AdamW's
    trainer = make(max_steps=10, warmup_steps=4, decay_fraction=0.5, **rates)
    muon, adamw = trainer.training_step.optimizers
    for factor in (0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2):
        trainer.train_step()
        assert [group["lr"] for group in muon.param_groups] == [pytest.approx(0.03 * factor)]
        assert [group["lr"] for group in adamw.param_groups] == [pytest.approx(0.01 * factor)]
    assert trainer.progress() == 1


@covers(TrainingConfig, "learning_rate", "matrix_learning_rate")
def test_moves_of_the_first_step(make: Make) -> None:
    """AdamW moves by its rate against the sign of the gradient; Muon in proportion to its own."""
    moves: dict[float, Weights] = {}
    for rate in (0.02, 0.04):
        trainer = make(learning_rate=0.005, matrix_learning_rate=rate, weight_decay=0.0)
        before = weights(trainer.model)
        gradients = gradients_of_step(trainer)
        moves[rate] = {name: new - before[name] for name, new in weights(trainer.model).items()}
        name = "causal_embedding"
        torch.testing.assert_close(moves[rate][name], -0.005 * gradients[name].sign(), atol=1e-5, rtol=1e-2)
    matrices = [n for n, move in moves[0.02].items() if n.endswith("weight") and bool(move.any())]
    assert len(matrices) > 2
    for name in matrices:
        torch.testing.assert_close(moves[0.04][name], 2 * moves[0.02][name], atol=1e-6, rtol=1e-3)


@covers(TrainingConfig, "weight_decay")
def test_decay_of_the_matrices_alone(make: Make) -> None:
    """Decay takes rate * decay of the weights, for all the steps since the matrix's last turn; no vector decays."""
    steps, rate, decay = {}, 0.02, 0.5
    for weight_decay in (0.0, decay):
        trainer = make(weight_decay=weight_decay, matrix_learning_rate=rate)
        before = weights(trainer.model)
        trainer.train_step()
        steps[weight_decay] = weights(trainer.model)
    moved = [name for name, value in steps[0.0].items() if not torch.equal(value, before[name])]
    assert sum(name.endswith("weight") for name in moved) > 2
    for name in moved:
        share = UPDATE_INTERVAL * rate * decay if name.endswith("weight") else 0.0
        torch.testing.assert_close(steps[decay][name], steps[0.0][name] - share * before[name])


def test_moments_of_two_steps(make: Make) -> None:
    """AdamW forgets a tenth of the mean and a twentieth of the mean square in a step, Muon a twentieth."""
    trainer = make()
    muon, adamw = trainer.training_step.optimizers
    named = dict(trainer.model.named_parameters())
    first, second = gradients_of_step(trainer), gradients_of_step(trainer)
    vector, matrix = "position_embedding", "blocks.0.feed_forward.gate_up_proj.weight"
    one, two = first[vector], second[vector]
    state = adamw.state[named[vector]]
    torch.testing.assert_close(state["exp_avg"], 0.9 * 0.1 * one + 0.1 * two, atol=1e-9, rtol=1e-4)
    expected = 0.95 * 0.05 * one**2 + 0.05 * two**2
    torch.testing.assert_close(state["exp_avg_sq"], expected, atol=1e-12, rtol=1e-4)
    momentum = muon.state[named[matrix]]["momentum"]
    torch.testing.assert_close(momentum, 0.05 * (0.95 * first[matrix] + second[matrix]), atol=1e-9, rtol=1e-4)
    assert BETA2 == 0.95 and adamw.defaults["weight_decay"] == 0.0


@covers(TrainingConfig, "gradient_clip")
def test_norm_that_reaches_the_optimizers(make: Make) -> None:
    free = gradients_of_step(make(gradient_clip=0.0))
    assert norm(free) > 1e-3
    limit = norm(free) / 2
    clipped = gradients_of_step(make(gradient_clip=limit))
    assert norm(clipped) == pytest.approx(limit, rel=1e-4)
    for name, gradient in clipped.items():
        torch.testing.assert_close(gradient, free[name] / 2, atol=1e-7, rtol=1e-3)
    untouched = gradients_of_step(make(gradient_clip=2 * norm(free)))
    assert norm(untouched) == pytest.approx(norm(free), rel=1e-5)


@covers(TrainingConfig, "dropout")
def test_share_that_is_dropped(make: Make) -> None:
    trainer = make(dropout=0.3)
    encoder = trainer.model.prompt_encoder
    for block in [*trainer.model.blocks, *encoder.blocks]:  # type: ignore[misc]
        dropped = block._drop(torch.ones(20_000))
        assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
        torch.testing.assert_close(dropped.max(), torch.tensor(1 / 0.7))
    assert torch.equal(trainer.average.blocks[0]._drop(torch.ones(100)), torch.ones(100))  # type: ignore[operator]
    loss = total(trainer)
    torch.rand(7)  # what else was drawn does not matter
    assert loss == total(make(dropout=0.3)) != total(make())


@covers(TrainingConfig, "ema_decay")
@pytest.mark.parametrize("decay", [0.0, 0.15, 0.995])
def test_average_by_its_recurrence(make: Make, decay: float) -> None:
    """a <- d a + (1 - d) w with d = min(decay, (1 + step) / (10 + step)): 0.1, 2/11, 3/12, ..."""
    trainer = make(ema_decay=decay)
    expected = {name: value.double() for name, value in weights(trainer.model).items()}
    for step in range(4):
        trainer.train_step()
        d = min(decay, (1 + step) / (10 + step))
        for name, value in weights(trainer.model).items():
            expected[name] = d * expected[name] + (1 - d) * value.double()
    for name, value in weights(trainer.average).items():
        torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=1e-5)


@covers(update_average, "average", "model", "decay", "step")
def test_the_average_moves_and_the_weights_do_not() -> None:
    one, other = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(one.weight, 1.0)
    torch.nn.init.constant_(other.weight, 2.0)
    update_average(one, other, 0.75, step=10)  # (1 + 10) / (10 + 10) = 0.55
    assert one.weight.item() == pytest.approx(0.55 * 1 + 0.45 * 2) and other.weight.item() == 2
    update_average(one, other, 0.5, step=10)
    assert one.weight.item() == pytest.approx((1.45 + 2) / 2)


@covers(learning_rate_factor, "config", "step", "progress")
@pytest.mark.parametrize(
    ("fields", "step", "progress", "expected"),
    [
        ((4, 0.5), 0, 0.0, 0.25),
        ((4, 0.5), 2, 0.9, 0.75 * 0.2),
        ((0, 0.25), 0, 0.9, 0.4),
        ((0, 0.0), 0, 0.99, 1.0),
        ((2, 0.0), 0, 1.0, 0.5),
    ],
)
def test_factor_of_a_step(fields: tuple[int, float], step: int, progress: float, expected: float) -> None:
    training = TrainingConfig(warmup_steps=fields[0], decay_fraction=fields[1])
    assert learning_rate_factor(training, step, progress) == pytest.approx(expected)


@covers(build_optimizers, "model", "config", "n_embd", "dtype")
def test_who_gets_which_parameters() -> None:
    """Muon has the matrices of the layers, split at the width of the network; AdamW has all else."""
    network = model(torch.float32)
    training = TrainingConfig(learning_rate=0.3, matrix_learning_rate=0.7, weight_decay=0.2)
    muon, adamw = build_optimizers(network, training, CONFIG.n_embd, torch.bfloat16)
    assert (muon.defaults["lr"], muon.defaults["weight_decay"], adamw.defaults["lr"]) == (0.7, 0.2, 0.3)
    assert muon.dtype is torch.bfloat16  # type: ignore[attr-defined]
    names = {parameter: name for name, parameter in network.named_parameters()}
    in_muon = {names[p] for group in muon.param_groups for p in group["params"]}
    in_adamw = {names[p] for group in adamw.param_groups for p in group["params"]}
    assert in_muon == {name for name in names.values() if name.endswith("weight")}
    assert in_adamw == set(names.values()) - in_muon
    stacked = {names[p].split(".")[-2]: count for p, count in muon.projections.items()}  # type: ignore[attr-defined]
    assert stacked.pop("qkv_proj") == 3 and stacked.pop("gate_up_proj") == 2
    assert stacked.pop("kv_proj") == 2 * CONFIG.n_layer  # keys and values of each layer
    assert set(stacked.values()) == {1}


@covers(TrainingConfig, "gradient_accumulation")
def test_parts_of_a_step(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts at a time, and the gradient of all four."""
    whole = gradients_of_step(make(gradient_accumulation=1))
    trainer = make(gradient_accumulation=2)
    computed = spy(monkeypatch, trainer.training_step, "objective")
    parts = gradients_of_step(trainer)
    assert [len(call["batch"].x0) for call in computed] == [2, 2]
    assert parts.keys() == whole.keys()
    for name, gradient in parts.items():
        torch.testing.assert_close(gradient, whole[name], atol=1e-7, rtol=1e-4, msg=name)
