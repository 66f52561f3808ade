"""Diffusion whose noise is random tokens, or masks and random tokens mixed: corruption, proven bound, reverse step.

Random tokens alone: UDLM (Schiff et al. 2024, "Simple guidance mechanisms for discrete diffusion models",
arXiv:2412.10193) and Duo (Sahoo et al. 2025, arXiv:2506.10892). Mixed with masks: GIDD (von Rütte et al. 2025,
arXiv:2503.04482). A token may change again at any step, so the process corrects itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.casts import at_least_float32
from sunfish.processes.base import DiscreteProcess
from sunfish.rng import RowGenerators, sample_logits
from sunfish.types import UnmaskingPolicy


@dataclass(frozen=True)
class MixedProcess(DiscreteProcess):
    """Each token is replaced with probability 1 - alpha(t), independently of the others, by a draw from pi.

    pi is [MASK] with probability 1 - ``uniform_share`` and else any of the V tokens; it is the same at all times, where
    GIDD lets the share of random tokens rise and fall. At ``uniform_share`` 1 this is UDLM's process.

    The clean-token distribution x_theta that :meth:`loss` and :meth:`step` take is what the *other* positions say of a
    position: the token that stands there is weighed in by Bayes' rule. With that meaning the reverse step below is
    the exact one. Training does not minimize the bound, whose rare huge terms drown the rest, but the cross-entropy of
    p(x_0 | x_t), that is of x_theta with that token's :meth:`log_likelihood`; both have the same minimum.
    """

    uniform_share: float = 1.0

    state_kind = "tokens"
    time_conditioned = True
    is_elbo = True
    fixed_count = False
    default_sampler = "ancestral"

    def corrupt(self, x0: Tensor, t: Tensor, rng: RowGenerators) -> Tensor:
        """x_t ~ q(x_t | x_0) = Cat(alpha_t x_0 + (1 - alpha_t) pi) (UDLM eq. 6). All ``[B, N]``."""
        noise_rate = 1 - self.schedule.alpha(t.double())
        drawn = rng.uniform(*x0.shape, device=x0.device) / self.uniform_share
        noise = torch.where(drawn < 1, (drawn * self.mask_id).long(), self.mask_id)
        return torch.where(rng.uniform(*x0.shape, device=x0.device) < noise_rate, noise, x0)

    def loss_mask(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``[B, N]`` bool: every position that is not known; noise does not show which tokens it has changed."""
        return t > 0

    def weight(self, x_t: Tensor, t: Tensor) -> Tensor:
        """-alpha'_t / (1 - alpha_t), as for masks (there it makes the bound), or 0 if known."""
        return self.schedule.weight(t)

    def log_likelihood(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log q(x_t | x_0 = v) up to a constant ``[..., V]``: log(1 + alpha / ((1 - alpha) pi)) at the token that stands
        there, 0 elsewhere; 0 everywhere if that is a mask. ``x_t`` and ``t`` are ``[...]``.
        """
        size = self.mask_id
        alpha = self.schedule.alpha(at_least_float32(t))
        noise = ((1 - alpha) * self.uniform_share / size).clamp(min=torch.finfo(alpha.dtype).tiny)
        log_ratio = torch.where(x_t < size, torch.log1p(alpha / noise), 0.0)
        nothing = log_ratio.new_zeros(*x_t.shape, size)
        return nothing.scatter(-1, x_t.clamp(max=size - 1)[..., None], log_ratio[..., None])

    def loss(self, logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The bound's integrand, nats per token, unreduced: ``logits [..., V]``, the others and the result ``[...]``.

        With c = q(. | x_0), m = q(. | x_theta) at time t, i the token x_t and beta = -alpha' / alpha:
        beta pi_i (1 / m_i - 1 / c_i + sum_j c_j / c_i log(m_i c_j / (m_j c_i))): the rate at which the reverse process
        of the model departs from that of the data (UDLM eq. 18, there for pi = 1 / V and with V c and V m). Its mean over
        t ~ U(0, 1), summed over the positions, is at least the negative log-likelihood of the text.
        """
        logits = at_least_float32(logits)
        size, mask_share = logits.shape[-1], 1 - self.uniform_share
        known, masked = t <= 0, x_t == logits.shape[-1]
        time = torch.where(known, torch.ones_like(t), t).to(logits.dtype)
        # At t = 1 both numerator and denominator vanish; the integrand's limit there is 0.
        alpha = self.schedule.alpha(time).clamp(min=1e-3)
        # All of c and m in units of the share that noise gives each single token, so that float32 does for any V.
        unit = self.uniform_share / size
        low, high = 1 - alpha, alpha / unit + 1 - alpha  # c_j of other tokens, and of the clean one
        m = alpha[..., None] / unit * torch.softmax(logits, dim=-1) + low[..., None]
        log_m = m.log()
        current = torch.where(masked, 0, x_t)[..., None]
        m_i, log_m_i = (part.gather(-1, current).squeeze(-1) for part in (m, log_m))
        c_i = torch.where(x_t == x0, high, low)
        pi_i = torch.ones_like(low)
        if mask_share > 0:  # the mask's probability is the same in c and m
            mask_mass = low * mask_share / unit
            m_i, c_i = torch.where(masked, mask_mass, m_i), torch.where(masked, mask_mass, c_i)
            log_m_i = torch.where(masked, mask_mass.log(), log_m_i)
            pi_i = torch.where(masked, mask_share / unit, pi_i)
        log_m_clean = log_m.gather(-1, x0[..., None]).squeeze(-1)
        mean_log_c = (size - 1) * torch.xlogy(low, low) + torch.xlogy(high, high)
        mean_log_m = low * log_m.sum(-1) + (high - low) * log_m_clean
        # sum_j c_j over the tokens and the mask is 1 / unit; the mask's terms of the two means cancel.
        divergence = (
            (1 / m_i - 1 / c_i) / unit
            + (log_m_i - c_i.log()) / (unit * c_i)
            + (mean_log_c - mean_log_m) / c_i
        )
        rate = -self.schedule.derivative(time) / alpha * pi_i * unit
        return torch.where(known, torch.zeros_like(alpha), rate * divergence)

    def posterior(self, logits: Tensor, x_t: Tensor, t: float, s: float) -> Tensor:
        """log q(x_s | x_t, x_0 = x_theta) ``[B, N, V+1]``, not normalized (UDLM eq. 15).

        Proportional to q(x_t | x_s) q(x_s | x_theta), each a mixture of its token and of pi.
        """
        size = self.mask_id
        alpha_t, alpha_s = self.schedule.at(t), self.schedule.at(s)
        clean = F.pad(torch.softmax(logits.double(), dim=-1), (0, size + 1 - logits.shape[-1]))
        noise = clean.new_full((size + 1,), self.uniform_share / size)
        noise[-1] = 1 - self.uniform_share
        kept = alpha_t / alpha_s
        transition = ((1 - kept) * noise[x_t])[..., None].repeat(1, 1, size + 1)
        transition.scatter_add_(-1, x_t[..., None], torch.full_like(clean[..., :1], kept))
        return (transition * (alpha_s * clean + (1 - alpha_s) * noise)).log()

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
        """x_s ~ q(x_s | x_t, x_0 = x_theta), see :meth:`posterior`: ``logits [B, N, <= V]``, ``x_t [B, N]``."""
        posterior = self.posterior(logits, x_t, t, s)
        return sample_logits(posterior, rng.uniform(*x_t.shape, device=x_t.device))[0]


PROCESSES = {
    "uniform": lambda config, mask_id: MixedProcess(mask_id),
    "mixed": lambda config, mask_id: MixedProcess(mask_id, uniform_share=config.uniform_share),
}
