"""The optimizers: Muon for the matrices of the layers, AdamW for all else, and the learning-rate schedule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sunfish.config import TrainingConfig

# Numbers that go through the iteration at a time: on a CPU more of them gain no speed and take memory.
TOGETHER, TOGETHER_ON_GPU = 4_000_000, 64_000_000
TURNS = 3  # each matrix is updated in one of so many steps; no divisor of the usual four block lengths
ROW_MEMORY = 0.95  # of the running mean square of each row of the updates


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
    """Momentum whose every update is orthogonalised (Jordan et al. 2024) and its rows brought to one size, for matrices.

    The rows are those of NorMuon (Li et al. 2025, arXiv:2510.05491, algorithm 1): each is divided by the root of its
    own running mean square, and the whole keeps its norm.

    Stacked projections (queries, keys, values; gate and up) are orthogonalised each on its own, and matrices of one
    shape go through the iteration together: a small network has many small matrices, and calls cost more than
    products there.

    Momentum changes by a twentieth in a step, and orthogonalising it is a third of a step of a large network with a small
    batch. So matrices take turns: each is updated in one of ``turns`` steps, by as many times the learning rate.
    """

    def __init__(
        self,
        parameters: Mapping[nn.Parameter, int],
        lr: float,
        weight_decay: float,
        dtype: torch.dtype,
        turns: int = TURNS,
    ) -> None:
        """``parameters`` maps each matrix to how many projections are stacked in it, one above the other."""
        super().__init__(parameters, dict(lr=lr, momentum=0.95, weight_decay=weight_decay))
        self.pieces = dict(parameters)
        self.dtype = dtype
        self.turns = turns

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """The momentum of every matrix that has a gradient, and an update of those whose turn it is."""
        for group in self.param_groups:
            turn = group["turn"] = group.get("turn", -1) + 1
            shapes: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape[0] // self.pieces[parameter], parameter.shape[1]].append(parameter)
            stacks = ((shape, some) for shape, alike in shapes.items() for some in _stacks(alike))
            for place, (shape, parameters) in enumerate(stacks):
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                momenta = [self._state(parameter, "momentum", parameter.shape) for parameter in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                if (turn + place) % self.turns == 0:
                    stack = self._stacked(parameters, shape, gradients, momenta, group["momentum"])
                    self._update(parameters, stack, self.turns * group["lr"], group["weight_decay"])

    def _stacked(
        self,
        parameters: list[nn.Parameter],
        shape: tuple[int, int],
        gradients: list[Tensor],
        momenta: list[Tensor],
        momentum: float,
    ) -> Tensor:
        """Nesterov's momentum of projections that all have one ``shape``, in ``dtype``."""
        pieces = self._pieces(parameters, torch._foreach_lerp(gradients, momenta, momentum))
        stack = torch.empty(len(pieces), *shape, dtype=self.dtype, device=pieces[0].device)
        torch._foreach_copy_(list(stack), pieces)
        return stack

    def _update(self, parameters: list[nn.Parameter], stack: Tensor, lr: float, weight_decay: float) -> None:
        """Update matrices by their projections' momentum, ``stack [n, rows, columns]``."""
        stack = orthogonalise(stack, self.dtype)
        stack.mul_(self._row_scale(parameters, stack))
        torch._foreach_mul_(list[Tensor](parameters), 1 - lr * weight_decay)
        scale = max(1.0, stack.shape[1] / stack.shape[2]) ** 0.5
        torch._foreach_add_(self._pieces(parameters, parameters), list(stack), alpha=-lr * scale)

    def _row_scale(self, parameters: list[nn.Parameter], stack: Tensor) -> Tensor:
        """What brings the rows of ``stack [n, rows, columns]`` to one size, ``[n, rows, 1]``."""
        square = torch.linalg.vector_norm(stack, dim=2, dtype=torch.float32).square()
        known = [
            self._state(parameter, "rows", (self.pieces[parameter], stack.shape[1]))
            for parameter in parameters
        ]
        mean = torch.cat(known).lerp_(square, 1 - ROW_MEMORY)
        torch._foreach_copy_(known, list(mean.split([len(rows) for rows in known])))
        scale = mean.clamp(min=1e-20).rsqrt()
        # The same norm as before; the part of the mean that is still its beginning, 0, cancels out here.
        scale *= (
            square.sum(1, keepdim=True) / (square * scale.square()).sum(1, keepdim=True).clamp(min=1e-20)
        ).sqrt()
        return scale[..., None].to(stack.dtype)

    def _state(self, parameter: nn.Parameter, name: str, shape: Sequence[int]) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros(*shape, device=parameter.device)
        return state[name]

    def _pieces(self, parameters: Sequence[nn.Parameter], tensors: Sequence[Tensor]) -> list[Tensor]:
        """The projections that are stacked in ``tensors``, one tensor for each parameter."""
        both = zip(parameters, tensors, strict=True)
        return [piece for parameter, tensor in both for piece in tensor.chunk(self.pieces[parameter])]


def _stacks(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in runs of at most as many numbers as go together, or of one parameter."""
    some: list[nn.Parameter] = []
    limit = TOGETHER if parameters[0].device.type == "cpu" else TOGETHER_ON_GPU
    for parameter in parameters:
        if some and sum(p.numel() for p in some) + parameter.numel() > limit:
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
