"""Owns how much memory the passes of training and sampling take: formulas only, part by part.

The largest part is what the backward pass needs. It is counted tensor by tensor, and a test compares the sum with
the bytes that autograd really saves. What a process holds besides is in training/rank_memory.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sunfish.config import Config, ModelConfig
from sunfish.model.cost import block_parameters, matrix_parameters
from sunfish.model.layers import MAX_FUSED_HEAD_WIDTH
from sunfish.model.transformer import count_parameters

FLOAT32 = 4  # bytes
PROCESS_BYTES = 320 * 2**20  # Python, PyTorch, the tokenizer and the corpus, before any model
KNOWN_SHARE = 0.45  # mean share of the canvas that is scored
DISTILLATION_LOGITS = 12.0  # tensors of [rows, length, V] float32 that are in memory at once


@dataclass(frozen=True)
class Shape:
    """What a process computes at a time: ``rows`` texts of ``length`` positions, prompts of ``prompt`` tokens.

    Attributes:
        number: bytes of a number under autocast.
        fused: attention does not keep its weights; see :func:`sunfish.model.layers.attend`.
        block: positions denoised together.
    """

    rows: int
    length: int
    prompt: int
    number: int
    fused: bool
    block: int

    @staticmethod
    def of(
        config: Config,
        length: int,
        prompt: int,
        dtype: torch.dtype,
        device: torch.device,
        block: int,
        processes: int = 1,
    ) -> Shape:
        """The shape of a part of a step of ``config`` on padded rows of ``length`` and prompts of ``prompt``."""
        number = FLOAT32 if dtype == torch.float32 else 2
        fused = device.type != "cpu" or number == FLOAT32
        length = min(length, config.model.context_length)
        prompt = min(prompt, config.model.prompt_length)
        rows = -(-config.training.batch_size // (processes * config.training.gradient_accumulation))
        return Shape(rows, length, prompt, number, fused, min(block or length, length))


def step_bytes(config: Config, shape: Shape) -> float:
    """Bytes of the passes at their peak: what the forward pass keeps, and what comes and goes in the backward pass."""
    peak = kept_bytes(config, shape) + scratch_bytes(config, shape)
    if not config.training.activation_checkpointing:
        return peak
    # At the end of the forward pass, autocast still has its copies of the blocks' weights; when the last block is
    # computed again, the copy head's part is free, and so are the gradients of the output layer.
    block = _layer_bytes(config, shape) + _block_scratch_bytes(config, shape)
    copies = 0 if config.training.parallel == "fsdp" else _block_copies_bytes(config, shape)
    return max(peak, kept_bytes(config, shape) + max(copies, block - _copy_bytes(config, shape)))


def kept_bytes(config: Config, shape: Shape) -> float:
    """Bytes that the forward pass of training keeps for the backward pass, gradients of the output layer included."""
    m, training = config.model, config.training
    layers = m.n_layer * _layer_bytes(config, shape)
    if training.activation_checkpointing:  # the inputs of the blocks
        layers = m.n_layer * shape.number * _positions(config, shape) * m.n_embd
    if training.dropout:
        branches = 3 if m.prompt_length else 2
        layers += m.n_layer * branches * shape.number * _positions(config, shape) * m.n_embd
    weights = 2 * matrix_parameters(m) if shape.number == 2 else 0  # autocast's copies
    if training.activation_checkpointing or training.parallel == "fsdp":  # blocks are cast or gathered again
        weights -= _block_copies_bytes(config, shape)
    return (
        layers
        + _embedding_bytes(config, shape)
        + _copy_bytes(config, shape)
        + _prompt_bytes(m, shape)
        + _loss_bytes(config, shape)
        + weights
    )


def scratch_bytes(config: Config, shape: Shape) -> float:
    """Bytes that come and go while everything kept is there: gradients of one block and of the output layer."""
    return _block_scratch_bytes(config, shape) + 2 * FLOAT32 * config.model.vocab_size * config.model.n_embd


def _block_scratch_bytes(config: Config, shape: Shape) -> float:
    m = config.model
    return shape.number * _positions(config, shape) * (3 * m.n_hidden + 3 * m.n_embd)


def _block_copies_bytes(config: Config, shape: Shape) -> int:
    """Copies of the blocks' weights that autocast makes."""
    return 2 * config.model.n_layer * block_parameters(config.model) if shape.number == 2 else 0


def _canvases(config: Config) -> int:
    training = config.training
    return 0 if training.next_token_weight == 1 else 2 if training.complementary else 1


def _has_text(config: Config, shape: Shape) -> bool:
    """Whether the text is read: a single canvas that is one block sees nothing of it."""
    alone = shape.block >= shape.length and _canvases(config) == 1
    return config.training.next_token_weight > 0 or not alone


