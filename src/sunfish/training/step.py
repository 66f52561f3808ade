"""One training step: the loss, its gradient, the optimizers; shared by the trainer and the pre-flight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sunfish.config import Config, TrainingConfig
from sunfish.hardware.device import autocast
from sunfish.model.transformer import Transformer
from sunfish.training.loss import Losses, training_loss
from sunfish.training.optimizer import build_optimizers
from sunfish.training.parallel import add_up, parts_of, reducing, shared_out
from sunfish.training.ranks import Ranks
from sunfish.training.sharding import whole
from sunfish.types import Batch, Process

Objective = Callable[[Transformer, Process, Batch, torch.Generator, int, TrainingConfig], Losses]


class NonFiniteLoss(ValueError):
    """The loss or its gradient became NaN or infinite; the weights are those of before the step.

    Attributes:
        fault: What happened, without the advice that follows it in the message.
    """

    def __init__(self, fault: str, advice: str = "") -> None:
        super().__init__(f"{fault}. {advice}" if advice else fault)
        self.fault = fault


@dataclass
class TrainingStep:
    """Everything that changes the weights of ``model``.

    Attributes:
        model: the network in training.
        process: the forward corruption.
        optimizers: Muon and AdamW, in this order.
        config: learning rates, clipping, block lengths, and what the objective asks for.
        dtype: what the network computes in under autocast.
        objective: the loss of a batch.
        module: the loss as PyTorch shares it out to ``ranks``.
        ranks: the processes that take the step together.
    """

    model: Transformer
    process: Process
    optimizers: list[torch.optim.Optimizer]
    config: Config
    dtype: torch.dtype
    objective: Objective
    module: torch.nn.Module
    ranks: Ranks

    @classmethod
    def build(
        cls,
        config: Config,
        model: Transformer,
        process: Process,
        dtype: torch.dtype,
        objective: Objective = training_loss,
    ) -> TrainingStep:
        """The step of a run, with new optimizers."""
        ranks = Ranks.current()
        module = shared_out(model, ranks, config.training.parallel, dtype)
        optimizers = build_optimizers(model, config.training, config.model.n_embd, dtype)
        return cls(model, process, optimizers, config, dtype, objective, module, ranks)

    def block_length(self, step: int) -> int:
        """The block length of step number ``step``, in positions."""
        lengths = self.config.training.block_lengths
        return lengths[step % len(lengths)] or self.config.model.context_length

    def loss(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """The loss of a batch, arguments as in :meth:`__call__`."""
        words = (self.process, batch, generator, self.block_length(step), self.config.training)
        with autocast(batch.x0.device, self.dtype):
            losses: Losses = self.module(self.objective, *words)
        return losses

    def __call__(self, batch: Batch, generator: torch.Generator, step: int, factor: float = 1.0) -> Losses:
        """Update the weights once.

        Args:
            batch: the texts of this process, on the model's device.
            generator: the noise of this step.
            step: the number of the step, which says the block length.
            factor: what the peak learning rates are multiplied by.

        Raises:
            NonFiniteLoss: before the weights change.
        """
        settings = self.config.training
        losses = self._learn(batch, generator, step)
        clip = settings.gradient_clip or math.inf
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)))
        if not math.isfinite(norm) or not math.isfinite(losses.total.item()):
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            raise NonFiniteLoss(f"loss {losses.total.item()}, gradient norm {norm}")
        rates = (settings.matrix_learning_rate, settings.learning_rate)
        for optimizer, rate in zip(self.optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return losses

    def _learn(self, batch: Batch, generator: torch.Generator, step: int) -> Losses:
        """Give every weight its gradient by the batch of all processes, computed part after part.

        Returns:
            The losses of that batch.
        """
        noise, computed = generator.get_state(), []
        parts = parts_of(batch, self.config.training)
        for part in parts:
            generator.set_state(noise)  # all parts have the noise of one batch, each that of its rows
            with reducing(self.module, reduces=part is parts[-1]):
                losses = self.loss(part, generator, step)
                torch.autograd.backward(
                    losses.total * self.ranks.size
                )  # the mean over processes becomes the sum
            computed.append(losses._replace(total=losses.total.detach()))
        if not part.share.size:
            return losses
        losses = add_up(computed, batch.tokens, self.ranks)
        head = self.model.draft_head
        for parameter in head.parameters() if head is not None else ():
            if parameter.grad is not None:
                parameter.grad *= batch.tokens / max(1, losses.drafted)
        return losses
