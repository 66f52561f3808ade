"""Uniform-state diffusion: corruption by random tokens, its proven bound, its reverse step.

UDLM (Schiff et al. 2024, "Simple guidance mechanisms for discrete diffusion models", arXiv:2412.10193) and Duo (Sahoo et
al. 2025, arXiv:2506.10892). A token may change again at any step, so the process corrects itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.randomness import Streams, draw_categorical
from sunfish.samplers import EXACT
from sunfish.schedules import Schedule, get_schedule
from sunfish.types import Sampler


@dataclass(frozen=True)
class UniformProcess:
    """Each token is replaced by a uniformly drawn one with probability 1 - alpha(t), independently of the others.

    The clean-token distribution x_theta that the denoiser predicts at a position is what the *other* positions say
    of it: the token that stands there is weighed in by Bayes' rule, in :meth:`loss` and in :meth:`step`. With that
    reading the reverse step below is the exact one.
    """

    schedule: Schedule

    sees_time = True
    has_bound = True
    samplers = ("ancestral",)

    @classmethod
    def from_names(cls, schedule: str) -> UniformProcess:
        """Build from the configuration's names; ``ValueError`` for an unknown schedule."""
        return cls(get_schedule(schedule))

    def corrupt(self, x0: Tensor, t: Tensor, table: Tensor, rng: Streams) -> Tensor:
        """x_t ~ q(x_t | x_0) = Cat(alpha_t x_0 + (1 - alpha_t) / V), UDLM eq. 6. All ``[B, N]``."""
        noise_rate = 1 - self.schedule.alpha(t.double())
        size = table.shape[0] - 1
        noise = (rng.uniform(*x0.shape, device=x0.device) * size).long()
        return torch.where(rng.uniform(*x0.shape, device=x0.device) < noise_rate, noise, x0)

    def estimated(self, logits: Tensor, x_t: Tensor, table: Tensor) -> Tensor:
        """``x_t``: the state is all that a step needs."""
        return x_t

    def scored(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """``[B, N]`` bool: every position that is not known; noise does not show which tokens it has changed."""
        return t > 0

    def weight(self, x_t: Tensor, t: Tensor, table: Tensor) -> None:
        """The bound is no weighted cross-entropy."""
        return None

    def loss(self, logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The bound's integrand, nats per token, unreduced: ``logits [..., V]``, the others and the result ``[...]``.

        With c = V alpha x_0 + 1 - alpha, m = V alpha x_theta + 1 - alpha and i the token x_t:
        -alpha' / (V alpha) * (V / m_i - V / c_i + sum_j c_j / c_i * log(m_i c_j / (m_j c_i))), UDLM eq. 18: the rate at
        which the reverse process of the model departs from that of the data. Its mean over t ~ U(0, 1), summed over the
        positions, is at least the negative log-likelihood of the text.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        size = logits.shape[-1]
        known = t <= 0
        time = torch.where(known, torch.ones_like(t), t).to(logits.dtype)
        # At t = 1 both numerator and denominator vanish; the integrand's limit there is 0.
        alpha = self.schedule.alpha(time).clamp(min=1e-3)
        low = 1 - alpha
        high = size * alpha + low  # c_j of the clean token
        m = size * alpha[..., None] * torch.softmax(logits, dim=-1) + low[..., None]
        log_m = m.log()
        m_own, log_m_own = (part.gather(-1, x_t[..., None]).squeeze(-1) for part in (m, log_m))
        log_m_clean = log_m.gather(-1, x0[..., None]).squeeze(-1)
        c_own = torch.where(x_t == x0, high, low)
        mean_log_c = (size - 1) * torch.xlogy(low, low) + torch.xlogy(high, high)
        mean_log_m = low * log_m.sum(-1) + size * alpha * log_m_clean
        divergence = (
            size / m_own - size / c_own
            + size / c_own * (log_m_own - c_own.log())
            + (mean_log_c - mean_log_m) / c_own
        )  # fmt: skip
        rate = -self.schedule.derivative(time) / (size * alpha)
        return torch.where(known, torch.zeros_like(alpha), rate * divergence)

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
        """x_s ~ q(x_s | x_t, x_0 = x_theta): ``logits [B, N, <= V]``, ``x_t [B, N]``, UDLM eq. 15.

        Proportional to q(x_t | x_s) q(x_s | x_theta), each a mixture of its token and of the uniform distribution.
        """
        size = table.shape[0] - 1
        alpha_t, alpha_s = (
            float(self.schedule.alpha(torch.tensor(time, dtype=torch.float64))) for time in (t, s)
        )
        clean = F.pad(torch.softmax(logits.double(), dim=-1), (0, size - logits.shape[-1]))
        kept = alpha_t / alpha_s
        from_here = torch.full_like(clean, (1 - kept) / size)
        from_here.scatter_add_(-1, x_t[..., None], torch.full_like(clean[..., :1], kept))
        posterior = from_here * (alpha_s * clean + (1 - alpha_s) / size)
        return draw_categorical(posterior.log(), rng.uniform(*x_t.shape, device=x_t.device))[0]

    def decode(self, x: Tensor, table: Tensor) -> Tensor:
        """The ids themselves."""
        return x
