"""The models that tests share hide nothing: every parameter of them changes what they compute, and only that."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sunfish.model.transformer import Transformer
from tests.helpers import CONFIG, WITHOUT_PROMPTS, batch, model, noisy_state, normal, process_of

KINDS: dict[str, dict[str, Any]] = {
    "masked": dict(process="masked"),
    "gaussian": dict(process="gaussian"),
    "uniform": dict(process="uniform"),
    "guidance": dict(guidance_conditioned=True),
    "frozen prompts": dict(prompt_table=normal(CONFIG.vocab_size, 10, name="table")),
    "without prompts": dict(config=WITHOUT_PROMPTS),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
# Text positions are causal: nothing of what only a canvas has may reach them.
OF_CANVASES = ("time_embedding", "self_conditioning", "smear.next_scale")


def outputs(network: Transformer, x: Tensor, t: Tensor) -> dict[str, Tensor]:
    """All that a model predicts: next tokens, canvas tokens, and drafted tokens given the one before."""
    texts = batch()
    mask = texts.prompt_mask & (network.config.prompt_length > 0)
    condition = network.encode(texts.prompt, mask).at_scale(2.0)
    text, canvas = network.joint_pass(texts.x0, x, t, condition, 4)
    drafted = network.draft_logits(network.start_draft(canvas), texts.x0[:, 1:])
    return {"text": network.head(text), "canvas": network.head(canvas), "draft": drafted}


def outputs_of(name: str) -> set[str]:
    """Which outputs a parameter has a part in."""
    if name.startswith("draft_head"):
        return {"draft"}
    return {"canvas", "draft"} if name.startswith(OF_CANVASES) else {"text", "canvas", "draft"}


@pytest.mark.parametrize(
    "name", ["masked", "gaussian", *(pytest.param(name, marks=pytest.mark.slow) for name in list(KINDS)[2:])]
)
@torch.no_grad()
def test_every_parameter_changes_the_outputs_it_has_a_part_in(name: str) -> None:
    kind = KINDS[name]
    network, t = model(**kind), torch.linspace(0.0, 1.0, 16, dtype=torch.float64).expand(3, -1)
    process = process_of(kind.get("process", "masked"), network)
    x = noisy_state(process, batch().x0, t)
    before = outputs(network, x, t)
    for part, parameter in network.named_parameters():
        saved = parameter.clone()
        parameter.add_(0.1 * normal(*parameter.shape))
        after = outputs(network, x, t)
        parameter.copy_(saved)
        changed = {key for key in before if float((after[key] - before[key]).abs().max()) > 1e-6}
        assert changed == outputs_of(part), part


@EVERY_KIND
@torch.no_grad()
def test_no_scale_is_one_and_no_matrix_is_zero(kind: dict[str, Any]) -> None:
    for name, parameter in model(**kind).named_parameters():
        assert bool((parameter != 0).all()), name
        assert not name.endswith("scale") or float((parameter - 1).abs().min()) > 0.05, name
