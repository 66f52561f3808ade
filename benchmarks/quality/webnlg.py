"""Owns the claim: a text mentions the entities of its prompt. For a checkpoint trained on WebNLG.

    ./run.sh train.py --config small --name webnlg --data webnlg/train.jsonl --prompt_field prompt \\
        --prompt_length 128 --max_minutes 30
    ./run.sh benchmarks/quality/webnlg.py checkpoints/webnlg/last.ckpt --dev webnlg/dev.jsonl

The prompts are those of the development file, none of which is in the training file. For each guidance scale:
the percentage of the prompts' entities (subjects and objects) that the text mentions, ignoring case,
underscores and quotes; the same with prompts shuffled (chance) and the ratio; the same of the human
references, the peer, and the ratio to it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    add_generation_flags,
    at_each_scale,
    checkpoint_path,
    generation_config,
    num_texts,
    open_pipeline,
    plot_scales,
    run_name,
    weights_dtype,
)
from benchmarks.metrics import finished, percent
from benchmarks.smoke import smoke_jsonl
from benchmarks.timing import ratio
from sunfish.sampling.generated import Generated
from sunfish.utils import UsageError

SMOKE_RECORDS = (
    {"prompt": "Mars | is a | planet", "text": "Mars is a planet."},
    {"prompt": "Rome | capital of | Italy", "text": "Rome is the capital of Italy."},
)


def entities(prompt: str) -> set[str]:
    """Subjects and objects of ``subject | relation | object ; ...``, in comparable form."""
    names: set[str] = set()
    for fact in prompt.split(" ; "):
        parts = fact.split(" | ")
        names.update(plain(part) for part in (parts[0], parts[-1]))
    return names - {""}


def plain(text: str) -> str:
    """Lower case, letters, digits and single spaces only."""
    return " ".join(re.findall(r"\w+", text.replace("_", " ").lower()))


def mentions(prompt: str, text: str) -> list[bool]:
    """For each entity of the prompt, whether the text has its words in a row."""
    words = f" {plain(text)} "
    return [f" {entity} " in words for entity in sorted(entities(prompt))]


def read_references(run: Run) -> dict[str, str]:
    """The first reference of each prompt of the development file."""
    path = run.arguments.dev or (smoke_jsonl("webnlg", SMOKE_RECORDS) if run.smoke else None)
    if path is None:
        raise UsageError("dev is missing; give --dev, the dev.jsonl of WebNLG")
    references: dict[str, str] = {}
    with path.open(
        encoding="utf-8"
    ) as file:  # str.splitlines would also split at characters inside the texts
        for record in map(json.loads, file):
            references.setdefault(record["prompt"], record["text"])
    return references


def mentioned(prompts: list[str], texts: list[Generated]) -> float:
    """Percentage of the prompts' entities that the texts mention."""
    pairs = zip(prompts, texts, strict=True)
    return percent(ok for prompt, text in pairs for ok in mentions(prompt, text.text))


def measure(run: Run) -> None:
    """Generate at each scale, judge."""
    arguments, references, pipeline = run.arguments, read_references(run), open_pipeline(run)
    stride = max(1, len(references) // num_texts(run))
    chosen = list(references)[::stride][: num_texts(run)]
    limit = pipeline.model.config.prompt_length
    prompts = [prompt for prompt in chosen if len(pipeline.prompt_tokenizer.encode(prompt)) <= limit]
    human = percent(ok for prompt in prompts for ok in mentions(prompt, references[prompt]))
    run.header(
        weights_dtype(pipeline),
        f"{generation_config(arguments)}",
        f"{len(chosen) - len(prompts)} prompts are too long and left out",
        model=run_name(checkpoint_path(run)),
        texts=len(prompts),
    )

    def reference(text: Generated) -> str:
        return f"reference: {references[text.prompt]}"

    for scale, texts, _ in at_each_scale(run, pipeline, prompts, reference):
        own, chance = mentioned(prompts, texts), mentioned([*prompts[1:], *prompts[:1]], texts)
        run.add(
            {"guidance": scale},
            {
                "mentioned": own,
                "shuffled": chance,
                "ratio_to_shuffled": ratio(own, chance),
                "human": human,
                "ratio": ratio(own, human),
                "finished": finished(texts),
            },
        )
    labels = {"mentioned": "entities mentioned", "shuffled": "prompts shuffled", "human": "human references"}
    plot_scales(run, labels, "WebNLG")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What generates, and the prompts."""
    add_checkpoint_flags(parser, texts=200)
    add_generation_flags(parser, scales=(0, 1, 1.5, 2, 4, 7))
    parser.add_argument("--dev", type=Path, help="dev.jsonl of WebNLG")


benchmark = Benchmark(
    "quality/webnlg",
    __doc__,
    measure,
    claim="texts mention the entities of prompts that training never saw",
    peer="human references",
    add_flags=add_flags,
    plots=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
