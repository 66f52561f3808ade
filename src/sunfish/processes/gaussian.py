"""Gaussian diffusion of token embeddings: corruption, cross-entropy, DDPM and DDIM steps. It has no proven bound here.

Diffusion-LM (Li et al. 2022, arXiv:2205.14217) with the remedies of CDCD (Dieleman et al. 2022, arXiv:2211.15089):
normalised embeddings, cross-entropy on the clean token, self-conditioning (Chen et al. 2023, arXiv:2208.04202).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.randomness import Streams, draw_categorical
from sunfish.samplers import EXACT
from sunfish.schedules import Schedule
from sunfish.types import Sampler

# sigma = SPREAD * sqrt(E * (1 - alpha) / alpha). A token among thousands stops being recognisable by itself where the
# noise is about sqrt(E) / 4. Measured (docs/log.md), all that is to be learned lies between a half and three times
# that; the square root brings three quarters of the times into this range.
SPREAD = 0.3


def embeddings(table: Tensor) -> Tensor:
    """The table's tokens ``[V, E]``, each of root mean square 1: no embedding can shrink away from the noise."""
    tokens = table.detach()[:-1]
    return tokens / tokens.pow(2).mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-6)


@dataclass(frozen=True)
class GaussianProcess:
    """x_t = sqrt(a) e(x_0) + sqrt(1 - a) noise, a = 1 / (1 + sigma^2): the variance stays 1 (Ho et al. 2020, eq. 4).

    A state is ``[B, N, 2E]``: the noisy embedding, and the last estimate of the clean one, 0 before the first.
    """

    schedule: Schedule

    sees_time = True
    weighs_bound = True
    has_bound = False
    samplers = ("ddpm", "ddim", "sde")

    def power(self, t: Tensor, width: int) -> Tensor:
        """a(t): the share of the signal in the variance, 1 at t = 0 and 0 at t = 1."""
        alpha = self.schedule.alpha(t.double())
        return alpha / (alpha + SPREAD**2 * width * (1 - alpha))

    def corrupt(self, x0: Tensor, t: Tensor, table: Tensor, rng: Streams) -> Tensor:
        """x_t ~ q(x_t | x_0) ``[B, N, 2E]`` of ids ``x0 [B, N]`` at times ``t [B, N]``, without any estimate."""
        clean = embeddings(table)[x0]
        power = self.power(t, clean.shape[-1])[..., None]
        noise = rng.normal(*clean.shape, device=clean.device)
        noisy = (power.sqrt() * clean + (1 - power).sqrt() * noise).to(clean.dtype)
        return torch.cat([noisy, torch.zeros_like(noisy)], dim=-1)

    def estimated(self, logits: Tensor, x_t: Tensor, table: Tensor) -> Tensor:
        """The state with the mean embedding under ``logits [..., <= V]`` as its estimate."""
        noisy = x_t[..., : table.shape[1]]
        probabilities = torch.softmax(logits.float(), dim=-1).to(noisy.dtype)
        estimate = probabilities @ embeddings(table)[: logits.shape[-1]]
        return torch.cat([noisy, estimate], dim=-1)

    def scored(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """``[B, N]`` bool: every position that is not known."""
        return t > 0

    def weight(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """1 where a token is unknown: the cross-entropy is not weighed (CDCD eq. 6)."""
        return (t > 0).float()

    def clean_logits(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's output as it is."""
        return logits

    def loss(self, logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Cross-entropy of the clean token in nats, 0 where it is known: no bound of the likelihood."""
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2)
        cross_entropy = F.cross_entropy(exact, x0.flatten(), reduction="none").view(x0.shape)
        return torch.where(t > 0, cross_entropy, 0.0)

    def step(
        self,
        logits: Tensor,
        x_t: Tensor,
        t: float,
        s: float,
        table: Tensor,
        rng: Streams,
        sampler: Sampler = EXACT,
        belief: Tensor | None = None,
    ) -> Tensor:
        """x_s from ``x_t [B, N, 2E]`` and ``logits [B, N, <= V]``: DDIM (Song et al. 2021, eq. 12) at the sampler's eta.

        eta 1 is DDPM, eta 0 deterministic. A sampler that extrapolates is SDE-DPM-Solver++(2M) (Lu et al. 2022,
        arXiv:2211.01095, section 5), of second order: DDPM towards where the estimate is heading. It takes the times to
        be evenly spaced. At ``s = 0`` the tokens are drawn, and the state holds their embeddings.
        """
        width, shape = table.shape[1], x_t.shape[:2]
        if s <= 0:
            ids, _ = draw_categorical(logits, rng.uniform(*shape, device=x_t.device))
            clean = embeddings(table)[ids]
            return torch.cat([clean, clean], dim=-1)
        state = self.estimated(logits, x_t, table)
        noisy, estimate = state.split(width, dim=-1)
        power_t, power_s = (
            float(self.power(torch.tensor(time, dtype=torch.float64), width)) for time in (t, s)
        )
        target = estimate
        if (
            sampler.extrapolates and 2 * t - s < 1
        ):  # before that there was no estimate, or one from nothing but noise
            before, now, then = (self._half_log_snr(time, width) for time in (2 * t - s, t, s))
            target = estimate + 0.5 * (then - now) / (now - before) * (estimate - x_t[..., width:])
        noise = (noisy - power_t**0.5 * target) / (1 - power_t) ** 0.5
        variance = sampler.eta**2 * (1 - power_s) / (1 - power_t) * (1 - power_t / power_s)
        moved = power_s**0.5 * target + max(0.0, 1 - power_s - variance) ** 0.5 * noise
        if variance > 0:
            moved = moved + variance**0.5 * rng.normal(*moved.shape, device=moved.device).to(moved.dtype)
        return torch.cat([moved, estimate], dim=-1)

    def _half_log_snr(self, t: float, width: int) -> float:
        power = float(self.power(torch.tensor(t, dtype=torch.float64), width))
        return 0.5 * math.log(power / (1 - power))

    def decode(self, x: Tensor, table: Tensor) -> Tensor:
        """The ids ``[B, N]`` whose embeddings are nearest."""
        return (x[..., : table.shape[1]] @ embeddings(table).T).argmax(dim=-1)
