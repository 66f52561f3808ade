"""What a model of a given shape costs: parameters, disk, arithmetic. Formulas only; memory is in memory.py."""

from __future__ import annotations

from sunfish.config import Config, ModelConfig
from sunfish.model.transformer import count_parameters
from sunfish.utils import GIB


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


def disk_needed(parameters: int, data: float = 0.3 * GIB) -> float:
    """Bytes that a run may write: the prepared corpus, two whole checkpoints of 20 bytes a parameter and
    one in the making, six kept milestones of 4 bytes a parameter."""
    return data + (3 * 20 + 6 * 4) * parameters


def layer_parameters(model: ModelConfig) -> int:
    """Numbers in the matrices that every position of a text meets: blocks and copy head."""
    return model.n_layer * block_parameters(model) + model.n_embd**2


def matrix_parameters(model: ModelConfig) -> int:
    """Numbers in all matrices of the layers, the prompt encoder's included: what Muon updates."""
    if not model.prompt_length:
        return layer_parameters(model)
    encoder = model.n_prompt_layer * _encoder_block_parameters(model) + 2 * model.n_layer * model.n_embd**2
    return layer_parameters(model) + encoder


def block_parameters(model: ModelConfig) -> int:
    """Numbers in the matrices of a block."""
    return _encoder_block_parameters(model) + (2 * model.n_embd**2 if model.prompt_length else 0)


def _encoder_block_parameters(model: ModelConfig) -> int:
    return 4 * model.n_embd**2 + 3 * model.n_embd * model.n_hidden


def flops_per_token(model: ModelConfig, next_token: bool = True) -> float:
    """Floating-point operations of training for each token (Kaplan et al. 2020: 6 a weight and token).

    Blocks and copy head run twice (text and canvas); the output layer runs for every next token and for about half of
    the canvas; embedding tables cost nothing, and the prompt next to nothing. Attention adds 12 L N D a pass over half
    the context.
    """
    passes = 2 if next_token else 1
    head = 6 * model.vocab_size * model.n_embd * (1.5 if next_token else 0.5)
    attention = 12 * model.n_layer * model.context_length / 2 * model.n_embd
    return passes * (6 * layer_parameters(model) + attention) + head


def recomputed_flops_per_token(model: ModelConfig) -> float:
    """Operations that activation checkpointing adds: the forward pass of the blocks, over text and canvas."""
    blocks = model.n_layer * block_parameters(model)  # the copy head is not computed again
    attention = 4 * model.n_layer * model.context_length / 2 * model.n_embd
    return 2 * (2 * blocks + attention)
