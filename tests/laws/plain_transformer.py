"""The network written out position by position from its own weights: what every pass is compared with."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.layers import Block
from sunfish.model.prompt_encoder import PromptEncoder
from sunfish.model.transformer import Transformer
from sunfish.types import Condition


class Position(NamedTuple):
    """One position of a pass, before the first block."""

    x: Tensor  # [D] what the blocks get
    token: Tensor  # [D] the normalized embedding that the copy head copies
    state: Tensor  # [D] what keys and values have in addition to x
    place: int  # in the text
    visible: list[int]  # the positions that it attends to
    is_noise: bool = False  # nothing is copied from there


def unit(x: Tensor) -> Tensor:
    """Root mean square 1."""
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def rotated(x: Tensor, place: int) -> Tensor:
    """Rotary embedding as complex numbers: component j and component j + half are one number."""
    half = x.shape[-1] // 2
    angle = place * 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    rotation = torch.complex(angle.cos().float().double(), angle.sin().float().double())  # kept in float32
    z = torch.complex(x[..., :half], x[..., half:]) * rotation
    return torch.cat([z.real, z.imag], -1)


def weighted_mean(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one query ``[d]`` to ``keys`` and ``values [M, d]``."""
    return torch.softmax(keys @ query / math.sqrt(query.shape[0]), 0) @ values


def neighbor_scales(network: Transformer) -> tuple[Tensor, Tensor]:
    """The smear's factors ``[D]`` of the previous and of the next token."""
    assert network.smear is not None
    width = network.config.n_embd // network.config.n_head
    scales = (network.smear.prev_scale, network.smear.next_scale)
    previous, following = (scale.flatten().repeat_interleave(width) for scale in scales)
    return previous, following


def waves(value: float, frequencies: list[float]) -> Tensor:
    """Sines, then cosines, of ``value`` at each frequency."""
    angles = [value * frequency for frequency in frequencies]
    return torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)


def scale_input(network: Transformer, scale: float) -> Tensor:
    """What a guidance scale adds to every position ``[D]``."""
    if network.guidance_embedding is None:
        return torch.zeros(network.config.n_embd, dtype=torch.float64)
    return network.guidance_embedding.weight @ waves(scale, [0.25, 0.5, 1.0, 2.0])


def text_positions(network: Transformer, ids: list[int], scale: float = 1.0) -> list[Position]:
    """Clean ids from place 0 on; each sees itself and what is before it."""
    prev_scale, _ = neighbor_scales(network)
    tokens = [network.token_embedding[i] for i in ids]
    previous = [torch.zeros_like(tokens[0]), *map(unit, tokens[:-1])]
    result = []
    for n, token in enumerate(tokens):
        x = token + prev_scale * previous[n] + network.position_embedding[n] + network.causal_embedding
        x = unit(x + scale_input(network, scale))
        result.append(Position(x, unit(token), torch.zeros_like(token), n, list(range(n + 1))))
    return result


def canvas_positions(
    network: Transformer, canvas: Tensor, times: list[float], text: list[Position], scale: float = 1.0
) -> list[Position]:
    """A canvas ``[W]`` of ids, or ``[W, 2D]`` of vectors and estimates, after ``text``; all of it sees itself."""
    (prev_scale, next_scale), begin, count = neighbor_scales(network), len(text), len(times)
    if network.self_conditioning is None:
        states = [network.token_embedding[i] for i in canvas.tolist()]
    else:
        noisy, estimates = canvas.chunk(2, dim=-1)
        states = list(noisy + estimates @ network.self_conditioning.weight.T)
    nothing = torch.zeros_like(states[0])
    neighbors = [text[-1].token if text else nothing, *map(unit, states), nothing]
    hidden = network.time_embedding is not None  # a noisy state is shown to the others only
    result = []
    for n, state in enumerate(states):
        seen = list(range(begin + count))
        noise = times[n] > 0 if hidden else bool(canvas[n] == network.config.vocab_size)
        token = network.token_embedding[-1] if hidden and noise else state
        x = token + prev_scale * neighbors[n] + next_scale * neighbors[n + 2]
        x = x + network.position_embedding[begin + n] + scale_input(network, scale)
        if network.time_embedding is not None:
            x = x + network.time_embedding.weight @ waves(times[n], [1.5, 3.0, 6.0, 12.0])
            if noise:
                seen.remove(begin + n)
        shown = unit(state) if hidden else nothing
        result.append(Position(unit(x), unit(token), shown, begin + n, seen, noise))
    return result


