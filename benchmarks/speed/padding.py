"""Owns the claim: at most 5% of positions are padding, and training is no slower for it.

    ./run.sh benchmarks/speed/padding.py --config nano --precision float32 --threads 1 --folder texts

The peer pads all texts of a batch as far as its longest, to a multiple of 8. One trains on every other batch and
the peer on those between, so that neither finds the kernels that the other has compiled for a batch. Padding is that of
whole windows; tokens/s are those of text and marks, by seconds of the processor on a CPU.
Texts: the built-in stories, lengths drawn at random, and what is in --folder of webnlg/train.jsonl,
alpaca/alpaca_5000.json, imdb/train.jsonl and tinystories/train.txt.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.frame import Benchmark, Run
from benchmarks.timing import interleave, ratio
from benchmarks.workload import config_of, prepared_corpus
from sunfish.config import Config
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedSplit
from sunfish.hardware.device import choose_precision
from sunfish.model.transformer import build_model
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.training.parallel import parts_of
from sunfish.training.step import TrainingStep
from sunfish.types import Batch

ROWS, WINDOWS = 10_000, 12
MULTIPLE = 8  # of the peer
PROMPTED: dict[str, Any] = {"prompt_field": "prompt", "prompt_length": 128}
CORPORA: dict[str, tuple[str, dict[str, Any]]] = {
    "webnlg": ("webnlg/train.jsonl", PROMPTED | {"context_length": 128, "batch_size": 32}),
    "alpaca": ("alpaca/alpaca_5000.json", PROMPTED),
    "imdb": ("imdb/train.jsonl", {}),
    "tinystories": ("tinystories/train.txt", {"delimiter": "<|endoftext|>"}),
}
Lengths = NDArray[np.int64]


class DrawnTexts:
    """A split of random ids with given lengths, and prompts of one token."""

    one_text = False

    def __init__(self, lengths: Lengths, config: Config) -> None:
        self.context_length, self.prompt_length = config.model.context_length, 1
        self.lengths = np.clip(lengths, 3, self.context_length)
        self._size = config.model.vocab_size

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int, _: int = 0) -> Lengths:
        """Ids between two marks."""
        ids = np.random.default_rng(index).integers(1, self._size, self.lengths[index])
        ids[[0, -1]] = 0
        return ids

    def prompt(self, _: int) -> Lengths:
        """The same for all."""
        return np.ones(1, np.int64)


def drawn_lengths(context: int, rows: int) -> dict[str, Lengths]:
    """Distributions of lengths, from none at all to the worst."""
    rng = np.random.default_rng(0)
    return {
        "constant": np.full(rows, 33),
        "bimodal": np.where(rng.random(rows) < 0.5, 20, context),
        "one long": np.append(np.full(rows, 20), context),
        "heavy tail": (3 + 10 * rng.pareto(1.1, rows)).astype(np.int64),
        "uniform": rng.integers(3, context + 1, rows),
        "50 rows": rng.integers(3, context + 1, 50),
    }


def splits(run: Run, folder: Path) -> Iterator[tuple[str, Config, PreparedSplit, int]]:
    """Name, run, rows and end mark of everything that is trained on."""
    config = config_of(run, "nano")
    if run.smoke:
        config = config.with_fields(data_folder=str(folder / "data"), stories=100)
    stories = prepared_corpus(config)
    yield "stories", config, stories.split("train"), stories.tokenizer.end
    for name, (place, fields) in CORPORA.items():
        path = run.arguments.folder and run.arguments.folder / place
        if not path or not path.is_file():
            run.say(f"{name} is left out: no {place} in --folder")
            continue
        if path.suffix == ".json":
            path = as_lines(path, folder / f"{name}.jsonl")
        texts = config_of(run, "nano", data=str(path), **fields)
        prepared = prepared_corpus(texts)
        yield name, texts, prepared.split("train"), prepared.tokenizer.end
    for name, lengths in drawn_lengths(config.model.context_length, 200 if run.smoke else ROWS).items():
        yield name, config, cast(PreparedSplit, DrawnTexts(lengths, config)), 0


def as_lines(path: Path, target: Path) -> Path:
    """The instructions of a JSON file as prompts of a JSON-lines file."""
    with target.open("w", encoding="utf-8") as file:
        for record in json.loads(path.read_text(encoding="utf-8")):
            prompt = f"{record['instruction']} {record['input']}".strip()
            file.write(json.dumps({"prompt": prompt, "text": record["output"]}) + "\n")
    return target


def as_peer(batch: Batch, end: int, context: int) -> Batch:
    """The same texts, all as wide as the longest, to a multiple of 8."""
    width = min(-(-int(batch.lengths.max()) // MULTIPLE) * MULTIPLE, context)
    return batch._replace(x0=F.pad(batch.x0, (0, width - batch.x0.shape[1]), value=end), widths=())


def padding_figures(loader: BatchLoader, config: Config, end: int, windows: int) -> dict[str, float | None]:
    """Percentages of padding, and how often a batch is computed in parts."""
    real = positions = peer = parts = prompts = slots = 0
    steps = windows * loader.window_batches
    for step in range(steps):
        batch = loader.batch(step)
        real += int(batch.lengths.sum())
        positions += batch.positions
        peer += as_peer(batch, end, config.model.context_length).positions
        parts += len(parts_of(batch, config.training))
        prompts += int(batch.prompt_mask.sum())
        slots += batch.prompt_mask.numel()
    return {
        "padding": 100 * (1 - real / positions),
        "peer_padding": 100 * (1 - real / peer),
        "prompt_padding": 100 * (1 - prompts / slots),
        "parts": parts / steps,
    }


def training_step(run: Run, config: Config) -> Callable[[Batch, int], None]:
    """One step of a new network, its update included."""
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("padding", run.seed)).to(run.device)
    process = process.with_embeddings(model.token_embedding)
    dtype = choose_precision(config.training.precision, run.device)
    step = TrainingStep.build(config, model, process, dtype)

    def train(batch: Batch, number: int) -> None:
        step(batch.to(run.device), make_generator("step", number), number)

    return train


def rate_figures(run: Run, loader: BatchLoader, config: Config, end: int) -> dict[str, float | None]:
    """Tokens/s of both forms on the first batches of an epoch."""
    step = training_step(run, config)

    def train(changed: Callable[[Batch], Batch], turn: int, number: int) -> int:
        batch = loader.batch(2 * number + turn)
        step(changed(batch), number)
        return int(batch.lengths.sum())

    timed = interleave(
        {
            "parts": partial(train, lambda batch: batch, 0),
            "peer": partial(train, partial(as_peer, end=end, context=config.model.context_length), 1),
        },
        2 if run.smoke else run.arguments.rounds,
        warmup=2,
        clock=time.process_time if run.device.type == "cpu" else run.clock,
    )
    parts, peer = (sum(arm.values) / sum(arm.seconds) for arm in timed.values())
    return {"tokens_per_second": parts, "peer_tokens_per_second": peer, "ratio": ratio(parts, peer)}


def measure(run: Run) -> None:
    """Count padding, then train."""
    shown = config_of(run, "nano")
    run.header(choose_precision(shown.training.precision, run.device), model=shown.training.name)
    with tempfile.TemporaryDirectory() as folder:
        for name, config, split, end in splits(run, Path(folder)):
            if name not in (run.arguments.only or (name,)):
                continue
            loader = BatchLoader(split, config.training.batch_size, end, run.seed)
            figures = padding_figures(loader, config, end, 1 if run.smoke else WINDOWS)
            run.add({"texts": name}, figures | rate_figures(run, loader, config, end))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The texts and how long."""
    parser.add_argument("--folder", type=Path, help="real texts; see above")
    parser.add_argument("--only", nargs="+", metavar="TEXTS", help="of them, by the names in the table")
    parser.add_argument("--rounds", type=int, default=64, help="steps of each form (%(default)s)")


benchmark = Benchmark(
    "speed/padding",
    __doc__,
    measure,
    claim="at most 5% of positions are padding, and training is no slower for it",
    peer="batches padded as far as their longest text, to a multiple of 8",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
