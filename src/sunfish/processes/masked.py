"""Masked (absorbing-state) diffusion: corruption, its proven bound, its reverse step.

MDLM (Sahoo et al. 2024, arXiv:2406.07524), MD4 (Shi et al. 2024, arXiv:2406.04329), LLaDA (Nie et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.processes.schedules import Schedule
from sunfish.rng import Streams, draw_categorical
from sunfish.types import Proposal, Sampler


@dataclass(frozen=True)
class MaskedProcess:
    """Each token is replaced by [MASK] with probability 1 - alpha(t), independently of the others."""

    schedule: Schedule

    sees_time = False
    has_bound = True
    samplers = (
        "leftmost",
        "ancestral",
        "first-hitting",
        "confidence",
        "prefix",
        "threshold",
        "entropy",
        "remask",
    )

    def corrupt(self, x0: Tensor, t: Tensor, table: Tensor, rng: Streams) -> Tensor:
        """x_t ~ q(x_t | x_0) = Cat(alpha_t x_0 + (1 - alpha_t) m), MDLM eq. 3. All ``[B, N]``; m is id V."""
        mask_id = table.shape[0] - 1
        mask_rate = 1 - self.schedule.alpha(t.double())
        return torch.where(rng.uniform(*x0.shape, device=x0.device) < mask_rate, mask_id, x0)

    def estimated(self, logits: Tensor, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """``x_t``: the state is all that a step needs."""
        return x_t

    def scored(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """``[B, N]`` bool: where the loss can differ from 0, so that logits are needed nowhere else."""
        return x_t == table.shape[0] - 1

    def weight(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """What the cross-entropy of each token is weighed with, ``[...]``: -alpha'_t / (1 - alpha_t), or 0 if known."""
        return torch.where(x_t == table.shape[0] - 1, self.schedule.weight(t), 0.0)

    def evidence(self, x_t: Tensor, t: Tensor, table: Tensor) -> None:
        """None: a mask says nothing of what is under it, and all others are known."""
        return None

    def loss(self, logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The bound's integrand, nats per token, unreduced: ``logits [..., V]``, the others and the result ``[...]``.

        -alpha'_t / (1 - alpha_t) * CE(x_0) where the token is masked, else 0 (MDLM eq. 10). Its mean over
        t ~ U(0, 1), summed over the positions, is at least the negative log-likelihood of the text.
        """
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2)
        cross_entropy = F.cross_entropy(exact, x0.flatten(), reduction="none").view(x0.shape)
        return torch.where(x_t == logits.shape[-1], self.schedule.weight(t) * cross_entropy, 0.0)

    def step(
        self,
        logits: Tensor,
        x_t: Tensor,
        t: float,
        s: float,
        table: Tensor,
        rng: Streams,
        sampler: Sampler,
        belief: Tensor | None = None,
    ) -> Tensor:
        """x_s ~ p(x_s | x_t), MDLM eq. 6 with x_0 drawn from the model: ``logits [B, N, V]``, ``x_t [B, N]``.

        Which masked positions are revealed, the logits of exact samplers, guided or not, have no part in; the other
        samplers judge by ``belief``, the model's logits before any temperature (``logits`` if it is not given).
        """
        mask_id = table.shape[0] - 1
        masked = x_t == mask_id
        ids, confidence = draw_categorical(logits, rng.uniform(*x_t.shape, device=x_t.device))
        if s <= 0:
            return torch.where(masked, ids, x_t)
        alpha_t, alpha_s = self.schedule.at(t), self.schedule.at(s)
        if belief is None:
            belief = logits
        else:
            confidence = torch.softmax(belief.double(), dim=-1).gather(-1, ids[..., None]).squeeze(-1)
        proposal = Proposal(belief, confidence, masked, alpha_t, alpha_s, rng)
        x_s = torch.where(sampler.commit(proposal) & masked, ids, x_t)
        if sampler.reopen:
            x_s = torch.where(sampler.reopen(proposal) & ~masked, mask_id, x_s)
        return x_s

    def decode(self, x: Tensor, table: Tensor) -> Tensor:
        """The ids themselves; a mask that is left at time 0 would be a bug of the sampler."""
        assert not bool((x == table.shape[0] - 1).any()), "a masked token is left at time 0"
        return x
