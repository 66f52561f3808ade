"""Owns the peer: masked diffusion as MDLM trains it (Sahoo et al. 2024, arXiv:2406.07524), reimplemented.

A bidirectional transformer with adaLN modulation (DiT, Peebles and Xie 2023), rotary positions, dropout 0.1,
untied output; the log-linear schedule with stratified times; AdamW at 3e-4, betas 0.9 and 0.999, no weight
decay; gradients clipped at 1; an EMA of the weights (decay at most 0.9999) for evaluation. As in the
published text models the network does not see the time. Two things are kinder to it than the original: the
warm-up has 100 steps, not 2,500, and it computes logits at masked positions only, in the chunks that SunFish
uses. benchmarks/quality/quality_per_minute.py trains it on SunFish's batches.
"""

from __future__ import annotations

import copy
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.data.dataloader import BatchLoader
from sunfish.hardware.device import autocast
from sunfish.model.kernels.autograd import apply_rotary_emb
from sunfish.model.kernels.cross_entropy import linear_cross_entropy
from sunfish.model.layers import attend, rotary_cos_sin, split_heads
from sunfish.rng import make_generator
from sunfish.training.optimizer import update_average
from sunfish.training.time_sampling import sample_block_times

CONDITION_WIDTH = 128  # of what modulates the blocks
DROPOUT = 0.1
EMA_DECAY = 0.9999
LEARNING_RATE = 3e-4
TIME_FREQUENCIES = 128
WARMUP_STEPS = 100


class Block(nn.Module):
    """Self-attention and a feed-forward of four widths, each shifted, scaled and gated by the condition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        self.up_proj, self.down_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(CONDITION_WIDTH, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """``[B, N, D]`` to ``[B, N, D]``."""
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition).chunk(6, dim=-1)
        y = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        query, key, value = (split_heads(part, self.heads) for part in self.qkv_proj(y).chunk(3, dim=-1))
        y = attend(apply_rotary_emb(query, *rotary), apply_rotary_emb(key, *rotary), value, None)
        x = x + gate * F.dropout(self.out_proj(y), DROPOUT, self.training)
        y = F.layer_norm(x, x.shape[-1:]) * (1 + scale2) + shift2
        y = self.down_proj(F.gelu(self.up_proj(y), approximate="tanh"))
        update: Tensor = gate2 * F.dropout(y, DROPOUT, self.training)
        return x + update


class MDLM(nn.Module):
    """Hidden states of a canvas of ids, and their cross-entropy."""

    cos: Tensor
    sin: Tensor

    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, positions: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary + 1, width)  # the mask is the last row
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.time = nn.Sequential(
            nn.Linear(2 * TIME_FREQUENCIES, CONDITION_WIDTH),
            nn.SiLU(),
            nn.Linear(CONDITION_WIDTH, CONDITION_WIDTH),
        )
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.modulation = nn.Linear(CONDITION_WIDTH, 2 * width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for part in (self.modulation.weight, self.modulation.bias, self.head.weight):
            nn.init.zeros_(part)
        cos, sin = rotary_cos_sin(positions, width // heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x_t: Tensor) -> Tensor:
        """``[B, N]`` ids to ``[B, N, D]``."""
        waves = torch.cat([torch.ones(TIME_FREQUENCIES), torch.zeros(TIME_FREQUENCIES)]).to(
            self.cos
        )  # of time 0
        condition = F.silu(self.time(waves))
        x, rotary = self.embedding(x_t), (self.cos[: x_t.shape[1]], self.sin[: x_t.shape[1]])
        for block in self.blocks:
            x = block(x, condition, rotary)
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        hidden: Tensor = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        return hidden

    def losses(self, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """The bound of one batch, in nats: cross-entropy / t over the masked positions; t ``[B, N]``."""
        masked = x_t == len(self.embedding.weight) - 1
        return linear_cross_entropy(self(x_t)[masked], self.head.weight, x0[masked], 1 / t[masked])[0]


def build_mdlm(vocabulary: int, width: int, heads: int, positions: int, parameters: int) -> MDLM:
    """The network of this width whose number of layers brings it nearest to ``parameters``."""
    sizes = []
    for layers in (1, 2):
        with torch.device("meta"):
            sizes.append(
                sum(p.numel() for p in MDLM(vocabulary, width, heads, layers, positions).parameters())
            )
    layers = 1 + round((parameters - sizes[0]) / (sizes[1] - sizes[0]))
    return MDLM(vocabulary, width, heads, layers, positions)


def train_mdlm(
    model: MDLM, batches: BatchLoader, seconds: float, dtype: torch.dtype, seed: int
) -> tuple[MDLM, int]:
    """Train for ``seconds`` of wall clock. Returns the averaged weights and the number of steps."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, betas=(0.9, 0.999), weight_decay=0.0, fused=True
    )
    average = copy.deepcopy(model).eval().requires_grad_(False)
    mask_id, device = len(model.embedding.weight) - 1, model.embedding.weight.device
    begin, step = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        batch, generator = batches.batch(step).to(device), make_generator("step", seed, step)
        t = sample_block_times(batch, batch.x0.shape[1], 0.0, 1.0, generator)
        masked = torch.rand(t.shape, generator=generator).to(device) < t
        with autocast(device, dtype):
            loss = (
                model.losses(batch.x0.masked_fill(masked, mask_id), batch.x0, t) / (batch.lengths - 1).sum()
            )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_average(average, model, EMA_DECAY, step)
        step += 1
    return average, step
