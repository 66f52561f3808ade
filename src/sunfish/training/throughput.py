"""How many tokens a second a run will train: measured on a part of it that takes seconds, and scaled."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import torch

from sunfish.config import Config, ModelConfig
from sunfish.config.presets import PRESETS, preset
from sunfish.hardware.cpu import release_free_pages
from sunfish.hardware.device import clock
from sunfish.model.cost import flops_per_token
from sunfish.model.transformer import build_model, count_parameters
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.training.optimizer import ITERATIONS, UPDATE_INTERVAL, newton_schulz
from sunfish.training.step import TrainingStep
from sunfish.training.text_lengths import TextLengths, story_lengths, text_lengths
from sunfish.types import Batch

PROBES = ("nano", "tiny")  # measured wherever sizes are compared
# What the others are scaled from: a wide network, whose products are as large as theirs, in little memory.
WIDE: dict[str, Any] = dict(n_layer=1, prompt_length=0, vocab_size=1024, batch_size=2)
PROBE_SECONDS, RUN_SECONDS = 1.0, 3.0
MAX_STEP_SECONDS = 0.6  # a step that is expected to take longer is timed with fewer texts, then fewer layers
MIN_ROWS = 2
MAX_PROBE_PARAMETERS = 60e6  # a part with more takes too long to build


def optimizer_flops(model: ModelConfig) -> float:
    """Floating-point operations of Muon in each step: its iteration over the matrices whose turn it is.

    One iteration takes 4 D^2 n + 2 D^3 for a matrix of D x n with n >= D.
    """
    width = model.n_embd
    square, long = 6 * width**3, 4 * width**2 * model.n_hidden + 2 * width**3
    blocks = model.n_layer + (model.n_prompt_layer if model.prompt_length else 0)
    # Queries, outputs, keys and values of each block's attention to the prompt.
    prompted = 4 * model.n_layer if model.prompt_length else 0
    return ITERATIONS / UPDATE_INTERVAL * (blocks * (4 * square + 3 * long) + (prompted + 1) * square)


def step_flops(config: Config, length: int) -> float:
    """Floating-point operations of a step on rows of ``length`` positions."""
    return config.training.batch_size * length * flops_per_token(config.model) + optimizer_flops(config.model)


def reduced(config: Config, length: int, rate: float) -> Config:
    """The same run with fewer texts and then fewer layers, so that a step takes ``MAX_STEP_SECONDS`` at most.

    Args:
        config: The run.
        length: Positions of a row.
        rate: Floating-point operations a second; the network uses the processor at least so well.
    """
    limit = MAX_STEP_SECONDS * rate
    while step_flops(config, length) > limit and config.training.batch_size >= 2 * MIN_ROWS:
        config = config.with_fields(batch_size=config.training.batch_size // 2)
    while step_flops(config, length) > limit and config.model.n_layer > 1:
        config = config.with_fields(n_layer=config.model.n_layer // 2)
    return config


def measure_throughput(
    config: Config,
    dtype: torch.dtype,
    device: torch.device,
    seconds: float = RUN_SECONDS,
    lengths: TextLengths | None = None,
    rate: float = float("inf"),
) -> float | None:
    """Tokens of text a second of a run, counted as its metrics do: marks included, padding not.

    Whole steps are timed where they are short. Else a part of the run is: the forward and backward pass of fewer texts,
    of fewer layers where the network is deep, and the optimizer's iteration on one matrix.

    Args:
        config: The run.
        dtype: What the network computes in.
        device: Where.
        seconds: No step begins after this time. The first step warms up and is not counted.
        lengths: Of its texts; None: those of its corpus.
        rate: As for :func:`reduced`.

    Returns:
        Tokens a second; None where even the smallest part takes too long.
    """
    lengths = lengths or text_lengths(config)
    part = reduced(config, lengths.padded, rate)
    if part is config:
        step = fmean(_step_seconds(config, dtype, device, seconds, lengths, whole=True))
    else:
        if count_parameters(part.model) > MAX_PROBE_PARAMETERS:
            return None
        passes = fmean(_step_seconds(part, dtype, device, seconds, lengths, whole=False))
        work, share = (flops_per_token(run.model) * run.training.batch_size for run in (config, part))
        step = passes * work / share + optimizer_flops(config.model) / _optimizer_rate(config, dtype, device)
    return config.training.batch_size * lengths.text / step


def _step_seconds(
    config: Config,
    dtype: torch.dtype,
    device: torch.device,
    seconds: float,
    lengths: TextLengths,
    whole: bool,
) -> Iterator[float]:
    """Seconds of steps on random ids, over the block lengths in turn; ``whole``: the update of the weights too."""
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("speed", 0)).to(device)
    model.activation_checkpointing = config.training.activation_checkpointing
    step = TrainingStep.build(config, model, process.with_embeddings(model.token_embedding), dtype)
    generator = make_generator("speed", 1)
    batch = _random_batch(config, generator, lengths).to(device)
    end = clock(device) + seconds
    for number in range(1 + 4 * len(config.training.block_lengths)):
        begin = clock(device)
        if begin > end and number > 1:
            return
        if whole:
            step(batch, generator, number)
        else:
            torch.autograd.backward(step.loss(batch, generator, number).total)
            model.zero_grad()
        if number:
            yield clock(device) - begin


def _optimizer_rate(config: Config, dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second of Muon's iteration at the width of the network: the better of two."""
    width = config.model.n_embd
    matrix, fastest = torch.randn(1, width, width, device=device), float("inf")
    for _ in range(2):
        begin = clock(device)
        newton_schulz(matrix, dtype)
        fastest = min(fastest, clock(device) - begin)
    return 6 * ITERATIONS * width**3 / fastest


