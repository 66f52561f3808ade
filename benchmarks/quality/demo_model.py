"""Owns the model that comes with the package: trains it, judges it, and writes it there with its card.

    ./run.sh benchmarks/quality/demo_model.py

Twenty minutes of one core with AVX-512, an hour of one without, then some minutes of judging: ``sunfish
train`` with the words of TRAINING, a copy with float16 weights, and the figures of that copy for held-out
prompts, as quality/stories_quality.py has them. With a checkpoint, the training is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    add_generation_flags,
    at_each_scale,
    checkpoint_path,
    need_stories,
    num_texts,
    open_pipeline,
    story_prompts,
    weights_dtype,
)
from benchmarks.quality.stories_quality import figures_of, verdict
from benchmarks.results import Result
from benchmarks.smoke import smoke_folder
from sunfish.checkpoint.folder import load_checkpoint, save_for_inference
from sunfish.checkpoint.metadata import CARD, WEIGHTS
from sunfish.checkpoint.packaged import DEMO, DEMO_FOLDER
from sunfish.cli import main as sunfish

TRAINING = f"train --config tiny --name {DEMO} --max-steps 6445 --max-minutes 0 --threads 1".split()
TRAINED = Path("checkpoints") / DEMO / "last.ckpt"
FIGURES = {
    "grammar": "grammatical sentences",
    "constraints": "prompt constraints satisfied",
    "shuffled_constraints": "the same, prompts shuffled",
}


def source_checkpoint(run: Run) -> Path:
    """The checkpoint of the command line or of the smoke mode, or a newly trained one."""
    if run.arguments.checkpoint is not None or run.smoke:
        return checkpoint_path(run)
    if code := sunfish(TRAINING):
        raise ValueError(f"sunfish {' '.join(TRAINING)} ended with {code}")
    return TRAINED


def card(trained: str, size: int, texts: int, results: Sequence[Result]) -> str:
    """The card of the training run, then what was measured, and how the model is made again."""
    rows = [
        f"| {result.case['guidance']:g} | "
        + " | ".join(f"{result.figures[key]:.1f}%" for key in FIGURES)
        + " |"
        for result in results
    ]
    table = [f"| guidance | {' | '.join(FIGURES.values())} |", "|---" * (len(FIGURES) + 1) + "|", *rows]
    return (
        trained.rstrip("\n")
        + f"""

This is the model of `sunfish demo`; `{DEMO}` names it wherever a checkpoint is named. The averaged weights are
rounded to float16 ({size / 1e6:.1f} MB). It samples, and does not resume. License: MIT, as the code and its corpus.

## Figures
{texts} held-out prompts, judged by an oracle that reads only the text. Shuffled: judged by another text's
prompt, which is chance.

"""
        + "\n".join(table)
        + """

## Limits
Children's stories of at most 256 tokens, about the topics, people and places of the built-in corpus. It
knows no other prompts and no facts.

## Made again
In a clone, 20 to 75 minutes of one core that does nothing else:

```
./run.sh benchmarks/quality/demo_model.py
```
"""
    )


def measure(run: Run) -> None:
    """Train, judge the smaller copy, write it."""
    source = source_checkpoint(run)
    need_stories(source)
    trained, prompts = load_checkpoint(source), story_prompts(num_texts(run))
    with tempfile.TemporaryDirectory() as temporary:
        copy = save_for_inference(Path(temporary) / DEMO, trained, "")
        run.arguments.checkpoint, size = copy, (copy / WEIGHTS).stat().st_size
        pipeline = open_pipeline(run)
        run.header(weights_dtype(pipeline), model=DEMO, texts=len(prompts))
        results = [
            run.add({"guidance": scale}, figures_of(pipeline, texts, seconds))
            for scale, texts, seconds in at_each_scale(run, pipeline, prompts, verdict)
        ]
    folder = smoke_folder() / DEMO if run.smoke else DEMO_FOLDER
    text = card((source / CARD).read_text(encoding="utf-8"), size, len(prompts), results)
    run.say(f"written to {save_for_inference(folder, trained, text)}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What is trained already, and how it is judged."""
    add_checkpoint_flags(parser, texts=200)
    add_generation_flags(parser, scales=(1, 3, 7))


benchmark = Benchmark(
    "quality/demo_model",
    __doc__,
    measure,
    claim="a model of two megabytes writes grammatical stories that satisfy their prompts",
    peer="the same texts with the prompts shuffled: chance",
    add_flags=add_flags,
    records=False,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
