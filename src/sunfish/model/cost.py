"""What a model of a given shape costs: parameters, memory, arithmetic. Formulas only."""

from __future__ import annotations

import torch

from sunfish.config import Config, ModelConfig
from sunfish.model.transformer import count_parameters
from sunfish.utils import GIB

BASE_MEMORY = 0.45 * GIB  # Python, PyTorch and their buffers, before any model
# Floats that training keeps for each position, block and pass, in units of the width D: norms, queries, keys, values
# and outputs of self- and cross-attention, residuals. Agrees with measured peaks.
ACTIVATION_WIDTHS = 20
# The vocabulary's part is computed in chunks, so it costs its gradient's scratch space only.
ACTIVATION_HIDDENS = 3  # the same in units of the feed-forward's hidden width: gate, up, product
BFLOAT16_BYTES = 2.7  # of a kept number: not everything is kept in bfloat16
# With activation checkpointing: a block's input, keys and values, and a share of what is not computed again.
CHECKPOINTED_WIDTHS = 9


def describe(config: Config, parameters: int | None = None) -> str:
    """The size and the shape of the model, in two lines; ``parameters`` None: those of a masked model."""
    m = config.model
    parameters = count_parameters(m) if parameters is None else parameters
    return (
        f"{config.training.name}: {parameters:,} parameters\n"
        f"{m.n_layer} layers, {m.n_head} heads, width {m.n_embd}, feed-forward {m.n_hidden}, "
        f"{m.vocab_size:,} tokens, context {m.context_length}, prompts of {m.prompt_length} tokens; "
        f"batches of {config.training.batch_size}"
    )


def training_memory(
    config: Config,
    parameters: int | None = None,
    positions: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Estimated peak bytes of a training run that computes in ``dtype``.

    20 bytes a parameter (weights, gradient, running mean, two moments, float32; Muon needs one less)
    + bytes of a number * positions * layers * (20 D + 3 n_hidden), positions = batch_size * context_length.
    The text and each canvas are kept for the backward pass. With activation checkpointing each block keeps 9 D, and one
    at a time the rest.
    """
    m = config.model
    parameters = count_parameters(m) if parameters is None else parameters
    positions = config.training.batch_size * m.context_length if positions is None else positions
    canvases = 2 if config.training.complementary else 1
    layers = ((config.training.next_token_weight > 0) + canvases) * m.n_layer
    within = ACTIVATION_WIDTHS * m.n_embd + ACTIVATION_HIDDENS * m.n_hidden
    if config.training.activation_checkpointing:
        kept = layers * CHECKPOINTED_WIDTHS * m.n_embd + within * layers / m.n_layer
    else:
        kept = layers * within
    number = 4.0 if dtype == torch.float32 else BFLOAT16_BYTES
    return BASE_MEMORY + 20 * parameters + number * positions * kept


def sampling_memory(config: Config, texts: int = 1, parameters: int | None = None) -> float:
    """Estimated peak bytes while ``texts`` texts are written with guidance.

    4 bytes a parameter + 4 bytes * 2 rows a text * (2 (L + 1) context D for keys and values + 2 * 16 V for
    the logits of a block of 16, and as much again for their float64 copies).
    """
    m = config.model
    parameters = count_parameters(m) if parameters is None else parameters
    cache = 2 * (m.n_layer + 1) * m.context_length * m.n_embd
    logits = 2 * 16 * m.vocab_size * 2
    return BASE_MEMORY + 4 * parameters + 4 * 2 * texts * (cache + logits)


def disk_needed(parameters: int, data: float = 0.3 * GIB) -> float:
    """Bytes that a run may write: the prepared corpus, two whole checkpoints of 20 bytes a parameter and
    one in the making, six kept milestones of 4 bytes a parameter."""
    return data + (3 * 20 + 6 * 4) * parameters


def flops_per_token(model: ModelConfig, parameters: int | None = None, next_token: bool = True) -> float:
    """Floating-point operations of training for each token (Kaplan et al. 2020: 6 a weight and token).

    The blocks run twice (text and canvas); the output layer runs for every next token and for about half of the canvas;
    embedding tables cost nothing. Attention adds 12 L N D a pass over half the context.
    """
    parameters = count_parameters(model) if parameters is None else parameters
    tables = (model.vocab_size + 1 + model.context_length + model.prompt_length) * model.n_embd
    passes = 2 if next_token else 1
    head = 6 * model.vocab_size * model.n_embd * (1.5 if next_token else 0.5)
    attention = 12 * model.n_layer * model.context_length / 2 * model.n_embd
    return passes * (6 * (parameters - tables) + attention) + head
