"""The perfect denoiser of the masked process over a tiny vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache
from sunfish.processes.masked import MaskedProcess
from sunfish.types import Condition, Start, State
from tests.laws.enumeration import Enumeration, Oracle

V, N = 3, 4
DATA, PROCESS = Enumeration.of(V, N), MaskedProcess(V)


class MaskedOracle(Oracle):
    """The exact posterior p(x_0^i | visible tokens)."""

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        fits = ((x[:, None] == PROCESS.mask_id) | (x[:, None] == DATA.texts)).all(-1)  # [B, V^N]
        posterior = torch.einsum("bk,knv->bnv", fits * DATA.probabilities, DATA.one_hot)
        return torch.log(posterior / posterior.sum(-1, keepdim=True))
