"""The models that tests share hide nothing: every parameter of them changes what they compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sunfish.model.transformer import Transformer
from tests.helpers import WITHOUT_PROMPTS, batch, model, normal, process_of, row_generators

EVERY_KIND = pytest.mark.parametrize(
    "kind",
    [
        dict(process="masked"),
        dict(process="uniform"),
        dict(process="gaussian"),
        dict(guidance_conditioned=True),
        dict(config=WITHOUT_PROMPTS),
    ],
    ids=["masked", "uniform", "gaussian", "guidance", "without prompts"],
)


def noisy_canvas(kind: dict[str, Any], t: Tensor) -> Tensor:
    """A canvas of the kind's process; vectors have an estimate other than 0, so that it matters."""
    name = kind.get("process", "masked")
    x = process_of(name, model(process=name)).corrupt(batch().x0, t, row_generators("x"))
    if x.ndim == 2:
        return x
    noisy, _ = x.chunk(2, dim=-1)
    return torch.cat([noisy, normal(*noisy.shape)], dim=-1)


def outputs(network: Transformer, x: Tensor, t: Tensor) -> Tensor:
    """All that a model predicts: next tokens, canvas tokens, and drafted tokens given the one before."""
    texts = batch()
    mask = texts.prompt_mask & (network.config.prompt_length > 0)
    condition = network.encode(texts.prompt, mask).at_scale(2.0)
    text, canvas = network.joint_pass(texts.x0, x, t, condition, 4)
    _, state = network.start_draft(canvas)
    assert state is not None
    drafted = network.refine_draft(state, texts.x0[:, 1:])
    return torch.cat([network.head(text), network.head(canvas), drafted], dim=1)


@pytest.mark.slow
@EVERY_KIND
@torch.no_grad()
def test_every_parameter_changes_the_output(kind: dict[str, Any]) -> None:
    network, t = model(**kind), torch.linspace(0.0, 1.0, 16, dtype=torch.float64).expand(3, -1)
    x = noisy_canvas(kind, t)
    before, unused = outputs(network, x, t), []
    for name, parameter in network.named_parameters():
        saved = parameter.clone()
        parameter.add_(0.1 * normal(*parameter.shape))
        if float((outputs(network, x, t) - before).abs().max()) < 1e-6:
            unused.append(name)
        parameter.copy_(saved)
    assert unused == []


@EVERY_KIND
@torch.no_grad()
def test_no_scale_is_one_and_no_matrix_is_zero(kind: dict[str, Any]) -> None:
    for name, parameter in model(**kind).named_parameters():
        assert bool((parameter != 0).all()), name
        assert not name.endswith("scale") or float((parameter - 1).abs().min()) > 0.05, name