def plain_block(
    block: Block, xs: list[Tensor], positions: list[Position], prompt: tuple[Tensor, Tensor] | None
) -> list[Tensor]:
    """One block at every position ``[D]``; ``prompt`` is keys and values ``[H, P, d]``."""
    attention, cross, feed_forward = block.self_attention, block.cross_attention, block.feed_forward
    heads, width = len(attention.scale), xs[0].shape[0]
    weight = attention.qkv_proj.weight
    queries = [(weight[:width] @ unit(x)).view(heads, -1) for x in xs]
    shown = [
        (weight[width:] @ (unit(x) + position.state)).view(2, heads, -1)
        for x, position in zip(xs, positions, strict=True)
    ]
    results = []
    for x, query, position in zip(xs, queries, positions, strict=True):
        attended = []
        for head in range(heads):
            keys = [rotated(unit(shown[j][0, head]), positions[j].place) for j in position.visible]
            values = [shown[j][1, head] for j in position.visible]
            scaled = rotated(unit(query[head]) * attention.scale[head, 0], position.place)
            attended.append(weighted_mean(scaled, torch.stack(keys), torch.stack(values)))
        x = x + attention.out_proj.weight @ torch.cat(attended)
        if cross is not None and prompt is not None:
            asked = (cross.q_proj.weight @ x).view(heads, -1)
            attended = [
                weighted_mean(unit(asked[head]) * cross.scale[head, 0], prompt[0][head], prompt[1][head])
                for head in range(heads)
            ]
            x = x + cross.out_proj.weight @ torch.cat(attended)
        gate, up = (feed_forward.gate_up_proj.weight @ unit(x)).chunk(2)
        results.append(x + feed_forward.down_proj.weight @ (F.silu(gate) * up))
    return results


def plain_logits(network: Transformer, positions: list[Position], condition: Condition, row: int) -> Tensor:
    """``[N, V]`` at every position, given the prompt of one row."""
    keys, values = visible_prompt(condition, row)
    xs = [position.x for position in positions]
    for depth, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        xs = plain_block(block, xs, positions, (keys[depth], values[depth]))
    copy_head = network.copy_head
    copy_keys = [
        position.token + copy_head.key_proj.weight @ unit(x)
        for x, position in zip(xs, positions, strict=True)
    ]
    prompt_keys, prompt_values = (part[-1].transpose(0, 1).flatten(1) for part in (keys, values))
    logits = []
    for x, position in zip(xs, positions, strict=True):
        copyable = [j for j in position.visible if not positions[j].is_noise]
        all_keys = torch.cat([prompt_keys, *(copy_keys[j][None] for j in copyable)])
        all_values = torch.cat([prompt_values, *(positions[j].token[None] for j in copyable)])
        copied = weighted_mean(unit(x) * copy_head.query_scale, all_keys, all_values)
        state = unit(unit(x) + copied * copy_head.scale) * network.output_scale
        logits.append(network.token_embedding[:-1] @ state)
    return torch.stack(logits)


def visible_prompt(condition: Condition, row: int) -> tuple[Tensor, Tensor]:
    """Keys and values ``[L+1, H, P, d]`` of one row without what is hidden."""
    shown = condition.mask[row]
    return condition.keys[:, row, :, shown], condition.values[:, row, :, shown]


def plain_prompt(encoder: PromptEncoder, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values ``[L+1, H, 1+P, d]`` of a prompt with the embeddings ``tokens [P, D]``."""
    heads, count = encoder.config.n_head, len(tokens)
    xs = [unit(token + encoder.position_embedding[n]) for n, token in enumerate(tokens)]
    nothing, everything = torch.zeros_like(xs[0]), list(range(count))
    positions = [Position(x, x, nothing, n, everything) for n, x in enumerate(xs)]
    for block in encoder.blocks:
        assert isinstance(block, Block)
        xs = plain_block(block, xs, positions, None)
    slots = [unit(slot) for slot in (encoder.null_token, *xs)]
    copied = [nothing, *map(unit, tokens)]
    # [slot, layer, key or value, H, d]
    projected = torch.stack(
        [(encoder.kv_proj.weight @ slot).view(encoder.config.n_layer, 2, heads, -1) for slot in slots]
    )
    keys, values = unit(projected[:, :, 0]).permute(1, 2, 0, 3), projected[:, :, 1].permute(1, 2, 0, 3)
    last_key, last_value = (
        torch.stack([part.view(heads, -1) for part in parts]).transpose(0, 1)[None]
        for parts in (slots, copied)
    )
    return torch.cat([keys, last_key]), torch.cat([values, last_value])
