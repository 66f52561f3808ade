"""What this machine has and how fast it is, measured; and the pre-flight of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset
from sunfish.hardware.device import choose_device, choose_precision, set_threads
from sunfish.hardware.resources import available_memory, free_disk
from sunfish.model.cost import describe, disk_needed, flops_per_token, training_memory
from sunfish.model.transformer import Transformer, count_parameters
from sunfish.processes import build_process
from sunfish.rng import generator_of
from sunfish.training.loss import objective
from sunfish.training.optimizer import build_optimizers
from sunfish.types import Batch
from sunfish.utils import format_bytes, format_duration, log

# What a reader sees after so many tokens of training on the built-in stories, as tiny and small had it (docs/log.md).
MILESTONES: tuple[tuple[float, str], ...] = (
    (0.2e6, "common words and phrases"),
    (0.5e6, "readable sentences, and prompts begin to be heard"),
    (1.0e6, "mostly correct sentences about what the prompt asks"),
    (3.5e6, "short stories that keep to their prompt"),
)
# A size has come far enough when it has seen this many tokens; the largest such size is advised.
ENOUGH_TOKENS = 3.5e6
TYPICAL_LENGTH, TYPICAL_PROMPT = 128, 16  # positions of a story and of its prompt, in the measurements
PROBES = ("nano", "tiny")  # small enough to be measured anywhere


@dataclass(frozen=True)
class Preflight:
    """The figures of a pre-flight: bytes, tokens a second, and the advised sizes ("" where there is none)."""

    parameters: int
    memory_needed: float
    memory_available: float
    disk_needed: float
    disk_available: float
    tokens_per_second: float
    best_in_an_hour: str
    best_in_a_night: str


def measure_speed(config: Config, dtype: torch.dtype, device: torch.device, seconds: float = 3.0) -> float:
    """Tokens of text a second in real training steps on random ids, over the block lengths in turn.

    The first step warms up and is not counted; no step begins after ``seconds``.
    """
    m, settings = config.model, config.training
    model = Transformer(m).initialise(generator_of("speed", 0)).to(device)
    optimizers = build_optimizers(model, settings, m.n_embd, dtype)
    process = build_process(config.process)
    generator = generator_of("speed", 1)
    rows, length, width = (
        settings.batch_size,
        min(TYPICAL_LENGTH, m.context_length),
        min(TYPICAL_PROMPT, m.prompt_length),
    )
    batch = Batch(
        torch.randint(m.vocab_size, (rows, length), generator=generator),
        torch.full((rows,), length),
        torch.randint(m.vocab_size, (rows, width), generator=generator),
        torch.ones(rows, width, dtype=torch.bool),
    )
    batch = batch.to(device)

    def step(number: int) -> float:
        begin = time.perf_counter()
        block_length = settings.block_lengths[number % len(settings.block_lengths)]
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            losses = objective(model, process, batch, generator, block_length, settings)
        losses.total.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.total.item()  # waits for a GPU
        return time.perf_counter() - begin

    end = time.perf_counter() + seconds
    first = step(0)
    taken: list[float] = []
    while time.perf_counter() < end and len(taken) < 4 * len(settings.block_lengths):
        taken.append(step(len(taken) + 1))
    return rows * length * max(1, len(taken)) / (sum(taken) if taken else first)


def speeds(device: torch.device, dtype: torch.dtype, config: Config | None = None) -> dict[str, float]:
    """Tokens a second of every preset: the probes measured, the others scaled by arithmetic.

    A larger network uses the processor better, so the scaled figures are on the careful side. With ``config``
    the entry "" is that run: measured where a step is expected to take less than two seconds, else scaled.
    """
    found = {name: measure_speed(preset(name), dtype, device, 1.5) for name in PROBES}
    rate = max(found[name] * flops_per_token(preset(name).model) for name in PROBES)
    for name in PRESETS:
        found.setdefault(name, rate / flops_per_token(preset(name).model))
    if config is not None:
        expected = rate / flops_per_token(config.model)
        tokens = config.training.batch_size * min(TYPICAL_LENGTH, config.model.context_length)
        found[""] = measure_speed(config, dtype, device, 3.0) if tokens / expected < 4.0 else expected
        # The largest measured network is the best guide to those that were not.
        rate = max(rate, found[""] * flops_per_token(config.model))
        for name in PRESETS:
            if name not in PROBES:
                found[name] = rate / flops_per_token(preset(name).model)
    return found


def furthest(found: dict[str, float], seconds: float, memory: float) -> str:
    """The largest preset that fits ``memory`` and sees ``ENOUGH_TOKENS`` in the time, or ""."""
    able = [
        name
        for name in PRESETS
        if found[name] * seconds >= ENOUGH_TOKENS and training_memory(preset(name)) <= memory
    ]
    return max(able, key=lambda name: count_parameters(preset(name).model), default="")


def preflight(config: Config) -> Preflight:
    """Measure, print the figures on stderr, and return them. ``ValueError`` where the run cannot fit."""
    settings = config.training
    device = choose_device(settings.device)
    threads = set_threads(settings.threads)
    dtype = choose_precision(settings.precision, device)
    parameters = count_parameters(config.model)
    memory, has = training_memory(config, parameters, dtype=dtype), available_memory(device)
    disk, free = (
        disk_needed(parameters),
        min(free_disk(settings.checkpoints), free_disk(config.corpus.data_folder)),
    )
    log(describe(config))
    log(f"machine: {device}, {threads} threads, {str(dtype).removeprefix('torch.')}")
    log(f"memory: {format_bytes(memory)} needed, {format_bytes(has)} available")
    log(f"disk: up to {format_bytes(disk)} needed, {format_bytes(free)} free")
    if memory > has:
        raise ValueError(
            f"training {settings.name} needs about {format_bytes(memory)} of memory, but {format_bytes(has)} "
            f"are available: use --activation_checkpointing, a smaller --batch_size than {settings.batch_size}, "
            f"a smaller --config ({', '.join(PRESETS)}), or --no-preflight to try all the same"
        )
    if disk > free:
        raise ValueError(
            f"training {settings.name} writes up to {format_bytes(disk)}, but {format_bytes(free)} are free; make "
            "room, or choose another disk with --checkpoints and --data_folder"
        )
    found = speeds(device, dtype, config)
    speed = found[""]
    log(f"speed: {speed:,.0f} tokens/s")
    for tokens, what in MILESTONES:
        limit = 60 * settings.max_minutes
        beyond = ", after the end of this run" if limit and tokens / speed > limit else ""
        log(f"  {format_duration(tokens / speed):>8}  {what} ({tokens / 1e6:g} M tokens){beyond}")
    hour, night = furthest(found, 3600, has), furthest(found, 8 * 3600, has)
    log(
        f"this machine comes furthest with {hour or 'nano'} in an hour, "
        f"with {night or 'nano'} in a night (8 h)"
    )
    return Preflight(parameters, memory, has, disk, free, speed, hour, night)
