"""The table of docs/scaling.md is what its formula gives, and so is what ``sunfish plan`` says of a step."""

from __future__ import annotations

import math

import pytest

from sunfish.config.presets import preset
from sunfish.model.cost import flops_per_token, matrix_parameters
from sunfish.model.transformer import count_parameters
from sunfish.training.communication import assumed_link, step_time
from sunfish.training.optimizer import UPDATE_INTERVAL
from sunfish.training.throughput import optimizer_flops
from tests.conftest import ROOT

RATE, TOKENS, LATENCY, NOISE = 218e12, 32_768, 10e-6, 24e-9
BUCKET = 25 * 2**20  # bytes of gradients that DistributedDataParallel reduces at a time


def seconds(name: str, parallel: str, gpus: int) -> tuple[float, float, float]:
    """Computation, communication and noise of a step."""
    config = preset(name)
    parameters, layers = count_parameters(config.model), config.model.n_layer
    bandwidth = 300e9 if gpus <= 8 else 40e9
    sent, calls = 8.0 * parameters, 4 * parameters / BUCKET
    if parallel == "fsdp":
        sent += 4 * matrix_parameters(config.model) / UPDATE_INTERVAL / gpus
        calls = 3.0 * (layers + 1)
    transfer = sent * (gpus - 1) / gpus / bandwidth + calls * 2 * math.log2(gpus) * LATENCY
    optimizing = optimizer_flops(config.model) / (gpus if parallel == "fsdp" else 1)
    compute = (TOKENS * flops_per_token(config.model) + optimizing) / RATE
    return compute, transfer, TOKENS * NOISE


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
    shared = preset(name, parallel=parallel)
    length = shared.model.context_length
    shared = shared.with_fields(batch_size=gpus * TOKENS // length)
    planned = step_time(shared, gpus, length, RATE, assumed_link(gpus))
    assert tuple(planned) == pytest.approx((compute, transfer, noise))
    assert (planned.serial, planned.overlapped) == pytest.approx((compute / low, compute / high))
