"""Owns the claim: in real text a sentence is filled in as it stood, or as likely. For checkpoints of any corpus.

    ./run.sh benchmarks/quality/real_infilling.py checkpoints/tinystories/last.ckpt --judge llama --llama llama-fim

Of the first five sentences of held-out texts, the third is cut out and filled again, or the three in the middle, as
Donahue et al. 2020 (arXiv:2005.05339) and Gong et al. 2024 (arXiv:2410.17891) do with ROCStories. Every arm is given
the prompt. The posterior of the causal mode is asked twice, with and without the true length; the canvas and the
continuation of the left side get the true length; a Llama of benchmarks/peers/fill_in_the_middle.py finds its own.
For each: ROUGE-1, ROUGE-2 and ROUGE-L of the fill against what was cut out (F1 in percent, of the rouge-score
library), and nats/token of the whole text to a judge, a Llama that benchmarks/peers/llama.py trained on the same
corpus. The arm "truth" is what was cut out. ROUGE is low for all of them: a story can go on in many ways.
Needs ``./run.sh -m pip install -e '.[hf,eval]'``.
"""

from __future__ import annotations

import argparse
import functools
import math
import re
import sys
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    checkpoint_path,
    num_texts,
    open_pipeline,
    run_name,
    weights_dtype,
)
from benchmarks.metrics import percent
from benchmarks.peers.llama import open_llama
from benchmarks.quality.filling_arms import GUIDANCE, Arm, Filled, canvas, left_only, llama_arms, posterior
from benchmarks.quality.gaps import SMOKE_LENGTHS, SMOKE_STORY, Task
from benchmarks.quality.resemblance import held_out_texts
from benchmarks.timing import interleave
from benchmarks.workload import prepared_corpus
from sunfish.checkpoint.folder import read_metadata
from sunfish.config import Config
from sunfish.config.generation import FILLING, NUM_PARTICLES
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import encode_prompt
from sunfish.utils import UsageError

SENTENCE = re.compile(r"\S.*?[.!?]+[\"')\u201d\u2019]*(?=\s|$)", re.DOTALL)
SENTENCES = 5
CUT = {"1 of 5": (2, 2), "3 of 5": (1, 3)}  # the first and the last sentence that are cut out
LENGTHS = {"1 of 5": "1-48", "3 of 5": "1-120"}  # tokens that a gap may have, several times those of most
ROUGE = ("rouge1", "rouge2", "rougeL")
TRUTH = "truth"


