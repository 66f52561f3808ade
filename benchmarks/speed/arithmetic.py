"""Owns the count of a training step's operations, and which of its time is matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::addmm_", "aten::baddbmm", "aten::baddbmm_")


def inplace_product(into: Sequence[int], left: Sequence[int], right: Sequence[int], **_: Any) -> int:
    """Operations of ``baddbmm_``: PyTorch counts only the product that makes a new tensor."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[2]


def fused_attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Operations of a CPU's fused attention, forward: two products, ``q k^T`` and that with ``v``."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[2] * (width + value[3])


def fused_attention_backward(
    gradient: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    """Of its gradient: two products for each one forward; what it computes again is not counted."""
    return 2 * fused_attention(query, key, value)


UNCOUNTED = {
    torch.ops.aten.baddbmm_: inplace_product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: fused_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: fused_attention_backward,
}


def count_flops(work: Callable[[], object]) -> tuple[float, float]:
    """Operations of ``work``: all of them, and those of fused attention kernels."""
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        work()
    counts = counter.get_flop_counts()["Global"]
    attention = sum(n for operation, n in counts.items() if "attention" in str(operation))
    return float(counter.get_total_flops()), float(attention)


@contextmanager
def optimizer_seconds(clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Seconds that every optimizer takes within the block, by its class."""
    seconds: dict[str, float] = {}
    begun: list[float] = []

    def before(*_: Any) -> None:
        begun.append(clock())

    def after(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        name = type(optimizer).__name__
        seconds[name] = seconds.get(name, 0.0) + clock() - begun.pop()

    handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()


def self_seconds(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Seconds that each operation (on a GPU: each kernel) takes by itself while ``work`` runs."""
    on_gpu = device.type == "cuda"
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=kinds) as profiled:
        work()
    events = profiled.key_averages()
    if on_gpu:
        kernels = [e for e in events if e.device_type.name == "CUDA"]
        return {e.key: e.self_device_time_total / 1e6 for e in kernels}
    return {e.key: e.self_cpu_time_total / 1e6 for e in events}
