"""The pre-flight of a run: what this machine has, how fast it trains, and which size it should train."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset
from sunfish.hardware.device import CPU, choose_device, choose_precision, set_threads
from sunfish.hardware.resources import available_memory, free_disk
from sunfish.model.cost import describe, disk_needed
from sunfish.model.transformer import count_parameters
from sunfish.processes import build_process
from sunfish.training.rank_memory import training_memory
from sunfish.training.text_lengths import TextLengths, story_lengths, text_lengths
from sunfish.training.throughput import PROBES, estimate_throughput
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


def memory_needed(
    config: Config, parameters: int, lengths: TextLengths, dtype: torch.dtype, device: torch.device
) -> float:
    """Estimated peak bytes of a run and its pre-flight, which trains a probe for a moment."""
    longest = (lengths.longest_text, lengths.longest_prompt)
    probe = preset(PROBES[-1])
    usual = story_lengths(probe.model)
    return max(
        training_memory(config, parameters, longest, dtype, device),
        training_memory(probe, None, (usual.padded, usual.prompt), dtype, device),
    )


def stories_memory(config: Config, dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> float:
    """Estimated peak bytes of a run on the built-in stories."""
    lengths = story_lengths(config.model)
    return training_memory(config, None, (lengths.longest_text, lengths.longest_prompt), dtype, device)


def recommend_size(
    throughput: dict[str, float],
    seconds: float,
    memory: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> str:
    """The largest preset that fits ``memory`` bytes and sees ``ENOUGH_TOKENS`` in the time, or ""."""
    able = [
        name
        for name in PRESETS
        if throughput[name] * seconds >= ENOUGH_TOKENS
        and stories_memory(preset(name), dtype, device) <= memory
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
    memory = memory_needed(config, parameters, text_lengths(config), dtype, device)
    available = available_memory(device)
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
    hour, night = (recommend_size(throughput, seconds, available, dtype, device) for seconds in (HOUR, NIGHT))
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
