"""Quality over the number of denoising steps, for each sampler: how few will do.

    ./run.sh benchmarks/steps.py checkpoints/small/last.ckpt --judge checkpoints/tiny/last.ckpt --plot steps.png

Every sampler writes the same held-out prompts with 4 to 128 denoising steps a block; at ``--block_length 0`` the block is
the whole text. For each it prints the passes through the network for a text (canvas and reading), seconds, grammar
and adherence by the oracle, nats a token by the memory of ``--judge`` (another checkpoint) beside the entropy, and
distinct 1-, 2- and 3-grams. The last column is the quality (grammar times adherence) as a ratio to the same sampler
with the most steps; for ``verified``, which takes no steps, to the best of all.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from common import by_oracle, distinct, entropy, nats, ratio
from pictures import picture, pyplot, save

from sunfish.config.sampling import SamplingSettings
from sunfish.data.stories import story
from sunfish.hardware.device import choose_precision, set_threads
from sunfish.sampling.pipeline import Pipeline

SAMPLERS = (
    "leftmost",
    "confidence",
    "first-hitting",
    "entropy:0.1",
    "threshold:0.9",
    "prefix:0.5",
    "remask:0.05",
)
ROW = "{:<16} {:>5} {:>7} {:>7} {:>9} {:>6} {:>6} {:>7} {:>14} {:>7}"

HEAD = (
    "sampler", "steps", "passes", "s/text", "grammar %", "met %", "judge", "entropy", "distinct 1-3", "ratio",
)  # fmt: skip
AT_ONCE = 20  # texts of a batch


class Bench:
    """A checkpoint whose passes are counted, the prompts it writes, and what judges the texts."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.pipeline = Pipeline.from_checkpoint(arguments.checkpoint)
        self.judge = Pipeline.from_checkpoint(arguments.judge) if arguments.judge else None
        self.prompts = [story(1, "test", index).prompt for index in range(arguments.texts)]
        self.guidance = arguments.guidance
        self.dtype = choose_precision("auto", torch.device("cpu"))
        self.passes = 0
        for name in ("canvas", "read", "read_and_draft"):
            self._count(name)

    def _count(self, name: str) -> None:
        run = getattr(self.pipeline.model, name)

        def counted(*values, **named):  # type: ignore[no-untyped-def]
            self.passes += 1
            return run(*values, **named)

        setattr(self.pipeline.model, name, counted)

    def measure(self, settings: SamplingSettings) -> tuple[float, list[str]]:
        """Write the prompts' texts: grammar times adherence, and the figures of a row."""
        self.passes, begin = 0, time.perf_counter()
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype != torch.float32):
            texts = self.pipeline.generate(
                self.prompts, guidance_scale=self.guidance, settings=settings, batch_size=AT_ONCE
            )
        seconds = (time.perf_counter() - begin) / len(texts)
        batches = -(-len(texts) // AT_ONCE)
        good, met = by_oracle(texts)
        figures = [
            f"{self.passes / batches:.0f}", f"{seconds:.2f}", f"{good:.1f}", f"{met:.1f}",
            f"{nats(self.judge, texts):.2f}" if self.judge else "-", f"{entropy(texts):.2f}",
            " ".join(f"{distinct(texts, n):.0f}" for n in (1, 2, 3)),
        ]  # fmt: skip
        return good * met / 1e4, figures


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128])
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--block_length", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=SamplingSettings.temperature)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--plot", type=picture)
    return parser.parse_args()


def main() -> None:
    """Sweep, print, plot."""
    arguments = parse()
    set_threads(arguments.threads)
    bench = Bench(arguments)
    print(
        f"{arguments.checkpoint}: block length {arguments.block_length or 'of the whole text'}, guidance "
        f"{arguments.guidance:g}, temperature {arguments.temperature:g}, {arguments.texts} prompts, batches of {AT_ONCE}"
    )
    print(ROW.format(*HEAD))
    qualities = {sampler: sweep(bench, sampler, arguments) for sampler in arguments.samplers}
    best = max(quality for found in qualities.values() for quality in found.values())
    quality, figures = bench.measure(SamplingSettings(temperature=arguments.temperature))
    print(ROW.format("verified", "-", *figures, ratio(quality, best, 3)))
    if arguments.plot:
        draw(qualities, quality, arguments.plot)


def sweep(bench: Bench, sampler: str, arguments: argparse.Namespace) -> dict[int, float]:
    """Print a row of ``sampler`` for each number of steps, the most first; the quality of each."""
    found: dict[int, float] = {}
    for steps in sorted(arguments.steps, reverse=True):
        settings = SamplingSettings(
            num_steps=steps,
            sampler=sampler,
            block_length=arguments.block_length,
            temperature=arguments.temperature,
        )
        found[steps], figures = bench.measure(settings)
        print(ROW.format(sampler, steps, *figures, ratio(found[steps], found[max(found)], 3)), flush=True)
    return found


def draw(qualities: dict[str, dict[int, float]], verified: float, path: Path) -> None:
    """Quality over steps, a line a sampler."""
    figure, axes = pyplot().subplots(figsize=(7, 4.2))
    for sampler, found in qualities.items():
        axes.plot(sorted(found), [100 * found[steps] for steps in sorted(found)], marker="o", label=sampler)
    axes.axhline(100 * verified, color="black", linestyle="--", label="verified (no steps)")
    axes.set(xlabel="denoising steps a block", ylabel="grammar x adherence, %", ylim=(0, 102))
    axes.set_xscale("log", base=2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    main()
