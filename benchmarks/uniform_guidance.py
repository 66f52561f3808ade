"""Where to guide when noise is random tokens: on the clean token, as SunFish does, or on the posterior, as published.

    ./run.sh benchmarks/uniform_guidance.py checkpoints/uniform/last.ckpt --texts 60

Schiff et al. 2024 (arXiv:2412.10193, eq. 9) raise the posterior of a step: p(x_s | x_t, prompt)^w p(x_s | x_t)^(1 - w),
normalised. SunFish guides what the network says of the clean token, and makes the posterior of the result. Both run here
in the same loop with the same noise; the last two columns are the ratios of the published rule to SunFish's.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from common import by_oracle, ratio

from sunfish.data.stories import story
from sunfish.devices import set_threads
from sunfish.guidance import Guided
from sunfish.pipeline import Generated, Pipeline
from sunfish.processes.mixed import MixedProcess
from sunfish.randomness import Streams, draw_categorical
from sunfish.sampling import SamplingSettings, sharpen
from sunfish.schedules import time_grid
from sunfish.types import Condition
from sunfish.vocabulary import Writable

ROW = "{:>9} {:>9} {:>9} {:>7} {:>15} {:>11}"


@torch.no_grad()
def write(
    pipeline: Pipeline, prompts: list[str], scale: float, settings: SamplingSettings, posterior: bool
) -> list[Generated]:
    """One text for each prompt, guided on the posterior or on the clean token."""
    process, end = pipeline.process, pipeline.tokenizer.end
    assert isinstance(process, MixedProcess)
    model = Writable(pipeline.model, pipeline.tokenizer.size)
    guided = Guided(model, scale, settings.plausibility)
    cond, table = pipeline.encode(prompts), pipeline.model.table
    rng, block = Streams.for_rows(0, 0, len(prompts)), settings.block_length
    both: Condition = cond.with_null() if scale not in (0, 1) else cond
    parts, past = [], None
    for start in range(0, pipeline.model.config.context_length, block):
        x = process.corrupt(
            torch.full((len(prompts), block), end), torch.ones(len(prompts), block), table, rng
        )
        free = torch.ones_like(x, dtype=torch.bool)
        if start == 0:
            x[:, 0], free[:, 0] = end, False
        for t, s in pairwise(time_grid(settings.num_steps)):
            times = t * free.float()
            if posterior and scale not in (0, 1):
                rows, twice = torch.cat([x, x]), torch.cat([times, times])
                logits = sharpen(model(rows, twice, both, past, start), settings)
                log_p = torch.log_softmax(process.posterior(logits, rows, t, s, table), dim=-1)
                conditional, without = log_p.chunk(2)
                chosen = without + scale * (conditional - without)
                chosen = chosen.masked_fill(conditional == -torch.inf, -torch.inf)
            else:
                logits = sharpen(guided(x, times, cond, past, start), settings)
                chosen = process.posterior(logits, x, t, s, table)
            drawn, _ = draw_categorical(chosen, rng.uniform(*x.shape))
            x = torch.where(free, drawn, x)
        parts.append(x)
        past, _ = guided.remember(x, cond, past)
        ids = torch.cat(parts, dim=1)
        if bool((ids[:, 1:] == end).any(dim=1).all()):
            break
    return [pipeline._finish(row, prompt) for row, prompt in zip(ids[:, 1:].tolist(), prompts, strict=True)]


def main() -> None:
    """Parse, write with both rules, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--num_steps", type=int, default=16)
    parser.add_argument("--block_length", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    pipeline = Pipeline.from_checkpoint(arguments.checkpoint)
    if not isinstance(pipeline.process, MixedProcess):
        parser.error(f"{arguments.checkpoint} is no model of uniform or mixed noise")
    prompts = [story(1, "test", number).prompt for number in range(arguments.texts)]
    print(ROW.format("guidance", "rule", "grammar %", "met %", "grammar: clean", "met: clean"))
    for scale in arguments.scales:
        clean = (0.0, 0.0)
        for rule in ("clean", "posterior"):
            settings = SamplingSettings(
                arguments.num_steps, arguments.block_length, "ancestral",
                plausibility=SamplingSettings.plausibility if rule == "clean" else 0.0,
            )  # fmt: skip
            texts = write(pipeline, prompts, scale, settings, rule == "posterior")
            grammar, met = by_oracle(texts)
            if rule == "clean":
                clean = (grammar, met)
            print(
                ROW.format(
                    f"{scale:g}", rule, f"{grammar:.1f}", f"{met:.1f}", ratio(grammar, clean[0]), ratio(met, clean[1])
                ),
                flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
