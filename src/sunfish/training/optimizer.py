"""Muon for the matrices of the layers, AdamW for all else, the learning-rate schedule, the EMA."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sunfish.config import TrainingConfig
from sunfish.training.sharding import gather_rows, is_sharded, local, row_state, scatter_rows

# Numbers that go through the iteration at a time: on a CPU more of them gain no speed and take memory.
MAX_STACK_NUMEL = {"cpu": 4_000_000, "cuda": 64_000_000}
# Each matrix is updated in one of this many steps; no divisor of the usual four block lengths.
UPDATE_INTERVAL = 3
ITERATIONS = 5  # of Newton and Schulz in an update
BETA2 = 0.95  # of the running mean square of each row of the updates


@torch.no_grad()
def newton_schulz(matrices: Tensor, dtype: torch.dtype, steps: int = ITERATIONS) -> Tensor:
    """Push all singular values of each matrix ``[n, rows, columns]`` to about 1 (between 0.7 and 1.2).

    The quintic Newton-Schulz iteration of Muon (Jordan et al. 2024), over a whole stack in batched products.

    Args:
        matrices: any scale; each is divided by its Frobenius norm first.
        dtype: what the products are computed in.
        steps: iterations.

    Returns:
        The nearly orthogonal matrices, in ``dtype``.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(dtype)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]  # take the smaller of the two Gram matrices
    for _ in range(steps):
        gram = torch.bmm(x.mT, x) if tall else torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, polynomial, beta=a) if tall else torch.baddbmm(x, polynomial, x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalized (Muon), with normalized rows (NorMuon), for matrices.

    Muon is Jordan et al. 2024. NorMuon (Li et al. 2025, arXiv:2510.05491, algorithm 1) divides each row by
    the root of its own running mean square, and the whole update keeps its norm.

    Stacked projections (queries, keys, values; gate and up) are orthogonalized one by one, and projections of
    one shape go through the iteration together: a small network has many small matrices, for which calls cost
    more than products.

    Momentum changes by a twentieth in a step, and orthogonalizing it takes a third of a step of a large
    network with a small batch. So matrices take turns: each is updated in one of ``update_interval`` steps,
    by that many times the learning rate.
    """

    def __init__(
        self,
        parameters: Mapping[nn.Parameter, int],
        lr: float,
        weight_decay: float,
        dtype: torch.dtype,
        update_interval: int = UPDATE_INTERVAL,
        max_stack_numel: int | None = None,
    ) -> None:
        """Optimize matrices.

        Args:
            parameters: each matrix, and how many projections are stacked in it, one above the other.
            lr: learning rate.
            weight_decay: decoupled weight decay.
            dtype: what the iteration is computed in.
            update_interval: steps between two updates of one matrix.
            max_stack_numel: numbers that go through the iteration at a time; None: what suits the device.
        """
        super().__init__(parameters, dict(lr=lr, momentum=0.95, weight_decay=weight_decay, turn=-1))
        self.projections = dict(parameters)
        self.dtype = dtype
        self.update_interval = update_interval
        self.max_stack_numel = max_stack_numel

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the momentum of every matrix that has a gradient, and the matrices whose turn it is."""
        for group in self.param_groups:
            group["turn"] += 1
            for place, (shape, parameters) in enumerate(self._stacks(group["params"])):
                gradients = [local(parameter.grad) for parameter in parameters]
                momenta = [local(self._momentum(parameter)) for parameter in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                if (group["turn"] + place) % self.update_interval == 0:
                    nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
                    lr = self.update_interval * group["lr"]
                    self._update(parameters, shape, nesterov, lr, group["weight_decay"])

    def _stacks(
        self, parameters: Sequence[nn.Parameter]
    ) -> Iterator[tuple[tuple[int, int], list[nn.Parameter]]]:
        """The matrices with a gradient, stacked by the shape of their projections."""
        by_shape: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            if parameter.grad is not None:
                rows = parameter.shape[0] // self.projections[parameter]
                by_shape[rows, parameter.shape[1]].append(parameter)
        for shape, alike in by_shape.items():
            kind = "cpu" if alike[0].device.type == "cpu" else "cuda"
            limit = MAX_STACK_NUMEL[kind] if self.max_stack_numel is None else self.max_stack_numel
            stack: list[nn.Parameter] = []
            for parameter in alike:
                if stack and sum(p.numel() for p in stack) + parameter.numel() > limit:
                    yield shape, stack
                    stack = []
                stack.append(parameter)
            yield shape, stack

    def _update(
        self,
        parameters: list[nn.Parameter],
        shape: tuple[int, int],
        nesterov: Sequence[Tensor],
        lr: float,
        weight_decay: float,
    ) -> None:
        """Update matrices by Nesterov's momentum of the rows held here, of projections of one ``shape``."""
        running = [local(self._row_means(parameter)) for parameter in parameters]
        mine, momenta, means, sharded = parameters, nesterov, running, is_sharded(parameters[0])
        if sharded:  # each process orthogonalizes some of the matrices
            mine = parameters[dist.get_rank() :: dist.get_world_size()]
            nesterov = [rows.to(self.dtype) for rows in nesterov]
            momenta, means = gather_rows(parameters, nesterov), gather_rows(parameters, running)
        updates: list[Tensor] = []
        if mine:
            projections = self._split(mine, momenta)
            stack = torch.empty(len(projections), *shape, dtype=self.dtype, device=projections[0].device)
            torch._foreach_copy_(list(stack), projections)
            stack = newton_schulz(stack, self.dtype)
            stack.mul_(row_scale(self._split(mine, means), stack))
            counts = [self.projections[parameter] for parameter in mine]
            updates = [part.flatten(0, 1) for part in torch.split(stack, counts)]
        if sharded:
            updates = scatter_rows(parameters, updates, nesterov)
            torch._foreach_copy_(running, scatter_rows(parameters, means, running))
        weights = [local(parameter) for parameter in parameters]
        torch._foreach_mul_(weights, 1 - lr * weight_decay)
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        torch._foreach_add_(weights, updates, alpha=-lr * scale)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter, dtype=torch.float32)
        momentum: Tensor = state["momentum"]
        return momentum

    def _row_means(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "row_mean_square" not in state:
            state["row_mean_square"] = row_state(parameter)
        means: Tensor = state["row_mean_square"]
        return means.flatten()

    def _split(self, parameters: Sequence[nn.Parameter], tensors: Sequence[Tensor]) -> list[Tensor]:
        """The projections that are stacked in ``tensors``, one tensor for each parameter."""
        pairs = zip(parameters, tensors, strict=True)
        return [part for parameter, tensor in pairs for part in tensor.chunk(self.projections[parameter])]


def row_scale(running: Sequence[Tensor], stack: Tensor) -> Tensor:
    """What brings the rows of ``stack [n, rows, columns]`` to one size over time, ``[n, rows, 1]`` (NorMuon).

    ``running``, the mean square of each row of n projections so far, is updated in place.
    """
    square = torch.linalg.vector_norm(stack, dim=2, dtype=torch.float32).square()
    mean = torch.stack(list(running)).lerp_(square, 1 - BETA2)
    torch._foreach_copy_(list(running), list(mean))
    scale = mean.clamp(min=1e-20).rsqrt()
    # The update keeps its norm; the bias of the mean toward its start, 0, cancels out.
    scale *= (
        square.sum(1, keepdim=True) / (square * scale.square()).sum(1, keepdim=True).clamp(min=1e-20)
    ).sqrt()
    return scale[..., None].to(stack.dtype)


# Projections that share their input are one matrix; each is orthogonalized separately.
STACKED = {"qkv_proj": 3, "gate_up_proj": 2}


def build_optimizers(
    model: nn.Module, config: TrainingConfig, n_embd: int, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """Muon over the matrices of the blocks, then AdamW over embeddings, scales and all else."""
    matrices: dict[nn.Parameter, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name.endswith("weight"):
            layer = name.split(".")[-2]
            count = parameter.shape[0] // n_embd if layer == "kv_proj" else STACKED.get(layer, 1)
            matrices[parameter] = count
    rest = [p for p in model.parameters() if p not in matrices]
    return [
        Muon(matrices, config.matrix_learning_rate, config.weight_decay, dtype),
        torch.optim.AdamW(
            rest, config.learning_rate, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=True
        ),
    ]


def learning_rate_factor(config: TrainingConfig, step: int, progress: float) -> float:
    """Warm-up, plateau, linear decay to 0 (WSD, Hu et al. 2024).

    Args:
        config: ``warmup_steps`` and ``decay_fraction``.
        step: steps before this one.
        progress: the share of the run that is over.

    Returns:
        What the peak learning rates are multiplied by, in [0, 1].
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.decay_fraction == 0:
        return warm
    return warm * min(1.0, max(0.0, (1 - progress) / config.decay_fraction))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move ``average`` toward the weights of ``model``: an exponential moving average (EMA).

    The decay grows with the steps up to ``decay``, so the start is forgotten fast.
    """
    decay = min(decay, (1 + step) / (10 + step))
    averages, weights = ([local(p) for p in network.parameters()] for network in (average, model))
    torch._foreach_lerp_(averages, weights, 1 - decay)
