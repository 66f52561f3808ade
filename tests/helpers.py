"""A tiny model with weights that hide no mistake, and a batch for it."""

from __future__ import annotations

import torch

from sunfish.config import Config, ModelConfig, ProcessConfig
from sunfish.model.transformer import Transformer
from sunfish.rng import Streams, generator_of
from sunfish.training.loss import block_times
from sunfish.types import Batch, Process

CONFIG = ModelConfig(vocab_size=23, n_layer=2, n_head=2, n_embd=16, context_length=24, prompt_length=6)
END = 0


def config_of(process: str) -> ModelConfig:
    """The shape of a model for this process."""
    return Config(model=CONFIG, process=ProcessConfig(process=process)).model


def model(dtype: torch.dtype = torch.float64, config: ModelConfig = CONFIG) -> Transformer:
    built = Transformer(config).initialise(generator_of("model"))
    with torch.no_grad():  # outputs start at 0, which would hide every mistake in attention
        for name, parameter in built.named_parameters():
            if name.endswith((".output.weight", ".down.weight", "pointer.key.weight")):
                parameter.normal_(0, 0.3, generator=generator_of(name))
            if name == "output_gain":
                parameter.fill_(0.7)
    return built.to(dtype).eval()


def batch(rows: int = 3, length: int = 16) -> Batch:
    x0 = torch.randint(1, CONFIG.vocab_size, (rows, length), generator=generator_of("batch"))
    x0[:, 0] = END
    lengths = torch.tensor([length, length - 2, length - 5])[:rows]
    for row, size in enumerate(lengths):
        x0[row, size - 1 :] = END
    prompt = torch.randint(1, CONFIG.vocab_size, (rows, 5), generator=generator_of("prompt"))
    mask = torch.ones(rows, 5, dtype=torch.bool)
    mask[1, 3:] = False
    return Batch(x0, lengths, prompt, mask)


def trained_and_cached(
    m: Transformer, process: Process, block: int, b: Batch | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Canvas logits ``[B, N, V]`` of all blocks at once, as in training, and block by block over a growing memory."""
    b = batch() if b is None else b
    cond = m.encode(b.prompt, b.prompt_mask)
    t = block_times(b, block, 0.0, 1.0, generator_of("t"))
    x_t = process.corrupt(b.x0, t, m.table, Streams([generator_of("x")]))
    past, _ = m.remember(b.x0, cond)
    together = m(x_t, t, cond, past, 0, block)
    size, grown, parts = block or b.x0.shape[1], None, []
    for start in range(0, b.x0.shape[1], size):
        window = slice(start, start + size)
        parts.append(m(x_t[:, window], t[:, window], cond, grown, start))
        grown, _ = m.remember(b.x0[:, window], cond, grown)
    return together, torch.cat(parts, 1)
