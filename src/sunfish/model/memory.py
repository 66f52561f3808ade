"""Owns how much memory training and sampling take: formulas only, part by part.

The largest part is what the backward pass needs. It is counted tensor by tensor, and a test compares the sum with
the bytes that autograd really saves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sunfish.config import Config, ModelConfig
from sunfish.hardware.cpu import KERNEL_CACHE_BYTES
from sunfish.model.cost import matrix_parameters
from sunfish.model.layers import MAX_FUSED_HEAD_WIDTH
from sunfish.model.transformer import count_parameters

CPU = torch.device("cpu")
FLOAT32 = 4  # bytes
PROCESS_BYTES = 320 * 2**20  # Python, PyTorch, the tokenizer and the corpus, before any model
GPU_BYTES = 600 * 2**20  # what CUDA and its libraries take on the device
PARAMETER_BYTES = 12  # weights, running mean, first moment, all float32; gradients are counted apart
SECOND_MOMENT_BYTES = 4  # AdamW has one, Muon none
KNOWN_SHARE = 0.45  # mean share of the canvas that is scored
DISTILLATION_LOGITS = 12.0  # tensors of [rows, length, V] float32 that are in memory at once
# Tensors of batches of many lengths leave gaps in the C library's heap, and in bfloat16 compiled kernels stand between
# them: the heap of a step, in units of what is in use.
HEAP_SHARE = {torch.float32: 1.5, torch.bfloat16: 3.7}


@dataclass(frozen=True)
class Shape:
    """What a step computes: ``rows`` texts of ``length`` positions, prompts of ``prompt`` tokens.

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
        config: Config, length: int, prompt: int, dtype: torch.dtype, device: torch.device, block: int
    ) -> Shape:
        """The shape of a step of ``config`` on padded rows of ``length`` and prompts of ``prompt``."""
        number = FLOAT32 if dtype == torch.float32 else 2
        fused = device.type != "cpu" or number == FLOAT32
        length = min(length, config.model.context_length)
        prompt = min(prompt, config.model.prompt_length)
        return Shape(config.training.batch_size, length, prompt, number, fused, min(block or length, length))


def training_memory(
    config: Config,
    parameters: int | None = None,
    lengths: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> float:
    """Estimated peak bytes of a training run.

    Args:
        config: The run.
        parameters: Its number; None: those of a masked model.
        lengths: Positions of the longest text, and tokens of the longest prompt; None: those of ``config``.
        dtype: What the network computes in.
        device: Where.
    """
    m = config.model
    parameters = count_parameters(m) if parameters is None else parameters
    length, prompt = lengths or (m.context_length, m.prompt_length)
    gradients = FLOAT32 * parameters
    step = 0.0
    for block in set(config.training.block_lengths):
        shape = Shape.of(config, length, prompt, dtype, device, block)
        step = max(step, kept_bytes(config, shape) + scratch_bytes(config, shape))
    if config.training.distills:
        step += distillation_bytes(config, shape)
    fixed = PROCESS_BYTES if device.type == "cpu" else GPU_BYTES
    if device.type == "cpu" and dtype != torch.float32:
        fixed += KERNEL_CACHE_BYTES
    heap = HEAP_SHARE[dtype] if device.type == "cpu" else 1.1  # PyTorch's own allocator on a GPU
    second_moments = SECOND_MOMENT_BYTES * (parameters - matrix_parameters(m))
    return fixed + PARAMETER_BYTES * parameters + second_moments + heap * max(step, gradients)


def kept_bytes(config: Config, shape: Shape) -> float:
    """Bytes that the forward pass of training keeps for the backward pass, gradients of the output layer included."""
    m, training = config.model, config.training
    layer = _layer_bytes(config, shape)
    layers = m.n_layer * layer
    if training.activation_checkpointing:  # the inputs of all blocks, and all of one
        layers = m.n_layer * shape.number * _positions(config, shape) * m.n_embd + layer
    if training.dropout:
        branches = 3 if m.prompt_length else 2
        layers += m.n_layer * branches * shape.number * _positions(config, shape) * m.n_embd
    weights = 2 * matrix_parameters(m) if shape.number == 2 else 0  # autocast's copies
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
    m = config.model
    block = shape.number * _positions(config, shape) * (3 * m.n_hidden + 3 * m.n_embd)
    return block + 2 * FLOAT32 * m.vocab_size * m.n_embd


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