def _positions(config: Config, shape: Shape) -> int:
    return shape.rows * shape.length * (_has_text(config, shape) + _canvases(config))


def _pairs(config: Config, shape: Shape) -> int:
    """Pairs of a query and a key, visible or not, of text and canvases."""
    keys = shape.length if shape.block >= shape.length else 2 * shape.length
    seen = _has_text(config, shape) * shape.length + _canvases(config) * keys
    return shape.rows * shape.length * seen


def _slots(m: ModelConfig, shape: Shape) -> int:
    """Keys of the prompt: its null slot and its tokens."""
    return 1 + (shape.prompt if m.prompt_length else 0)


def _layer_bytes(config: Config, shape: Shape) -> float:
    """What one block keeps: norms 2 D, queries, keys and values 3 D, the output D, cross-attention 4 D; 3 n_hidden."""
    m, prompted = config.model, config.model.prompt_length > 0
    positions = _positions(config, shape)
    numbers = positions * ((10 if prompted else 6) * m.n_embd + 3 * m.n_hidden)
    if not shape.fused:
        cross = positions * _slots(m, shape) if prompted else 0
        return shape.number * (numbers + m.n_head * (_pairs(config, shape) + cross))
    numbers += positions * (2 if prompted else 1) * m.n_embd  # outputs before their heads are merged
    if _has_text(config, shape) and shape.block < shape.length:  # keys and values of text and canvas, joined
        numbers += _canvases(config) * shape.rows * 2 * shape.length * 2 * m.n_embd
    return shape.number * numbers


def _embedding_bytes(config: Config, shape: Shape) -> float:
    """What the input keeps, in float32: two norms, and the neighbors that smear adds."""
    widths = 2 * _positions(config, shape)
    if config.model.smear:
        widths += shape.rows * shape.length * (_has_text(config, shape) + 2 * _canvases(config))
    return FLOAT32 * widths * config.model.n_embd


def _copy_bytes(config: Config, shape: Shape) -> float:
    """What the copy head keeps: norm, queries, copies; joined keys and values; its weights, or their mask."""
    m, positions = config.model, _positions(config, shape)
    slots, pairs = _slots(m, shape), _pairs(config, shape)
    seen = pairs + positions * slots
    joined = 2 * shape.rows * m.n_embd * (slots + positions // shape.rows)
    if not shape.fused or m.n_embd > MAX_FUSED_HEAD_WIDTH:
        return shape.number * (3 * positions * m.n_embd + joined + seen)
    joined += 2 * m.n_embd * (seen // shape.length)  # each canvas joins its own
    return shape.number * (4 * positions * m.n_embd + joined) + FLOAT32 * seen


def _prompt_bytes(m: ModelConfig, shape: Shape) -> float:
    """What the prompt encoder keeps, with keys and values for every block."""
    if not m.prompt_length:
        return 0.0
    numbers = m.n_prompt_layer * (6 * m.n_embd + 3 * m.n_hidden) + (4 * m.n_layer + 6) * m.n_embd
    return shape.number * shape.rows * _slots(m, shape) * numbers


def _loss_bytes(config: Config, shape: Shape) -> float:
    """What the output layer keeps: scored states and their gradients, and float32 gradients of its table."""
    m, weight = config.model, config.training.next_token_weight
    canvases = KNOWN_SHARE * _canvases(config)
    scored = shape.rows * shape.length * ((weight > 0) + canvases)
    tables = (weight > 0) + (weight < 1)
    return shape.number * scored * 2 * m.n_embd + FLOAT32 * tables * m.vocab_size * m.n_embd


def distillation_bytes(config: Config, shape: Shape) -> float:
    """What the teacher adds: its weights, its logits with and without the prompt, and the model's, all at once."""
    m = config.model
    logits = shape.rows * shape.length * m.vocab_size
    return FLOAT32 * count_parameters(m) + DISTILLATION_LOGITS * FLOAT32 * logits


def sampling_memory(config: Config, texts: int = 1, parameters: int | None = None) -> float:
    """Estimated peak bytes while ``texts`` texts are written with guidance.

    4 bytes a parameter + 4 bytes * 2 rows a text * (2 (L + 1) context D for keys and values + 2 * 16 V for
    the logits of a block of 16, and as much again for their float64 copies).
    """
    m = config.model
    parameters = count_parameters(m) if parameters is None else parameters
    cache = 2 * (m.n_layer + 1) * m.context_length * m.n_embd
    logits = 2 * 16 * m.vocab_size * 2
    return PROCESS_BYTES + FLOAT32 * parameters + FLOAT32 * 2 * texts * (cache + logits)
