"""Gaussian diffusion of token embeddings: corruption, cross-entropy, DDPM and DDIM steps. It has no proven bound here.

Diffusion-LM (Li et al. 2022, arXiv:2205.14217) with the remedies of CDCD (Dieleman et al. 2022, arXiv:2211.15089):
normalized embeddings, cross-entropy on the clean token, self-conditioning (Chen et al. 2023, arXiv:2208.04202).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.casts import at_least_float32
from sunfish.processes.schedules import LOG_LINEAR, Schedule
from sunfish.rng import RowGenerators, sample_logits
from sunfish.types import UnmaskingPolicy

# sigma = SPREAD * sqrt(E * (1 - alpha) / alpha). A token among thousands is recognizable by itself below a noise of about
# sqrt(E) / 6, and lost beyond sqrt(E); the square root and this factor bring eight of ten times between the two, where
# there is something to learn (docs/experiments/2026-11-noise-hidden-from-itself.md).
SPREAD = 0.5


def normalized_embeddings(table: Tensor) -> Tensor:
    """The tokens ``[V, E]`` of ``table [V+1, E]``, each of root mean square 1: none can shrink away from the noise."""
    tokens = table.detach()[:-1]
    return tokens / tokens.pow(2).mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-6)


@dataclass(frozen=True)
class GaussianProcess:
    """x_t = sqrt(a) e(x_0) + sqrt(1 - a) noise, a = 1 / (1 + sigma^2): the variance stays 1 (Ho et al. 2020, eq. 4).

    A state is ``[B, N, 2E]``: the noisy embedding, and the last estimate of the clean one, 0 before the first. Logits
    are what the other positions say of one; :meth:`log_likelihood` is what its own noisy embedding says. ``table`` is
    the network's token embeddings; see :meth:`with_embeddings`.
    """

    table: Tensor | None = field(default=None, repr=False, compare=False)  # [V+1, E]
    schedule: Schedule = LOG_LINEAR

    state_kind = "vectors"
    time_conditioned = True
    self_conditioned = True
    is_elbo = False
    fixed_count = False
    default_sampler = "ancestral"

    def with_embeddings(self, table: Tensor) -> GaussianProcess:
        """The same process over the token embeddings ``table [V+1, E]``."""
        return replace(self, table=table)

    @property
    def embeddings(self) -> Tensor:
        """The normalized token embeddings ``[V, E]``."""
        assert self.table is not None, "a gaussian process needs with_embeddings"
        return normalized_embeddings(self.table)

    @property
    def width(self) -> int:
        """E."""
        assert self.table is not None, "a gaussian process needs with_embeddings"
        return self.table.shape[1]

    def power(self, t: Tensor) -> Tensor:
        """a(t): the share of the signal in the variance, 1 at t = 0 and 0 at t = 1."""
        alpha = self.schedule.alpha(t.double())
        return alpha / (alpha + SPREAD**2 * self.width * (1 - alpha))

    def corrupt(self, x0: Tensor, t: Tensor, rng: RowGenerators) -> Tensor:
        """x_t ~ q(x_t | x_0) ``[B, N, 2E]`` of ids ``x0 [B, N]`` at times ``t [B, N]``, without any estimate."""
        clean = self.embeddings[x0]
        power = self.power(t)[..., None]
        noise = rng.normal(*clean.shape, device=clean.device)
        noisy = (power.sqrt() * clean + (1 - power).sqrt() * noise).to(clean.dtype)
        return torch.cat([noisy, torch.zeros_like(noisy)], dim=-1)

    def with_self_conditioning(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The state with the mean embedding under p(x_0 | x_t), of ``logits [..., <= V]``, as its estimate."""
        noisy = x_t[..., : self.width]
        estimate = self._mean(self._posterior(logits, x_t, t), noisy.dtype)
        return torch.cat([noisy, estimate], dim=-1)

    def loss_mask(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``[B, N]`` bool: every position that is not known."""
        return t > 0

    def weight(self, x_t: Tensor, t: Tensor) -> Tensor:
        """-alpha'_t / (1 - alpha_t), as for masks, or 0 if known.

        The cross-entropy grows with the time about linearly, so that all times count alike. Unweighted, as in CDCD, the
        canvas learns too little next to the causal mode (docs/experiments/2026-11-noise-hidden-from-itself.md).
        """
        return self.schedule.weight(t)

    def log_likelihood(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log N(x_t; sqrt(a) e(v), 1 - a) ``[..., V]`` up to a constant: all embeddings have one length.

        ``x_t [..., 2E]``, ``t [...]``. Never in bfloat16: the products are large, and their differences count.
        """
        power = self.power(t)
        exact = torch.promote_types(x_t.dtype, torch.float32)
        sharpness = (power.sqrt() / (1 - power).clamp(min=1e-4))[..., None].to(exact)
        with torch.autocast(x_t.device.type, enabled=False):
            return (sharpness * x_t[..., : self.width]) @ self.embeddings.to(exact).T

    def loss(self, logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Cross-entropy of the clean token in nats, 0 where it is known: no bound of the likelihood.

        ``logits [..., V]`` are those of p(x_0 | x_t): with :meth:`log_likelihood` added.
        """
        exact = at_least_float32(logits).flatten(0, -2)
        cross_entropy = F.cross_entropy(exact, x0.flatten(), reduction="none").view(x0.shape)
        return torch.where(t > 0, cross_entropy, 0.0)

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
        """x_s from ``x_t [B, N, 2E]`` and ``logits [B, N, <= V]``: DDIM (Song et al. 2021, eq. 12) at the policy's eta.

        eta 1 is DDPM, eta 0 deterministic. They head for the mean of the clean embedding, which is right for small steps
        only. A policy that draws tokens takes x_0 ~ p(x_0 | x_t) in its place, then q(x_s | x_t, x_0): for one position
        exact at any number of steps, as the ancestral steps of discrete noise are (D3PM, Austin et al. 2021, eq. 4). At
        ``s = 0`` the tokens are drawn, and the state holds their embeddings.
        """
        shape = x_t.shape[:2]
        times = torch.full(shape, t, dtype=torch.float64, device=x_t.device)
        posterior = self._posterior(logits, x_t, times)
        if s <= 0:
            ids, _ = sample_logits(posterior, rng.uniform(*shape, device=x_t.device))
            clean = self.embeddings[ids]
            return torch.cat([clean, clean], dim=-1)
        noisy = x_t[..., : self.width]
        estimate = self._mean(posterior, noisy.dtype)
        target = estimate
        if policy.draws_tokens:
            ids, _ = sample_logits(posterior, rng.uniform(*shape, device=x_t.device))
            target = self.embeddings[ids]
        return torch.cat([self._move(noisy, target, t, s, policy.eta, rng), estimate], dim=-1)

    def _move(
        self, noisy: Tensor, target: Tensor, t: float, s: float, eta: float, rng: RowGenerators
    ) -> Tensor:
        """``noisy [B, N, E]`` at time ``t`` moved to ``s``, if ``target [B, N, E]`` is clean (DDIM, eq. 12)."""
        power_t, power_s = (float(self.power(torch.tensor(time, dtype=torch.float64))) for time in (t, s))
        noise = (noisy - power_t**0.5 * target) / (1 - power_t) ** 0.5
        variance = eta**2 * (1 - power_s) / (1 - power_t) * (1 - power_t / power_s)
        moved: Tensor = power_s**0.5 * target + max(0.0, 1 - power_s - variance) ** 0.5 * noise
        if variance > 0:
            moved = moved + variance**0.5 * rng.normal(*moved.shape, device=moved.device).to(moved.dtype)
        return moved

    def _posterior(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Logits of p(x_0 | x_t): what the others say, and what the position's own noisy embedding says."""
        return logits + self.log_likelihood(x_t, t)[..., : logits.shape[-1]]

    def _mean(self, logits: Tensor, dtype: torch.dtype) -> Tensor:
        """The mean embedding ``[..., E]`` under softmax(``logits [..., <= V]``)."""
        probabilities = torch.softmax(logits, dim=-1).to(dtype)
        mean: Tensor = probabilities @ self.embeddings[: logits.shape[-1]]
        return mean

    def decode(self, x: Tensor) -> Tensor:
        """The ids ``[B, N]`` whose embeddings are nearest."""
        similarity: Tensor = x[..., : self.width] @ self.embeddings.T
        return similarity.argmax(dim=-1)


PROCESSES = {"gaussian": lambda config, mask_id: GaussianProcess()}
