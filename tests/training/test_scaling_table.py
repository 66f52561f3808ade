"""The table of docs/scaling.md is what its formula gives."""

from __future__ import annotations

import math

import pytest

from sunfish.config.presets import preset
from sunfish.model.cost import flops_per_token, matrix_parameters
from sunfish.model.transformer import count_parameters
from sunfish.training.optimizer import UPDATE_INTERVAL
from tests.conftest import ROOT

RATE, TOKENS, LATENCY, NOISE = 218e12, 32_768, 10e-6, 17e-9
BUCKET = 25 * 2**20  # bytes of gradients that DistributedDataParallel reduces at a time


def seconds(name: str, parallel: str, gpus: int) -> tuple[float, float, float]:
    """Computation, communication and noise of a step."""
    config = preset(name)
    parameters, layers = count_parameters(config.model), config.model.n_layer
    bandwidth = 300e9 if gpus <= 8 else 40e9
    sent, calls = 8.0 * parameters, 4 * parameters / BUCKET
    if parallel == "fsdp":
        sent += 4 * matrix_parameters(config.model) / UPDATE_INTERVAL
        calls = 3.0 * (layers + 1)
    transfer = sent * (gpus - 1) / gpus / bandwidth + calls * 2 * math.log2(gpus) * LATENCY
    return TOKENS * flops_per_token(config.model) / RATE, transfer, gpus * TOKENS * NOISE


@pytest.mark.parametrize("name", ["base", "full"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("gpus", [8, 64, 512])
def test_a_row(name: str, parallel: str, gpus: int) -> None:
    compute, transfer, noise = seconds(name, parallel, gpus)
    low = compute / (compute + transfer + noise)
    high = compute / (max(compute, transfer) + noise)
    times = " | ".join(f"{1000 * part:,.0f}" for part in (compute, transfer, noise))
    row = f"| `{name}` | {parallel} | {gpus} | {times} | {low:.0%} to {high:.0%} |"
    assert row in (ROOT / "docs" / "scaling.md").read_text(), row
