"""The pre-flight of a run: what this machine has, how fast it trains, and which size it should train."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset
from sunfish.hardware.device import choose_device, choose_precision, set_threads
from sunfish.hardware.resources import available_memory, free_disk
from sunfish.model.cost import describe, disk_needed, flops_per_token, training_memory
from sunfish.model.transformer import build_model, count_parameters
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.training.step import TrainingStep
from sunfish.types import Batch
from sunfish.utils import format_bytes, format_duration, log

# What the model writes after this many tokens of training on the built-in stories, as measured on tiny and
# small.
MILESTONES: tuple[tuple[float, str], ...] = (
    (0.2e6, "common words and phrases"),
    (0.5e6, "readable sentences; prompts begin to have an effect"),
    (1.0e6, "mostly correct sentences about what the prompt asks"),
    (3.5e6, "short stories that follow their prompt"),
)
# Recommend the largest preset that can see at least this many tokens in the time available.
ENOUGH_TOKENS = 3.5e6
TYPICAL_LENGTH, TYPICAL_PROMPT = 128, 16  # positions of a story and of its prompt, in the measurements
PROBES = ("nano", "tiny")  # small enough to be measured anywhere
MAX_PROBE_SECONDS = 2.0  # a run whose step is expected to take longer is not measured
HOUR, NIGHT = 3600.0, 8 * 3600.0


@dataclass(frozen=True)
class Preflight:
    """The figures of a pre-flight: bytes, tokens/s, and the recommended sizes ("" where there is none)."""

    parameters: int
    memory_needed: float
    memory_available: float
    disk_needed: float
    disk_available: float
    tokens_per_second: float
    best_in_an_hour: str
    best_in_a_night: str


def measure_throughput(
    config: Config, dtype: torch.dtype, device: torch.device, seconds: float = 3.0
) -> float:
    """Time real training steps on random ids, over the block lengths in turn.

    Args:
        config: the run whose steps are taken.
        dtype: what the network computes in.
        device: where.
        seconds: no step begins after this time. The first step warms up and is not counted.

    Returns:
        Tokens of text per second.
    """
    settings = config.training
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("speed", 0)).to(device)
    step = TrainingStep.build(config, model, process.with_embeddings(model.token_embedding), dtype)
    generator = make_generator("speed", 1)
    batch = _random_batch(config, generator).to(device)

    def timed(number: int) -> float:
        begin = time.perf_counter()
        step(batch, generator, number)  # it looks at the loss, which waits for a GPU
        return time.perf_counter() - begin

    end = time.perf_counter() + seconds
    first = timed(0)
    durations: list[float] = []
    while time.perf_counter() < end and len(durations) < 4 * len(settings.block_lengths):
        durations.append(timed(len(durations) + 1))
    return batch.x0.numel() * max(1, len(durations)) / (sum(durations) if durations else first)


def _random_batch(config: Config, generator: torch.Generator) -> Batch:
    """Texts and prompts of random ids, as long as stories usually are."""
    shape, rows = config.model, config.training.batch_size
    length = min(TYPICAL_LENGTH, shape.context_length)
    prompt = min(TYPICAL_PROMPT, shape.prompt_length)
    return Batch(
        torch.randint(shape.vocab_size, (rows, length), generator=generator),
        torch.full((rows,), length),
        torch.randint(shape.vocab_size, (rows, prompt), generator=generator),
        torch.ones(rows, prompt, dtype=torch.bool),
    )


def estimate_throughput(
    device: torch.device, dtype: torch.dtype, config: Config | None = None
) -> dict[str, float]:
    """Tokens/s of every preset: the probes measured, the others scaled by arithmetic.

    A larger network uses the processor better, so the scaled figures are conservative. With ``config`` the
    entry "" is that run: measured where a step is expected to take less than ``MAX_PROBE_SECONDS``, else
    scaled.
    """
    throughput = {name: measure_throughput(preset(name), dtype, device, 1.5) for name in PROBES}
    rate = max(throughput[name] * flops_per_token(preset(name).model) for name in PROBES)
    if config is not None:
        flops = flops_per_token(config.model)
        tokens = config.training.batch_size * min(TYPICAL_LENGTH, config.model.context_length)
        measurable = tokens * flops / rate < MAX_PROBE_SECONDS
        throughput[""] = measure_throughput(config, dtype, device, 3.0) if measurable else rate / flops
        # The largest measured network is the best guide to those that were not measured.
        rate = max(rate, throughput[""] * flops)
    for name in PRESETS:
        throughput.setdefault(name, rate / flops_per_token(preset(name).model))
    return throughput


def recommend_size(throughput: dict[str, float], seconds: float, memory: float) -> str:
    """The largest preset that fits ``memory`` bytes and sees ``ENOUGH_TOKENS`` in the time, or ""."""
    able = [
        name
        for name in PRESETS
        if throughput[name] * seconds >= ENOUGH_TOKENS and training_memory(preset(name)) <= memory
    ]
    return max(able, key=lambda name: count_parameters(preset(name).model), default="")


def preflight(config: Config) -> Preflight:
    """Measure this machine, print the figures on stderr, and return them.

    Raises:
        ValueError: where the run fits neither the memory nor the disk.
    """
    settings = config.training
    device = choose_device(settings.device)
    threads = set_threads(settings.threads)
    dtype = choose_precision(settings.precision, device)
    process = build_process(config.process, config.model.vocab_size)
    parameters = count_parameters(
        config.model,
        time_conditioned=process.time_conditioned,
        self_conditioned=process.self_conditioned,
        guidance_conditioned=settings.distills,
    )
    memory, available = training_memory(config, parameters, dtype=dtype), available_memory(device)
    disk = disk_needed(parameters)
    free = min(free_disk(settings.checkpoints), free_disk(config.corpus.data_folder))
    log(describe(config, parameters))
    log(f"machine: {device}, {threads} threads, {str(dtype).removeprefix('torch.')}")
    log(f"memory: {format_bytes(memory)} needed, {format_bytes(available)} available")
    log(f"disk: up to {format_bytes(disk)} needed, {format_bytes(free)} free")
    _refuse_what_does_not_fit(config, memory, available, disk, free)
    throughput = estimate_throughput(device, dtype, config)
    speed = throughput[""]
    log(f"speed: {speed:,.0f} tokens/s")
    for tokens, text in MILESTONES:
        limit = 60 * settings.max_minutes
        beyond = ", after the end of this run" if limit and tokens / speed > limit else ""
        log(f"  {format_duration(tokens / speed):>8}  {text} ({tokens / 1e6:g} M tokens){beyond}")
    hour, night = (recommend_size(throughput, seconds, available) for seconds in (HOUR, NIGHT))
    log(f"recommended size: {hour or 'nano'} in an hour, {night or 'nano'} in a night (8 h)")
    return Preflight(parameters, memory, available, disk, free, speed, hour, night)


def _refuse_what_does_not_fit(
    config: Config, memory: float, available: float, disk: float, free: float
) -> None:
    settings = config.training
    if memory > available:
        raise ValueError(
            f"training {settings.name} needs about {format_bytes(memory)} of memory, but "
            f"{format_bytes(available)} are available: use --activation_checkpointing, "
            f"a smaller --batch_size than {settings.batch_size}, a smaller --config ({', '.join(PRESETS)}), "
            "or --no-preflight to try anyway"
        )
    if disk > free:
        raise ValueError(
            f"training {settings.name} writes up to {format_bytes(disk)}, but {format_bytes(free)} are free; "
            "make room, or choose another disk with --checkpoints and --data_folder"
        )
