"""The memory against a plain causal transformer, written here position by position, with no cache, from the same weights.

What SunFish calls the exact next-token likelihood is that of an ordinary autoregressive model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sunfish.model.transformer import Transformer
from tests.helpers import batch, model


def unit(x: Tensor) -> Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def turned(x: Tensor, position: int) -> Tensor:
    """Rotary embedding as complex numbers: component j and component j + half are one number."""
    half = x.shape[-1] // 2
    angle = position * 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turn = torch.complex(angle.cos().float().double(), angle.sin().float().double())  # kept in float32
    z = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([z.real, z.imag], -1)


def weighted(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query ``[d]`` over ``[M, d]``."""
    return torch.softmax(keys @ query / math.sqrt(query.shape[0]), 0) @ values


def plain_next_token(m: Transformer, ids: list[int], keys: Tensor, values: Tensor) -> Tensor:
    """Next-token logits ``[N, V]`` of one text; the prompt's ``[L+1, H, P, d]`` hold only what is visible."""
    heads, width = m.config.n_head, m.config.n_embd
    tokens = [m.table[i] for i in ids]
    gain = m.neighbours.before_gain.flatten().repeat_interleave(width // heads)
    before = [torch.zeros_like(tokens[0]), *(unit(token) * gain for token in tokens)]
    xs = [unit(token + before[n] + m.position[n] + m.reading) for n, token in enumerate(tokens)]
    for depth, layer in enumerate(m.layers):
        own, cross, forward = layer.self_attention, layer.cross_attention, layer.feed_forward
        projected = [(own.project.weight @ unit(x)).view(3, heads, width // heads) for x in xs]
        after = []
        for n, x in enumerate(xs):
            mixed = []
            for h in range(heads):
                query = turned(unit(projected[n][0, h]) * own.gain[h, 0], n)
                there = range(n + 1)
                seen = torch.stack([turned(unit(projected[j][1, h]), j) for j in there])
                mixed.append(weighted(query, seen, torch.stack([projected[j][2, h] for j in there])))
            x = x + own.output.weight @ torch.cat(mixed)
            asked = (cross.query.weight @ unit(x)).view(heads, -1)
            found = [
                weighted(unit(asked[h]) * cross.gain[h, 0], keys[depth, h], values[depth, h])
                for h in range(heads)
            ]
            x = x + cross.output.weight @ torch.cat(found)
            gate, up = (forward.gate_up.weight @ unit(x)).chunk(2)
            after.append(x + forward.down.weight @ (gate * torch.sigmoid(gate) * up))
        xs = after
    logits, pointer = [], m.pointer
    prompt_keys, prompt_values = (part[-1].transpose(0, 1).flatten(1) for part in (keys, values))
    for n in range(len(xs)):
        query = unit(xs[n]) * pointer.query_gain
        there = [unit(tokens[j]) for j in range(n + 1)]
        named = [token + pointer.key.weight @ unit(xs[j]) for j, token in enumerate(there)]
        copied = weighted(
            query,
            torch.cat([prompt_keys, torch.stack(named)]),
            torch.cat([prompt_values, torch.stack(there)]),
        )
        logits.append(m.table[:-1] @ (unit(unit(xs[n]) + copied * pointer.gain) * m.output_gain))
    return torch.stack(logits)


@torch.no_grad()
def test_next_token_likelihood_is_that_of_a_plain_causal_transformer() -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    _, logits = m.remember(b.x0, cond)
    for row in range(3):
        shown = cond.mask[row]
        keys, values = cond.keys[:, row, :, shown], cond.values[:, row, :, shown]
        expected = plain_next_token(m, b.x0[row].tolist(), keys, values)
        torch.testing.assert_close(logits[row], expected, atol=1e-9, rtol=0)
