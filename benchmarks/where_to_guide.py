"""Where to guide when noise is not masks: on the clean token, as SunFish does, or where it is published.

    ./run.sh benchmarks/where_to_guide.py checkpoints/uniform/last.ckpt --texts 60

For random tokens Schiff et al. 2024 (arXiv:2412.10193, eq. 9) raise the posterior of a step: p(x_s | x_t, prompt)^w
p(x_s | x_t)^(1 - w), normalised. For continuous noise the estimate of the clean embedding, and so the score, is
guided (Ho and Salimans 2022). SunFish guides what the network says of the clean token, and goes on from there. Both
run here in the same loop with the same noise; the last two columns are the ratios of the published rule to SunFish's.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from common import by_oracle, ratio
from torch import Tensor

from sunfish.config.sampling import SamplingSettings
from sunfish.data.stories import story
from sunfish.hardware.device import set_threads
from sunfish.processes.gaussian import GaussianProcess
from sunfish.processes.mixed import MixedProcess
from sunfish.processes.schedules import time_grid
from sunfish.rng import Streams, draw_categorical
from sunfish.sampling.guidance import Guided
from sunfish.sampling.logits import Writable, sharpen
from sunfish.sampling.pipeline import Generated, Pipeline
from sunfish.sampling.unmasking import get_sampler
from sunfish.types import Condition, Process

ROW = "{:>9} {:>9} {:>9} {:>7} {:>15} {:>11}"


def step(
    process: Process,
    logits: Tensor,
    rows: Tensor,
    t: float,
    s: float,
    table: Tensor,
    scale: float,
    rng: Streams,
) -> Tensor:
    """One step by the published rule, from the logits and states of both halves ``[2B, N, ...]``."""
    if isinstance(process, MixedProcess):
        conditional, without = torch.log_softmax(process.posterior(logits, rows, t, s, table), -1).chunk(2)
        chosen = without + scale * (conditional - without)
        chosen = chosen.masked_fill(conditional == -torch.inf, -torch.inf)
        return draw_categorical(chosen, rng.uniform(*chosen.shape[:2]))[0]
    assert isinstance(process, GaussianProcess)
    width, times = table.shape[1], torch.full(rows.shape[:2], t, dtype=torch.float64)
    conditional, without = process.estimated(logits, rows, times, table)[..., width:].chunk(2)
    target, noisy = without + scale * (conditional - without), rows.chunk(2)[0][..., :width]
    if s <= 0:
        return torch.cat([target, target], dim=-1)  # read as the nearest embedding
    moved = process.move(noisy, target, t, s, rng)
    return torch.cat([moved, conditional], dim=-1)


@torch.no_grad()
def write(
    pipeline: Pipeline, prompts: list[str], scale: float, settings: SamplingSettings, published: bool
) -> list[Generated]:
    """One text for each prompt, guided by the published rule or on the clean token."""
    process, end = pipeline.process, pipeline.tokenizer.end
    sampler = get_sampler(settings.sampler)
    model = Writable(pipeline.model, pipeline.tokenizer.size)
    guided = Guided(model, scale, settings.plausibility)
    cond, table = pipeline.encode(prompts), pipeline.model.table
    rng, block = Streams.for_rows(0, 0, len(prompts)), settings.block_length
    both: Condition = cond.with_null() if scale not in (0, 1) else cond
    parts, past = [], None
    for start in range(0, pipeline.model.config.context_length, block):
        free = torch.ones(len(prompts), block, dtype=torch.bool)
        free[:, 0] = start > 0
        given = torch.full(free.shape, end)
        x = process.corrupt(given, free.double(), table, rng)
        for t, s in pairwise(time_grid(settings.num_steps)):
            times = t * free.float()
            if published and scale not in (0, 1):
                rows, twice = torch.cat([x, x]), torch.cat([times, times])
                logits = sharpen(model(rows, twice, both, past, start), settings)
                stepped = step(process, logits, rows, t, s, table, scale, rng)
            else:
                logits = sharpen(guided(x, times, cond, past, start), settings)
                stepped = process.step(logits, x, t, s, table, rng, sampler)
            x = torch.where(free if x.ndim == 2 else free[..., None], stepped, x)
        parts.append(process.decode(x, table))
        past, _ = guided.remember(parts[-1], cond, past)
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
    if not isinstance(pipeline.process, MixedProcess | GaussianProcess):
        parser.error(f"{arguments.checkpoint} is a model of masks, where the two rules are one")
    sampler = "ancestral" if pipeline.process.has_bound else "ddpm"
    prompts = [story(1, "test", number).prompt for number in range(arguments.texts)]
    print(ROW.format("guidance", "rule", "grammar %", "met %", "grammar: clean", "met: clean"))
    for scale in arguments.scales:
        clean = (0.0, 0.0)
        for rule in ("clean", "published"):
            settings = SamplingSettings(
                arguments.num_steps, arguments.block_length, sampler,
                plausibility=SamplingSettings.plausibility if rule == "clean" else 0.0,
            )  # fmt: skip
            texts = write(pipeline, prompts, scale, settings, rule == "published")
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