def _wide_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second of the forward and backward pass of a wide network."""
    wide = preset("micro", **WIDE)
    lengths = story_lengths(wide.model)
    seconds = fmean(_step_seconds(wide, dtype, device, PROBE_SECONDS, lengths, whole=False))
    return wide.training.batch_size * lengths.padded * flops_per_token(wide.model) / seconds


def _random_batch(config: Config, generator: torch.Generator, lengths: TextLengths) -> Batch:
    """Texts and prompts of random ids, as long as those of the run usually are."""
    shape, rows = config.model, config.training.batch_size
    length, prompt = min(lengths.padded, shape.context_length), lengths.prompt
    return Batch(
        torch.randint(shape.vocab_size, (rows, length), generator=generator),
        torch.full((rows,), min(lengths.text, length)),
        torch.randint(shape.vocab_size, (rows, prompt), generator=generator),
        torch.ones(rows, prompt, dtype=torch.bool),
    )


def estimate_throughput(
    device: torch.device, dtype: torch.dtype, config: Config | None = None
) -> dict[str, float]:
    """Tokens/s of every preset on the built-in stories: the probes measured, the others scaled by arithmetic.

    With ``config`` the entry "" is that run.
    """
    throughput: dict[str, float] = {}
    for name in PROBES:
        run = preset(name)
        speed = measure_throughput(run, dtype, device, PROBE_SECONDS, story_lengths(run.model))
        assert speed is not None  # whole steps are always measured
        throughput[name] = speed
    rate = _wide_rate(dtype, device)
    if config is not None:
        throughput[""] = run_throughput(config, dtype, device, text_lengths(config), rate)
    release_free_pages()  # what the run itself does not need
    for name in PRESETS:
        throughput.setdefault(name, _scaled(preset(name), rate, story_lengths(preset(name).model)))
    return throughput


def run_throughput(
    config: Config,
    dtype: torch.dtype,
    device: torch.device,
    lengths: TextLengths,
    rate: float | None = None,
) -> float:
    """Tokens/s of a run: measured on a part of it, or scaled by arithmetic where even that takes too long.

    ``rate`` None: measured first; see :func:`reduced`.
    """
    rate = _wide_rate(dtype, device) if rate is None else rate
    measured = measure_throughput(config, dtype, device, RUN_SECONDS, lengths, rate)
    return _scaled(config, rate, lengths) if measured is None else measured


def _scaled(config: Config, rate: float, lengths: TextLengths) -> float:
    """Tokens/s of a run at ``rate`` floating-point operations a second."""
    return config.training.batch_size * lengths.text * rate / step_flops(config, lengths.padded)