def beginnings(run: Run) -> list[Task]:
    """The first five sentences of held-out texts that have so many, with the range of each sentence.

    Raises:
        UsageError: No held-out text has so many sentences.
    """
    checkpoint, count = checkpoint_path(run), num_texts(run)
    if run.smoke:
        texts = [(SMOKE_STORY.prompt, SMOKE_STORY.text)] * count
    else:
        config = Config.from_dict(read_metadata(checkpoint)["config"])
        prepared = prepared_corpus(config.with_fields(data_folder=str(run.arguments.data_folder)))
        texts = [
            (one.prompt, one.text) for one in held_out_texts(prepared, len(prepared.split("validation")))
        ]
    tasks = []
    for prompt, text in texts:
        found = [match.span() for match in SENTENCE.finditer(text)][:SENTENCES]
        if len(found) == SENTENCES:
            tasks.append(Task(prompt, text[: found[-1][1]], found))
    if not tasks:
        raise UsageError(f"{checkpoint}: no held-out text of its corpus has {SENTENCES} sentences")
    return tasks[:: max(1, len(tasks) // count)][:count]


def cut_out(task: Task, kind: str) -> Task:
    """The same text, with one range in place of those of its sentences: what is cut out."""
    first, last = CUT[kind]
    return task._replace(spans=[(task.spans[first][0], task.spans[last][1])])


def known_length(pipeline: Pipeline, task: Task, lengths: str, seed: int) -> Filled:
    """The posterior, told how many tokens were cut out."""
    return posterior(pipeline, task, str(task.true_lengths(pipeline)[0]), seed)


def truth(pipeline: Pipeline, task: Task, lengths: str, seed: int) -> Filled:
    """What was cut out."""
    start, end = task.spans[0]
    return Filled(task, task.text, [task.text[start:end]])


def open_judge(run: Run, pipeline: Pipeline) -> Any:
    """The Llama of ``--judge``; with ``--smoke`` one of random weights.

    Raises:
        UsageError: None is named.
    """
    if run.arguments.judge is None and not run.smoke:
        raise UsageError("judge is missing; name what benchmarks/peers/llama.py saved")
    return open_llama(run.arguments.judge, pipeline)


@torch.no_grad()
def judged_nats(judge: Any, pipeline: Pipeline, filled: Filled) -> tuple[float, int]:
    """Nats of a whole text and the number of its tokens, to a Llama that is given the prompt."""
    tokenizer = pipeline.tokenizer
    prompt = encode_prompt(tokenizer, filled.task.prompt, pipeline.model.config.prompt_length)
    text = tokenizer.encode(filled.text)
    ids = torch.tensor([[*prompt, tokenizer.end, *text]], device=judge.device)
    nats = torch.log_softmax(judge(input_ids=ids).logits[0, len(prompt) : -1].float(), -1)
    return -float(nats.gather(1, ids[0, len(prompt) + 1 :, None]).sum()), len(text)


def figures_of(
    fills: list[Filled], seconds: float, judge: Any, pipeline: Pipeline
) -> dict[str, float | None]:
    """All figures of one arm."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(ROUGE)
    scores = [scorer.score(one.task.text[slice(*one.task.spans[0])], one.fills[0].strip()) for one in fills]
    judged = [judged_nats(judge, pipeline, one) for one in fills]
    sizes = [one.effective_sample_size for one in fills if one.effective_sample_size is not None]
    return {
        **{name: 100 * fmean(score[name].fmeasure for score in scores) for name in ROUGE},
        "judged_nats": math.fsum(nats for nats, _ in judged) / sum(tokens for _, tokens in judged),
        "as_it_stood": percent(one.text == one.task.text for one in fills),
        "seconds_per_fill": seconds,
        "effective_sample_size": median(sizes) if sizes else None,
    }


def measure(run: Run) -> None:
    """Each kind of gap in turn; every arm fills the same ones."""
    pipeline = open_pipeline(run)
    judge = open_judge(run, pipeline)
    run.header(
        weights_dtype(pipeline),
        model=run_name(checkpoint_path(run)),
        texts=num_texts(run),
        particles=NUM_PARTICLES,
        temperature=FILLING.temperature,
        guidance=GUIDANCE,
    )
    arms: dict[str, Arm] = {
        TRUTH: truth,
        "posterior": posterior,
        "posterior, length known": known_length,
        "canvas, length known": canvas,
        "left, length known": left_only,
    }
    arms |= llama_arms(run, pipeline)
    texts = beginnings(run)
    for kind in CUT:
        tasks = [cut_out(text, kind) for text in texts]
        lengths = SMOKE_LENGTHS if run.smoke else LENGTHS[kind]

        def fill(name: str, number: int, tasks: list[Task] = tasks, lengths: str = lengths) -> Filled:
            return arms[name](pipeline, tasks[number], lengths, run.seed + number)

        calls = {name: functools.partial(fill, name) for name in arms}
        timed = interleave(calls, rounds=len(tasks), clock=run.clock)
        for name, results in timed.items():
            run.add({"kind": kind, "arm": name}, figures_of(results.values, results.median, judge, pipeline))
            for filled in results.values[: run.arguments.show]:
                run.say(f"\n[{kind}, {name}] {filled.task.replaced([f'[{filled.fills[0].strip()}]'])}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, its corpus, and the Llamas."""
    add_checkpoint_flags(parser, texts=100)
    parser.add_argument("--judge", type=Path, help="what benchmarks/peers/llama.py saved")
    parser.add_argument("--llama", type=Path, help="what benchmarks/peers/fill_in_the_middle.py saved")
    parser.add_argument(
        "--data_folder", type=Path, default=Path("data"), help="prepared corpora (%(default)s)"
    )
    parser.add_argument("--show", type=int, default=0, help="texts to print of each (%(default)s)")


benchmark = Benchmark(
    "quality/real_infilling",
    __doc__,
    measure,
    claim="in real text a gap is filled with what suits both sides, at a length that nobody gave",
    peer="a Llama trained to fill gaps; the canvas and the left side alone; what was cut out",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
