"""Owns the comparison of the processes: the same size, the same minutes, the same stories.

    ./run.sh benchmarks/quality/families.py checkpoints/families --minutes 15 --plot docs/images/families.png

Trains each process that FOLDER does not have yet (`tiny`; one after another; for two at a time run it twice
with --families). On held-out stories it reports the proven bound in nats/token at the full canvas and at
block lengths 16, 4 and 1 (the cross-entropy where there is no bound); the exact next-token likelihood;
training tokens/s; then, on test prompts and for each block length, grammar and constraints with the exact
sampler, and with `verified`, which all share. The peer is masked diffusion, the first; the ratio is of
grammar at the same block length.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import num_texts, story_prompts
from benchmarks.metrics import oracle_figures
from benchmarks.plots import plot_lines
from benchmarks.quality.curve import read_metrics
from benchmarks.smoke import STORIES, smoke_folder
from benchmarks.timing import ratio
from benchmarks.workload import config_of, held_out_batches, prepared_corpus
from sunfish import load_checkpoint, train
from sunfish.checkpoint.folder import LAST
from sunfish.config import GenerationConfig
from sunfish.config.generation import VERIFIED
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.evaluation import validate
from sunfish.utils import UsageError

FAMILIES = ("masked", "mixed", "uniform", "gaussian")
PEER = FAMILIES[0]
EXACT = "ancestral"
BOUND_LENGTHS = (16, 4, 1)
EVAL_TEXTS, EVAL_ROWS, BATCH = 128, 8, 20
SMOKE_BLOCKS, SMOKE_STEPS = (4, 16), 2


def trained(run: Run, folder: Path, family: str) -> Path:
    """The checkpoint of one process, trained now unless it is there."""
    checkpoint = folder / family / LAST
    if not checkpoint.exists():
        arguments = run.arguments
        config = config_of(
            run,
            "tiny",
            name=family,
            process=family,
            max_minutes=arguments.minutes,
            checkpoints=str(folder),
            data_folder=str(smoke_folder() / "data" if run.smoke else arguments.data_folder),
            **({"stories": STORIES} if run.smoke else {}),
        )
        train(config)
    return checkpoint


def likelihoods(run: Run, path: Path) -> dict[str, float | None]:
    """Nats/token: the bound (or the cross-entropy) by block length, the next token; training tokens/s."""
    checkpoint = load_checkpoint(path, run.device)
    held_out = held_out_batches(prepared_corpus(checkpoint.config), EVAL_ROWS)
    texts = checkpoint.config.training.eval_texts if run.smoke else EVAL_TEXTS
    figures: dict[str, float | None] = {}
    for length in BOUND_LENGTHS:
        found = validate(
            checkpoint.model,
            checkpoint.process,
            held_out,
            texts,
            EVAL_ROWS,
            (length,),
            torch.float32,
            run.seed,
        )
        figures |= {
            "full_canvas": found.bound,
            f"block_{length}": found.block_bound,
            "next_token": found.next_token,
        }
    last = read_metrics(path.parent / "metrics.jsonl")[0][-1]
    return {**figures, "tokens_per_second": last["tokens"] / (60 * last["minutes"])}


def measure(run: Run) -> None:
    """Train, judge, draw."""
    arguments = run.arguments
    folder = arguments.folder or (smoke_folder() / "families" if run.smoke else None)
    if folder is None:
        raise UsageError(
            "folder is missing; name the folder of the checkpoints, such as checkpoints/families"
        )
    prompts = story_prompts(num_texts(run))
    steps, blocks = (SMOKE_STEPS, SMOKE_BLOCKS) if run.smoke else (arguments.num_steps, arguments.blocks)
    run.header(torch.float32, minutes=arguments.minutes, steps=steps, texts=len(prompts))
    grammar: dict[tuple[str, str, int], float] = {}
    for family in arguments.families:
        path = trained(run, folder, family)
        pipeline = Pipeline.from_checkpoint(path, run.device)
        run.add({"family": family, "is_elbo": pipeline.process.is_elbo}, likelihoods(run, path))
        for sampler, block in [*((EXACT, block) for block in blocks), (VERIFIED, blocks[-1])]:
            config = GenerationConfig(sampler=sampler, block_length=block, num_steps=steps)
            begin = run.clock()
            texts = pipeline.generate(prompts, config, seed=run.seed, batch_size=BATCH)
            seconds = (run.clock() - begin) / len(texts)
            figures = oracle_figures(pipeline, texts)
            grammar[family, sampler, block] = figures["grammar"] or 0.0
            peer = grammar.get((PEER, sampler, block))
            compared = None if peer is None else ratio(grammar[family, sampler, block], peer)
            run.add(
                {"family": family, "sampler": sampler, "block_length": block},
                {**figures, "seconds_per_text": seconds, "ratio": compared},
            )
    if run.plot:
        draw(run.plot, grammar)


def draw(path: Path, grammar: dict[tuple[str, str, int], float]) -> None:
    """Grammar over the block length, a line for each process; verified as the last group."""
    lines: dict[str, tuple[list[str], list[float]]] = {}
    for (family, sampler, block), value in grammar.items():
        labels, values = lines.setdefault(family, ([], []))
        labels.append(f"{sampler}, block {block}")
        values.append(value)
    plot_lines(path, lines, x="", y="grammatical sentences, %", title="tiny, the same minutes", percent=True)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Where, how long, what."""
    parser.add_argument("folder", type=Path, nargs="?", help="folder of the checkpoints")
    parser.add_argument(
        "--families", nargs="+", default=list(FAMILIES), choices=FAMILIES, help="(%(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=15, help="of training, each (%(default)s)")
    parser.add_argument("--texts", type=int, default=60, help="held-out prompts (%(default)s)")
    parser.add_argument("--num_steps", type=int, default=16, help="denoising steps a block (%(default)s)")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 4, 16], help="(%(default)s)")
    parser.add_argument(
        "--data_folder", type=Path, default=Path("data"), help="prepared corpora (%(default)s)"
    )


benchmark = Benchmark(
    "quality/families",
    __doc__,
    measure,
    claim="what each process learns and generates after the same minutes",
    peer="masked diffusion",
    add_flags=add_flags,
    plots=True,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
