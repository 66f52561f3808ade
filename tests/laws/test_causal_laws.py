"""The causal pass against a plain causal transformer, written out position by position from the same weights.

What SunFish calls the exact next-token likelihood is that of an ordinary autoregressive model.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.layers import Block
from sunfish.model.transformer import Transformer
from sunfish.types import Condition
from tests.helpers import batch, model

HEADS = 2


def unit(x: Tensor) -> Tensor:
    """Root mean square 1."""
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def rotated(x: Tensor, position: int) -> Tensor:
    """Rotary embedding as complex numbers: component j and component j + half are one number."""
    half = x.shape[-1] // 2
    angle = position * 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    rotation = torch.complex(angle.cos().float().double(), angle.sin().float().double())  # kept in float32
    z = torch.complex(x[..., :half], x[..., half:]) * rotation
    return torch.cat([z.real, z.imag], -1)


def weighted_mean(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one query ``[d]`` to ``keys`` and ``values [M, d]``."""
    return torch.softmax(keys @ query / math.sqrt(query.shape[0]), 0) @ values


def inputs(network: Transformer, tokens: list[Tensor]) -> list[Tensor]:
    """What the blocks get at each position."""
    assert network.smear is not None
    prev_scale = network.smear.prev_scale.flatten().repeat_interleave(tokens[0].shape[0] // HEADS)
    previous = [torch.zeros_like(tokens[0]), *(unit(token) * prev_scale for token in tokens)]
    position, causal = network.position_embedding, network.causal_embedding
    return [unit(token + previous[n] + position[n] + causal) for n, token in enumerate(tokens)]


def plain_block(block: Block, xs: list[Tensor], keys: Tensor, values: Tensor) -> list[Tensor]:
    """One block at every position ``[D]``, given the prompt's ``keys`` and ``values [H, P, d]``."""
    attention, cross, feed_forward = block.self_attention, block.cross_attention, block.feed_forward
    assert cross is not None
    projected = [(attention.qkv_proj.weight @ unit(x)).view(3, HEADS, -1) for x in xs]
    results = []
    for n, x in enumerate(xs):
        attended = []
        for head in range(HEADS):
            query = rotated(unit(projected[n][0, head]) * attention.scale[head, 0], n)
            past_keys = torch.stack([rotated(unit(projected[j][1, head]), j) for j in range(n + 1)])
            past_values = torch.stack([projected[j][2, head] for j in range(n + 1)])
            attended.append(weighted_mean(query, past_keys, past_values))
        x = x + attention.out_proj.weight @ torch.cat(attended)
        queries = (cross.q_proj.weight @ unit(x)).view(HEADS, -1)
        attended = [
            weighted_mean(unit(queries[head]) * cross.scale[head, 0], keys[head], values[head])
            for head in range(HEADS)
        ]
        x = x + cross.out_proj.weight @ torch.cat(attended)
        gate, up = (feed_forward.gate_up_proj.weight @ unit(x)).chunk(2)
        results.append(x + feed_forward.down_proj.weight @ (F.silu(gate) * up))
    return results


def plain_next_token_logits(network: Transformer, ids: list[int], keys: Tensor, values: Tensor) -> Tensor:
    """``[N, V]`` of one text; ``keys`` and ``values [L+1, H, P, d]`` are the visible prompt's."""
    table, copy_head = network.token_embedding, network.copy_head
    tokens = [table[i] for i in ids]
    xs = inputs(network, tokens)
    for depth, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        xs = plain_block(block, xs, keys[depth], values[depth])
    prompt_keys, prompt_values = (part[-1].transpose(0, 1).flatten(1) for part in (keys, values))
    copyable = [unit(token) for token in tokens]
    text_keys = [token + copy_head.key_proj.weight @ unit(x) for token, x in zip(copyable, xs, strict=True)]
    logits = []
    for n, x in enumerate(xs):
        all_keys = torch.cat([prompt_keys, torch.stack(text_keys[: n + 1])])
        all_values = torch.cat([prompt_values, torch.stack(copyable[: n + 1])])
        copied = weighted_mean(unit(x) * copy_head.query_scale, all_keys, all_values)
        logits.append(table[:-1] @ (unit(unit(x) + copied * copy_head.scale) * network.output_scale))
    return torch.stack(logits)


def visible_prompt(condition: Condition, row: int) -> tuple[Tensor, Tensor]:
    """Keys and values of one row without what is hidden."""
    shown = condition.mask[row]
    return condition.keys[:, row, :, shown], condition.values[:, row, :, shown]


@torch.no_grad()
def test_next_token_likelihood_is_that_of_a_plain_causal_transformer() -> None:
    network, texts = model(), batch()
    assert network.config.n_head == HEADS
    condition = network.encode(texts.prompt, texts.prompt_mask)
    logits, _ = network.prefill(texts.x0, condition)
    for row in range(3):
        keys, values = visible_prompt(condition, row)
        expected = plain_next_token_logits(network, texts.x0[row].tolist(), keys, values)
        torch.testing.assert_close(logits[row], expected, atol=1e-9, rtol=0)
