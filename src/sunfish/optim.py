"""The optimizers: Muon for the matrices of the layers, AdamW for all else, and the learning-rate schedule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sunfish.config import TrainingConfig

TOGETHER = (
    4_000_000  # numbers that go through the iteration at a time: more of them gain no speed and take memory
)


@torch.no_grad()
def orthogonalise(matrices: Tensor, dtype: torch.dtype, steps: int = 5) -> Tensor:
    """Push all singular values of each matrix ``[n, rows, columns]`` to about 1 (between 0.7 and 1.2).

    The quintic Newton-Schulz iteration of Muon (Jordan et al. 2024), over a whole stack in batched products.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(dtype)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]  # the smaller of the two products with itself
    for _ in range(steps):
        gram = torch.bmm(x.mT, x) if tall else torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, polynomial, beta=a) if tall else torch.baddbmm(x, polynomial, x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is orthogonalised (Jordan et al. 2024), for matrices only.

    Stacked projections (queries, keys, values; gate and up) are orthogonalised each on its own, and matrices of one
    shape go through the iteration together: a small network has many small matrices, and calls cost more than
    products there.
    """

    def __init__(
        self,
        parameters: Mapping[nn.Parameter, int],
        lr: float,
        weight_decay: float,
        dtype: torch.dtype,
    ) -> None:
        """``parameters`` maps each matrix to how many projections are stacked in it, one above the other."""
        super().__init__(parameters, dict(lr=lr, momentum=0.95, weight_decay=weight_decay))
        self.pieces = dict(parameters)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape[0] // self.pieces[parameter], parameter.shape[1]].append(parameter)
            for shape, parameters in shapes.items():
                for some in _in_turn(parameters):
                    self._update(some, shape, group["lr"], group["momentum"], group["weight_decay"])

    def _update(
        self,
        parameters: list[nn.Parameter],
        shape: tuple[int, int],
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        """Update matrices whose projections have one ``shape``; large copies are made in ``dtype`` only."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        momenta = [self._momentum(parameter) for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, momenta, momentum)  # Nesterov
        pieces = self._pieces(parameters, updates)
        stack = torch.empty(len(pieces), *shape, dtype=self.dtype, device=pieces[0].device)
        torch._foreach_copy_(list(stack), pieces)
        del updates, pieces
        stack = orthogonalise(stack, self.dtype)
        torch._foreach_mul_(list[Tensor](parameters), 1 - lr * weight_decay)
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        torch._foreach_add_(self._pieces(parameters, parameters), list(stack), alpha=-lr * scale)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]

    def _pieces(self, parameters: Sequence[nn.Parameter], tensors: Sequence[Tensor]) -> list[Tensor]:
        """The projections that are stacked in ``tensors``, one tensor for each parameter."""
        both = zip(parameters, tensors, strict=True)
        return [piece for parameter, tensor in both for piece in tensor.chunk(self.pieces[parameter])]


def _in_turn(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in runs of at most TOGETHER numbers, or of one parameter."""
    some: list[nn.Parameter] = []
    for parameter in parameters:
        if some and sum(p.numel() for p in some) + parameter.numel() > TOGETHER:
            yield some
            some = []
        some.append(parameter)
    yield some


# Projections that share their input are one matrix; each is orthogonalised on its own.
STACKED = {"project": 3, "gate_up": 2}


def build_optimizers(
    model: nn.Module, config: TrainingConfig, n_embd: int, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """Muon over the layers' matrices, AdamW over embeddings and gains."""
    matrices: dict[nn.Parameter, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name.endswith("weight"):
            layer = name.split(".")[-2]
            count = parameter.shape[0] // n_embd if layer == "keys_values" else STACKED.get(layer, 1)
            matrices[parameter] = count
    rest = [p for p in model.parameters() if p not in matrices]
    return [
        Muon(matrices, config.matrix_learning_rate, config.weight_decay, dtype),
        torch.optim.AdamW(
            rest, config.learning_rate, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=True
        ),
    ]


def learning_rate_factor(config: TrainingConfig, step: int, progress: float) -> float:
    """Warm-up, plateau, linear fall to 0 (WSD, Hu et al. 2024); ``progress`` is the share of the run that is over."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.decay_fraction == 0:
        return warm
    return warm * min(1.0, max(0.0, (1 - progress) / config.decay_fraction))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights; the decay grows with the steps, so the start is forgotten fast."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
