"""Owns the claim: real English is learned through the same command as the built-in stories, and how well.

    ./run.sh benchmarks/quality/real_corpora.py --data ../shared/data --stories checkpoints/small/last.ckpt
    ./run.sh benchmarks/quality/real_corpora.py --corpora alpaca --minutes 20 --samples samples.md

Each corpus becomes a data set of a hub on this machine, and ``sunfish train --data hf:local/NAME`` trains on
it, as a user would. A run that is already in ``--checkpoints`` is measured, not trained again. For each run,
``--stories`` included, the peer:

- its speed, its epochs, and after how many of them the held-out next token was best;
- nats/token and bits/byte of held-out text (the bound of the whole text as one block, of blocks of 4, and the
  exact next token), what the right prompt is worth, and the same of text that was learned: overfitting;
- for each guidance scale and for the held-out texts themselves: the percentage of texts that end within the
  context; of different 3-grams; of 4-grams that the text had before; of 8-grams that stand in the training
  text; of the prompts' telling words that the text mentions, and of another prompt's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from benchmarks.children import run_child
from benchmarks.frame import Benchmark, Run
from benchmarks.generation import num_texts
from benchmarks.quality.corpora import CORPORA, Records, read_corpus, served, smoke_corpora
from benchmarks.quality.curve import read_metrics
from benchmarks.quality.resemblance import held_out_texts, learned_ngrams, text_figures
from benchmarks.smoke import SHAPE, smoke_checkpoint, smoke_folder
from benchmarks.workload import prepared_corpus
from sunfish.checkpoint.folder import read_metadata
from sunfish.config import Config, GenerationConfig, group_of
from sunfish.config.data import HUB
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedCorpus
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.files.fields import RecordFields
from sunfish.data.sources.hub.address import parse_address
from sunfish.data.sources.hub.prepared import PreparedSource
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.evaluation import Validation, validate
from sunfish.utils import log

STORIES = "stories"
STORY_PROMPTS = ("Tell me a story about a kite", "Write a story about a cat. Include rain.")
SMOKE_ROWS = 4


def last_checkpoint(run: Run, name: str) -> Path:
    """Where the run ``name`` has, or will have, its last checkpoint."""
    folder: Path = run.arguments.checkpoints
    return folder / name / "last.ckpt"


def train_on(run: Run, name: str, records: Records) -> None:
    """Train the run ``name`` on ``records``, served by a hub."""
    arguments, checkpoint = run.arguments, last_checkpoint(run, name)
    limits = ["--max_minutes", str(arguments.minutes)]
    if run.smoke:
        limits = [w for key, value in SHAPE.items() for w in ("--set", f"{group_of(key)}.{key}={value}")]
    words = [sys.executable, "-m", "sunfish", "train", "--config", "nano" if run.smoke else arguments.size]
    words += ["--data", f"{HUB}local/{name}", *CORPORA[name].flags, "--name", name, *limits]
    words += ["--checkpoints", str(arguments.checkpoints), "--data_folder", str(arguments.data_folder)]
    words += ["--threads", str(run.threads), "--device", str(run.device), "--seed", str(run.seed)]
    log(f"{' '.join(words[2:])}: its course is in {checkpoint.parent / 'metrics.jsonl'}")
    with served(name, records) as url, tempfile.TemporaryDirectory() as home:
        endpoint = {
            "HF_ENDPOINT": url,
            "HF_HOME": home,
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_OFFLINE": "0",
        }
        run_child(words, env=endpoint)


def corpus_of(config: Config) -> PreparedCorpus:
    """The corpus that a run was trained on, as it was prepared for it."""
    corpus = config.corpus
    if not corpus.data.startswith(HUB):
        return prepared_corpus(config)
    fields = RecordFields(corpus.text_field, corpus.prompt_field, corpus.prompt_template)
    folder, reason = Path(corpus.data_folder).expanduser(), "the hub of this machine has gone"
    source = PreparedSource(parse_address(corpus.data), fields, corpus.validation_fraction, folder, reason)
    return prepare(source, config)


def course(checkpoint: Path) -> dict[str, float | None]:
    """How the run went: its speed, its length, and when the held-out figures were best."""
    training, validation = read_metrics(checkpoint.parent / "metrics.jsonl")
    last = training[-1]
    epochs_per_step = last["epoch"] / last["step"]
    best = {key: min(validation, key=lambda line: line[key]) for key in ("next_token", "bound")}
    return {
        "steps": last["step"],
        "tokens": last["tokens"],
        "tokens_per_second": median(line["tokens_per_second"] for line in training),
        "epochs": last["epoch"],
        "best_next_token": best["next_token"]["next_token"],
        "best_next_token_epochs": best["next_token"]["step"] * epochs_per_step,
        "best_bound_epochs": best["bound"]["step"] * epochs_per_step,
    }


def likelihoods(
    pipeline: Pipeline, prepared: PreparedCorpus, config: Config, rows: int
) -> dict[str, float | None]:
    """Nats/token and bits/byte of as many held-out rows and rows that were learned."""
    settings = config.training

    def figures(split: str) -> Validation:
        batches = BatchLoader(prepared.split(split), settings.batch_size, prepared.tokenizer.end, 0)
        sizes = (min(rows, len(batches.split)), settings.batch_size, settings.block_lengths)
        return validate(pipeline.model, pipeline.process, batches, *sizes, torch.float32)

    held_out, learned = figures("validation"), figures("train")
    bits = held_out.bits_per_byte / held_out.bound  # of a byte, for a nat of a token
    return {
        "bound": held_out.bound,
        "block_bound": held_out.block_bound,
        "next_token": held_out.next_token,
        "bound_bits_per_byte": held_out.bits_per_byte,
        "block_bits_per_byte": held_out.block_bound * bits,
        "bits_per_byte": held_out.next_token * bits,
        "prompt_gain": held_out.prompt_gain,
        "train_bound": learned.bound,
        "train_next_token": learned.next_token,
        "next_token_gap": held_out.next_token - learned.next_token,
    }


def measure_run(run: Run, name: str, checkpoint: Path) -> list[str]:
    """All figures of one run; returns the lines of its samples."""
    arguments = run.arguments
    folder = smoke_folder() / "data" if run.smoke else arguments.data_folder
    config = Config.from_dict(read_metadata(checkpoint)["config"]).with_fields(data_folder=str(folder))
    prepared, pipeline = corpus_of(config), Pipeline.from_checkpoint(checkpoint, run.device)
    rows = SMOKE_ROWS if run.smoke else arguments.rows
    run.add({"corpus": name, "of": "run"}, course(checkpoint) | likelihoods(pipeline, prepared, config, rows))
    learned = learned_ngrams(prepared.split("train"))
    real = held_out_texts(prepared, num_texts(run))
    run.add({"corpus": name, "of": "held-out texts"}, text_figures(real, learned))
    prompts = [text.prompt for text in real]
    for scale in arguments.scales:
        texts = pipeline.generate(prompts, GenerationConfig(guidance_scale=scale), seed=run.seed)
        run.add({"corpus": name, "of": "texts", "guidance": scale}, text_figures(texts, learned))
    asked = [*(CORPORA[name].prompts if name in CORPORA else STORY_PROMPTS), ""]
    samples = pipeline.generate(asked[: num_texts(run)], seed=run.seed)
    return ["", f"## {name}", "", *(sample_line(text) for text in samples)]


def sample_line(text: Generated) -> str:
    """A prompt and its text as an item of a Markdown list."""
    words = " ".join(text.text.split())
    return f"- **{text.prompt or '(no prompt)'}** {words}{'' if text.finished else ' …'}"


def measure(run: Run) -> None:
    """Train where there is no run yet, then measure one run after the other."""
    arguments = run.arguments
    if run.smoke:
        arguments.data, arguments.stories = smoke_corpora(), smoke_checkpoint()
        arguments.checkpoints, arguments.data_folder = smoke_folder() / "real", smoke_folder() / "data"
        arguments.scales = arguments.scales[:1]
    untrained = [name for name in arguments.corpora if not last_checkpoint(run, name).exists()]
    records = {name: read_corpus(name, arguments.data) for name in untrained}  # all, before the first hour
    run.header(torch.float32, minutes=arguments.minutes, size=arguments.size)
    lines = ["# Samples as they came"]
    if arguments.stories:
        lines += measure_run(run, STORIES, arguments.stories)
    for name in arguments.corpora:
        if name in records:
            train_on(run, name, records[name])
        lines += measure_run(run, name, last_checkpoint(run, name))
    if arguments.samples:
        arguments.samples.write_text("\n".join([*lines, ""]), encoding="utf-8")
    else:
        run.say("\n".join(["", *lines]))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The corpora, their runs, and how much of them is measured."""
    names = ", ".join(corpus.path for corpus in CORPORA.values())
    data, folder = Path("../shared/data"), Path("checkpoints")
    parser.add_argument("--data", type=Path, default=data, help=f"folder that has {names} (%(default)s)")
    parser.add_argument("--corpora", nargs="*", choices=CORPORA, default=list(CORPORA), help="(%(default)s)")
    parser.add_argument("--stories", type=Path, help="a checkpoint of the built-in stories to compare with")
    parser.add_argument("--size", default="small", help="the preset (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="of training, each corpus (%(default)s)")
    parser.add_argument("--checkpoints", type=Path, default=folder, help="of the runs (%(default)s)")
    parser.add_argument(
        "--data_folder", type=Path, default=Path("data"), help="prepared corpora (%(default)s)"
    )
    parser.add_argument("--rows", type=int, default=256, help="rows whose nats are measured (%(default)s)")
    parser.add_argument("--texts", type=int, default=100, help="texts of each guidance (%(default)s)")
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 3], help="guidance (%(default)s)")
    parser.add_argument("--samples", type=Path, metavar="PATH", help="write samples here, as they came")


benchmark = Benchmark(
    "quality/real_corpora",
    __doc__,
    measure,
    claim="real English is learned through the same command as the built-in stories",
    peer="the built-in stories, and the held-out texts themselves",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
