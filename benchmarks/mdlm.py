"""The peer: masked diffusion as MDLM trains it (Sahoo et al. 2024, arXiv:2406.07524), written anew.

A bidirectional transformer with adaLN modulation (DiT, Peebles and Xie 2023), rotary positions, dropout 0.1, untied
output; the log-linear schedule with stratified times; AdamW at 3e-4, betas 0.9 and 0.999, no weight decay; gradients
clipped at 1; a running mean of the weights (at most 0.9999) for evaluation. As in the published text models the
network is not told the time. Two things are kinder to it than the original: the warm-up is 100 steps and not 2,500,
and it computes logits at masked positions only, in the chunks that SunFish uses. benchmarks/quality_per_minute.py
trains it on SunFish's batches.
"""

from __future__ import annotations

import copy
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.data.dataloader import Batches
from sunfish.model.kernels.autograd import rotate
from sunfish.model.kernels.cross_entropy import linear_cross_entropy
from sunfish.model.layers import attend, rotary_angles, split_heads
from sunfish.rng import generator_of
from sunfish.training.loss import block_times
from sunfish.training.optimizer import update_average

CONDITION = 128  # width of what modulates the layers
DROPOUT = 0.1
RATE = 3e-4
WARM_UP = 100


class Block(nn.Module):
    """Self-attention and a feed-forward of four widths, each shifted, scaled and gated by the condition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(CONDITION, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """``[B, N, D]`` to ``[B, N, D]``."""
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition).chunk(6, dim=-1)
        y = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        query, key, value = (split_heads(part, self.heads) for part in self.project(y).chunk(3, dim=-1))
        y = attend(rotate(query, *angles), rotate(key, *angles), value, None)
        x = x + gate * F.dropout(self.output(y), DROPOUT, self.training)
        y = F.layer_norm(x, x.shape[-1:]) * (1 + scale2) + shift2
        y = self.down(F.gelu(self.up(y), approximate="tanh"))
        return x + gate2 * F.dropout(y, DROPOUT, self.training)


class MDLM(nn.Module):
    """Hidden states of a canvas of ids, and their cross-entropy."""

    cos: Tensor
    sin: Tensor

    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, positions: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary + 1, width)  # the mask is the last row
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.time = nn.Sequential(nn.Linear(256, CONDITION), nn.SiLU(), nn.Linear(CONDITION, CONDITION))
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.modulation = nn.Linear(CONDITION, 2 * width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for part in (self.modulation.weight, self.modulation.bias, self.head.weight):
            nn.init.zeros_(part)
        cos, sin = rotary_angles(positions, width // heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x_t: Tensor) -> Tensor:
        """``[B, N]`` ids to ``[B, N, D]``."""
        waves = torch.cat([torch.ones(128), torch.zeros(128)]).to(self.cos)  # cosines and sines of the time 0
        condition = F.silu(self.time(waves))
        x, angles = self.embedding(x_t), (self.cos[: x_t.shape[1]], self.sin[: x_t.shape[1]])
        for layer in self.layers:
            x = layer(x, condition, angles)
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift

    def losses(self, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Sum over the masked positions of cross-entropy / t, t ``[B, N]``: the bound of one batch, in nats."""
        masked = x_t == len(self.embedding.weight) - 1
        return linear_cross_entropy(self(x_t)[masked], self.head.weight, x0[masked], 1 / t[masked])[0]


def like(vocabulary: int, width: int, heads: int, positions: int, parameters: int) -> MDLM:
    """The network of this width whose number of layers brings it nearest to ``parameters``."""
    sizes = []
    for layers in (1, 2):
        with torch.device("meta"):
            sizes.append(
                sum(p.numel() for p in MDLM(vocabulary, width, heads, layers, positions).parameters())
            )
    layers = 1 + round((parameters - sizes[0]) / (sizes[1] - sizes[0]))
    return MDLM(vocabulary, width, heads, layers, positions)


def train(model: MDLM, batches: Batches, seconds: float, dtype: torch.dtype, seed: int) -> tuple[MDLM, int]:
    """Train for ``seconds`` of wall clock. Returns the running mean of the weights and the number of steps."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.999), weight_decay=0.0, fused=True)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    mask, device = len(model.embedding.weight) - 1, model.embedding.weight.device
    begin, step = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        batch, generator = batches.batch(step).to(device), generator_of("step", seed, step)
        t = block_times(batch, 0, 0.0, 1.0, generator)
        x_t = batch.x0.masked_fill(torch.rand(t.shape, generator=generator).to(device) < t, mask)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = model.losses(x_t, batch.x0, t) / (batch.lengths - 1).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_average(average, model, 0.9999, step)
        step += 1
    return average, step
