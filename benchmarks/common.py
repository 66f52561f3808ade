"""What the benchmarks share: writing texts in batches, shares, the fastest of some passes."""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from pictures import picture

from sunfish.commands.flags import Parser, add_config_flags, kebab
from sunfish.config.presets import preset
from sunfish.config.sampling import SamplingSettings
from sunfish.data.stories.oracle import check, grammatical
from sunfish.hardware.device import choose_precision, set_threads
from sunfish.sampling.pipeline import Generated, Pipeline


def share(values: list[bool]) -> float:
    """Percentage of True."""
    return 100 * sum(values) / max(1, len(values))


def ratio(figure: float, peer: float, digits: int = 1) -> str:
    """``figure / peer`` for a table; a dash where the peer is 0."""
    return f"{figure / peer:.{digits}f}" if peer else "-"


def fastest(run: Callable[[], object], times: int = 10) -> float:
    """Milliseconds of the fastest of ``times`` runs."""
    best = math.inf
    for _ in range(times):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return 1e3 * best


def by_oracle(texts: list[Generated]) -> tuple[float, float]:
    """Percentages: of the sentences that are grammatical, of the prompts' demands that their texts meet."""
    good = share([ok for text in texts for _, ok in grammatical(text.text)])
    return good, share([ok for text in texts for ok in check(text.prompt, text.text).values()])


def nats(judge: Pipeline, texts: list[Generated]) -> float:
    """Mean negative log-likelihood of a token, its prompt given, by the judge's memory."""
    total, tokens, end = 0.0, 0, judge.tokenizer.end
    for text in texts:
        ids = judge.tokenizer.encode(text.text)[: judge.model.config.context_length - 2]
        row = torch.tensor([[end, *ids, *[end] * text.finished]])
        total -= float(judge.log_likelihood(row, judge.encode([text.prompt])))
        tokens += row.shape[1] - 1
    return total / max(1, tokens)


def entropy(texts: list[Generated]) -> float:
    """Bits of the distribution of single tokens over all texts."""
    counts = Counter(token for text in texts for token in text.ids)
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def distinct(texts: list[Generated], n: int = 3) -> float:
    """Percentage of n-grams, over all texts, that differ from the others."""
    grams = [tuple(text.ids[i : i + n]) for text in texts for i in range(len(text.ids) - n + 1)]
    return 100 * len(set(grams)) / max(1, len(grams))


def with_training_flags(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, argparse.Namespace]:
    """What was given of the benchmark's own flags, and of ``sunfish train``'s, which it takes as well."""
    arguments, rest = parser.parse_known_args()
    flags = Parser(prog="sunfish train")
    add_config_flags(flags)
    chosen, unknown = flags.parse_known_args(kebab(rest))
    if unknown:
        flags.unknown(unknown)
    chosen.base = preset
    return arguments, chosen


def add_sampling_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every benchmark that writes texts."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--scales", type=float, nargs="+", default=[0, 1, 1.5, 2, 4, 7])
    parser.add_argument("--num_steps", type=int, default=SamplingSettings.num_steps)
    parser.add_argument("--block_length", type=int, default=SamplingSettings.block_length)
    parser.add_argument("--sampler", default=SamplingSettings.sampler)
    parser.add_argument("--temperature", type=float, default=SamplingSettings.temperature)
    parser.add_argument("--plausibility", type=float, default=SamplingSettings.plausibility)
    parser.add_argument("--best_of", type=int, default=1)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--plot", type=picture)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=int, default=3, help="texts to print for each scale")


class Writer:
    """A checkpoint that writes at the settings of the command line."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        set_threads(0)
        self.dtype = choose_precision("auto", torch.device("cpu"))
        self.pipeline = Pipeline.from_checkpoint(arguments.checkpoint)
        self.settings = SamplingSettings(
            arguments.num_steps, arguments.block_length, arguments.sampler, arguments.temperature,
            arguments.plausibility,
        )  # fmt: skip
        self.batch, self.best_of = arguments.batch, arguments.best_of

    def write(self, prompts: list[str], scale: float) -> list[Generated]:
        """One text for each prompt, a batch at a time."""
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype != torch.float32):
            return self.pipeline.generate(
                prompts, guidance_scale=scale, settings=self.settings, batch_size=self.batch, best_of=self.best_of
            )  # fmt: skip
