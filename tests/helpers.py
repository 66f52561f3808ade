"""What many tests share: a small model in which every weight matters, a batch for it, and passes to compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from sunfish.config import ModelConfig, ProcessConfig
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.block_diffusion import Snapshot
from sunfish.types import Batch, Condition, Process, State

CONFIG = ModelConfig(vocab_size=23, n_layer=2, n_head=2, n_embd=16, context_length=24, prompt_length=6)
WITHOUT_PROMPTS = replace(CONFIG, prompt_length=0)
ONE_LAYER = replace(CONFIG, n_layer=1)
"""For tests of what is around a model, which has no part in how many layers there are."""
END = 0
NO_PROMPT = Condition(
    torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, dtype=torch.bool)
)
"""A condition for denoisers that look at no prompt."""


def row_generators(*name: object) -> RowGenerators:
    """One generator for all rows, seeded by its name."""
    return RowGenerators([make_generator(*map(str, name))])


def normal(*shape: int, name: str = "normal", dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, always the same for one name and shape."""
    return torch.randn(*shape, generator=make_generator(name, *shape), dtype=dtype)


def ids_of(rows: int, length: int, name: str = "ids") -> Tensor:
    """Ids ``[rows, length]``, none of them the end mark; always the same for one name and shape."""
    return torch.randint(1, CONFIG.vocab_size, (rows, length), generator=make_generator(name, rows, length))


def process_of(name: str = "masked", network: Transformer | None = None) -> Process:
    """The process ``name`` over the tokens of ``CONFIG``, with the embeddings of ``network`` if there is one."""
    process = build_process(ProcessConfig(process=name), CONFIG.vocab_size)
    return process if network is None else process.with_embeddings(network.token_embedding)


def model(
    dtype: torch.dtype = torch.float64,
    config: ModelConfig = CONFIG,
    process: str = "masked",
    guidance_conditioned: bool = False,
    prompt_table: Tensor | None = None,
) -> Transformer:
    """A model in evaluation mode, conditioned as ``process`` asks for.

    Blocks start with outputs of 0 and scales of 1, which would hide most mistakes; here all of them are drawn.
    """
    conditioned = process_of(process)
    drawn = Transformer(
        config,
        time_conditioned=conditioned.time_conditioned,
        self_conditioned=conditioned.self_conditioned,
        guidance_conditioned=guidance_conditioned,
        prompt_table=prompt_table,
    ).init_weights(make_generator("model"))
    with torch.no_grad():
        for name, parameter in drawn.named_parameters():
            generator = make_generator(name)
            if name.endswith("scale"):
                parameter.uniform_(0.3, 0.9, generator=generator)
            elif not bool(parameter.any()):
                parameter.normal_(0.0, 0.3, generator=generator)
    return drawn.to(dtype).eval()


def noisy_state(process: Process, x0: Tensor, t: Tensor) -> State:
    """``x0 [B, N]`` corrupted at times ``t [B, N]``; vectors get an estimate other than 0, so that it matters."""
    x = process.corrupt(x0, t, row_generators("noisy state"))
    if x.ndim == 2:
        return x
    noisy, _ = x.chunk(2, dim=-1)
    return torch.cat([noisy, normal(*noisy.shape, name="estimate")], dim=-1)


def batch(rows: int = 3, length: int = 16) -> Batch:
    """Texts of different lengths, and prompts of different lengths."""
    x0 = torch.randint(1, CONFIG.vocab_size, (rows, length), generator=make_generator("batch"))
    x0[:, 0] = END
    lengths = torch.tensor([length, length - 2, length - 5])[torch.arange(rows) % 3]
    for row, size in enumerate(lengths.tolist()):
        x0[row, size - 1 :] = END
    prompt = torch.randint(1, CONFIG.vocab_size, (rows, 5), generator=make_generator("prompt"))
    mask = torch.ones(rows, 5, dtype=torch.bool)
    mask[1:2, 3:] = False
    return Batch(x0, lengths, prompt, mask)


def row_of(condition: Condition, row: int) -> Condition:
    """The condition of one row alone."""
    rows = slice(row, row + 1)
    return Condition(condition.keys[:, rows], condition.values[:, rows], condition.mask[rows])


def separate_passes(
    network: Transformer, ids: Tensor, x: State, t: Tensor, condition: Condition, block_length: int
) -> tuple[Tensor, Tensor]:
    """What ``joint_pass`` computes at once, as sampling does: block by block over a growing cache.

    Args:
        network: The model.
        ids: [B, N] clean ids.
        x: [B, N] or [B, N, 2E] one canvas of each text.
        t: [B, N] its times.
        condition: The encoded prompts.
        block_length: Positions denoised together.

    Returns:
        Hidden states [B, N, D] of the causal passes and of the canvas passes.
    """
    cache, text, canvas = None, [], []
    for start in range(0, ids.shape[1], block_length):
        block = slice(start, start + block_length)
        canvas.append(network.canvas_pass(x[:, block], t[:, block], condition, cache, start))
        hidden, cache = network.causal_pass(ids[:, block], condition, cache)
        text.append(hidden)
    return torch.cat(text, dim=1), torch.cat(canvas, dim=1)


def finished(snapshots: Iterable[Snapshot]) -> Tensor:
    """The ids ``[B, N]`` of the finished blocks."""
    return torch.cat([snapshot.x for snapshot in snapshots if snapshot.done], dim=1)
