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

from sunfish.processes.schedules import Schedule
from sunfish.rng import Streams, draw_categorical
from sunfish.types import Sampler

# sigma = SPREAD * sqrt(E * (1 - alpha) / alpha). A token among thousands is recognisable by itself below a noise of about
# sqrt(E) / 6, and lost beyond sqrt(E); the square root and this factor bring eight of ten times between the two, where
# there is something to learn (docs/log.md).
SPREAD = 0.5


def embeddings(table: Tensor) -> Tensor:
    """The table's tokens ``[V, E]``, each of root mean square 1: no embedding can shrink away from the noise."""
    tokens = table.detach()[:-1]
    return tokens / tokens.pow(2).mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-6)


def _mean(logits: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
    """The mean embedding ``[..., E]`` under softmax(``logits [..., <= V]``)."""
    return torch.softmax(logits, dim=-1).to(dtype) @ embeddings(table)[: logits.shape[-1]]


@dataclass(frozen=True)
class GaussianProcess:
    """x_t = sqrt(a) e(x_0) + sqrt(1 - a) noise, a = 1 / (1 + sigma^2): the variance stays 1 (Ho et al. 2020, eq. 4).

    A state is ``[B, N, 2E]``: the noisy embedding, and the last estimate of the clean one, 0 before the first. Logits
    are what the other positions say of one; :meth:`evidence` is what its own noisy embedding says.
    """

    schedule: Schedule

    sees_time = True
    has_bound = False
    samplers = ("ancestral", "ddpm", "ddim", "sde")

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

    def estimated(self, logits: Tensor, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """The state with the mean embedding under p(x_0 | x_t), of ``logits [..., <= V]``, as its estimate."""
        noisy = x_t[..., : table.shape[1]]
        return torch.cat([noisy, _mean(self._posterior(logits, x_t, t, table), table, noisy.dtype)], dim=-1)

    def scored(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """``[B, N]`` bool: every position that is not known."""
        return t > 0

    def weight(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """-alpha'_t / (1 - alpha_t), as for masks, or 0 if known.

        The cross-entropy grows with the time about linearly, so that all times count alike. Unweighted, as in CDCD, the
        canvas learns too little beside the next token (docs/log.md).
        """
        return self.schedule.weight(t)

    def evidence(self, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """log N(x_t; sqrt(a) e(v), 1 - a) ``[..., V]`` up to a constant: all embeddings have one length.

        ``x_t [..., 2E]``, ``t [...]``. Never in bfloat16: the products are large, and their differences count.
        """
        power = self.power(t, table.shape[1])
        exact = torch.promote_types(x_t.dtype, torch.float32)
        sharpness = (power.sqrt() / (1 - power).clamp(min=1e-4))[..., None].to(exact)
        with torch.autocast(x_t.device.type, enabled=False):
            return (sharpness * x_t[..., : table.shape[1]]) @ embeddings(table).to(exact).T

    def loss(self, logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Cross-entropy of the clean token in nats, 0 where it is known: no bound of the likelihood.

        ``logits [..., V]`` are those of p(x_0 | x_t): with the evidence.
        """
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
        sampler: Sampler,
        belief: Tensor | None = None,
    ) -> Tensor:
        """x_s from ``x_t [B, N, 2E]`` and ``logits [B, N, <= V]``: DDIM (Song et al. 2021, eq. 12) at the sampler's eta.

        eta 1 is DDPM, eta 0 deterministic. They head for the mean of the clean embedding, which is right for small steps
        only. A sampler that draws takes x_0 ~ p(x_0 | x_t) in its place, then q(x_s | x_t, x_0): for one position exact
        at any number of steps, as the ancestral steps of discrete noise are (D3PM, Austin et al. 2021, eq. 4). One that
        extrapolates is SDE-DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, section 5), of second order: DDPM towards
        where the estimate is heading; it takes the times to be evenly spaced. At ``s = 0`` the tokens are drawn, and
        the state holds their embeddings.
        """
        width, shape = table.shape[1], x_t.shape[:2]
        times = torch.full(shape, t, dtype=torch.float64, device=x_t.device)
        posterior = self._posterior(logits, x_t, times, table)
        if s <= 0:
            ids, _ = draw_categorical(posterior, rng.uniform(*shape, device=x_t.device))
            clean = embeddings(table)[ids]
            return torch.cat([clean, clean], dim=-1)
        noisy = x_t[..., :width]
        estimate = _mean(posterior, table, noisy.dtype)
        target = estimate
        if sampler.draws:
            ids, _ = draw_categorical(posterior, rng.uniform(*shape, device=x_t.device))
            target = embeddings(table)[ids]
        # Before that there was no estimate, or one from nothing but noise; and 2 t - s may come out just below 1.
        if sampler.extrapolates and 2 * t - s < 1 - 1e-6:
            before, now, then = (self._half_log_snr(time, width) for time in (2 * t - s, t, s))
            target = estimate + 0.5 * (then - now) / (now - before) * (estimate - x_t[..., width:])
        moved = self.move(noisy, target, t, s, rng, sampler.eta)
        return torch.cat([moved, estimate], dim=-1)

    def move(
        self, noisy: Tensor, target: Tensor, t: float, s: float, rng: Streams, eta: float = 1.0
    ) -> Tensor:
        """``noisy [B, N, E]`` at time ``t`` moved to ``s``, if ``target [B, N, E]`` is clean (DDIM, eq. 12)."""
        power_t, power_s = (self._power_at(time, noisy.shape[-1]) for time in (t, s))
        noise = (noisy - power_t**0.5 * target) / (1 - power_t) ** 0.5
        variance = eta**2 * (1 - power_s) / (1 - power_t) * (1 - power_t / power_s)
        moved = power_s**0.5 * target + max(0.0, 1 - power_s - variance) ** 0.5 * noise
        if variance > 0:
            moved = moved + variance**0.5 * rng.normal(*moved.shape, device=moved.device).to(moved.dtype)
        return moved

    def _posterior(self, logits: Tensor, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
        """Logits of p(x_0 | x_t): what the others say, and the position's own evidence."""
        return logits + self.evidence(x_t, t, table)[..., : logits.shape[-1]]

    def _power_at(self, t: float, width: int) -> float:
        return float(self.power(torch.tensor(t, dtype=torch.float64), width))

    def _half_log_snr(self, t: float, width: int) -> float:
        power = self._power_at(t, width)
        return 0.5 * math.log(power / (1 - power))

    def decode(self, x: Tensor, table: Tensor) -> Tensor:
        """The ids ``[B, N]`` whose embeddings are nearest."""
        return (x[..., : table.shape[1]] @ embeddings(table).T).argmax(dim=-1)
