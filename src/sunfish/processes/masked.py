"""Masked (absorbing-state) diffusion: corruption, its proven bound, its reverse step.

MDLM (Sahoo et al. 2024, arXiv:2406.07524), MD4 (Shi et al. 2024, arXiv:2406.04329), LLaDA (Nie et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.casts import at_least_float32
from sunfish.processes.base import DiscreteProcess
from sunfish.rng import RowGenerators, sample_logits
from sunfish.types import StepInfo, UnmaskingPolicy


@dataclass(frozen=True)
class MaskedProcess(DiscreteProcess):
    """Each token is replaced by [MASK] with probability 1 - alpha(t), independently of the others."""

    state_kind = "masks"
    time_conditioned = False
    is_elbo = True
    fixed_count = True
    default_sampler = "leftmost"

    def corrupt(self, x0: Tensor, t: Tensor, rng: RowGenerators) -> Tensor:
        """x_t ~ q(x_t | x_0) = Cat(alpha_t x_0 + (1 - alpha_t) m), MDLM eq. 3. All ``[B, N]``; m is id V."""
        mask_rate = 1 - self.schedule.alpha(t.double())
        return torch.where(rng.uniform(*x0.shape, device=x0.device) < mask_rate, self.mask_id, x0)

    def loss_mask(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``[B, N]`` bool: masked positions."""
        return x_t == self.mask_id

    def weight(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The weight of each token's cross-entropy, ``[...]``: -alpha'_t / (1 - alpha_t), or 0 if known."""
        return torch.where(x_t == self.mask_id, self.schedule.weight(t), 0.0)

    def log_likelihood(self, x_t: Tensor, t: Tensor) -> None:
        """None: a mask says nothing of what is under it, and all others are known."""
        return None

    def loss(self, logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The bound's integrand, nats per token, unreduced: ``logits [..., V]``, the others and the result ``[...]``.

        -alpha'_t / (1 - alpha_t) * CE(x_0) where the token is masked, else 0 (MDLM eq. 10). Its mean over
        t ~ U(0, 1), summed over the positions, is at least the negative log-likelihood of the text.
        """
        exact = at_least_float32(logits).flatten(0, -2)
        cross_entropy = F.cross_entropy(exact, x0.flatten(), reduction="none").view(x0.shape)
        return torch.where(x_t == self.mask_id, self.schedule.weight(t) * cross_entropy, 0.0)

    def step(
        self,
        logits: Tensor,
        x_t: Tensor,
        t: float,
        s: float,
        rng: RowGenerators,
        policy: UnmaskingPolicy,
        model_logits: Tensor | None = None,
    ) -> Tensor:
        """x_s ~ p(x_s | x_t), MDLM eq. 6 with x_0 drawn from the model: ``logits [B, N, V]``, ``x_t [B, N]``.

        Exact policies unmask at random; the others judge by ``model_logits``.
        """
        masked = x_t == self.mask_id
        ids, confidence = sample_logits(logits, rng.uniform(*x_t.shape, device=x_t.device))
        if s <= 0:
            return torch.where(masked, ids, x_t)
        if model_logits is None:
            model_logits = logits
        else:
            confidence = torch.softmax(model_logits.double(), dim=-1).gather(-1, ids[..., None]).squeeze(-1)
        alpha_t, alpha_s = self.schedule.at(t), self.schedule.at(s)
        info = StepInfo(model_logits, confidence, masked, alpha_t, alpha_s, rng)
        x_s = torch.where(policy.unmask(info) & masked, ids, x_t)
        if policy.remask:
            x_s = torch.where(policy.remask(info) & ~masked, self.mask_id, x_s)
        return x_s


PROCESSES = {"masked": lambda config, mask_id: MaskedProcess(mask_id)}
