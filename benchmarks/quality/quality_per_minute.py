"""Owns the claim: SunFish learns more than its peers in the same minutes on the same text.

    ./run.sh benchmarks/quality/quality_per_minute.py shakespeare input.txt --seconds 180 --seeds 0 1 2
    ./run.sh benchmarks/quality/quality_per_minute.py shakespeare input.txt --arms sunfish --ema_decay 0.99
    ./run.sh benchmarks/quality/quality_per_minute.py imdb reviews.jsonl --seconds 1800 --arms mdlm sunfish
    ./run.sh benchmarks/quality/quality_per_minute.py epochs input.txt --seconds 500 --device cuda --compile

Arms: ``sunfish``, the training of its preset; ``mdlm``, masked diffusion by its published recipe
(benchmarks/peers/mdlm.py); ``llama``, an autoregressive Llama of the transformers library with AdamW
(benchmarks/peers/llama.py). All have the same number of parameters within a tenth and no prompts. On
``shakespeare`` SunFish denoises each text of a batch twice, so its batches are smaller. One
estimator judges held-out text (benchmarks/quality/bounds.py), in nats/token: the bound of the whole row as
one block, the bound at block length 4, the exact next token; and bits/byte of the best of them. The arms take
turns, seed by seed; the last lines are the means over the seeds and their ratios to the first arm. Flags of
``sunfish train`` change the arm ``sunfish``: that is how an experiment is made.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from statistics import mean

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.peers.llama import build_llama, hide_prompts, join_prompts, total_nats, train_llama
from benchmarks.peers.mdlm import build_mdlm, train_mdlm
from benchmarks.quality.bounds import HeldOut, bound, next_token, sunfish_loss
from benchmarks.quality.tasks import TASKS
from benchmarks.smoke import smoke_folder, smoke_text
from benchmarks.timing import ratio
from benchmarks.workload import NEVER, config_of, held_out_batches, prepared_corpus, train_batches
from sunfish import load_checkpoint, train
from sunfish.data.stories import story
from sunfish.hardware.device import choose_precision
from sunfish.model.transformer import count_parameters
from sunfish.types import Batch
from sunfish.utils import UsageError

ARMS = ("mdlm", "sunfish", "llama")
BLOCK_LENGTH = 4  # of the second bound
SMOKE_SECONDS = 0.05
Figures = dict[str, float]


class Arena:
    """One task on one machine: the text, the limits, and what every arm needs."""

    def __init__(self, run: Run) -> None:
        """Prepare the text."""
        arguments, task = run.arguments, TASKS[run.arguments.task]
        self.run, self.task = run, task
        self.seconds = SMOKE_SECONDS if run.smoke else float(arguments.seconds)
        self.config = config_of(
            run,
            task.config,
            **{
                **task.fields,
                "name": "quality",
                "data": str(data_path(run)),
                "data_folder": str(smoke_folder() / "data" if run.smoke else arguments.data_folder),
                "max_minutes": self.seconds / 60,
                "eval_every": NEVER,
                "save_minutes": 0.0,
                "eval_texts": 1,
                "log_every": 100,
            },
        )
        self.dtype = choose_precision(self.config.training.precision, run.device)
        self.prepared = prepared_corpus(self.config)
        self.end, shape = self.prepared.tokenizer.end, self.config.model
        self.held_out = HeldOut(
            held_out_batches(self.prepared, self.config.training.batch_size),
            2 if run.smoke else arguments.rows,
            shape.vocab_size,
            shape.context_length,
        )
        self.parameters = count_parameters(shape)

    def figures(self, arm: str, seed: int) -> Figures:
        """Train one arm; nats/token, bits/byte, steps and parameters."""
        nats, steps, parameters = {"mdlm": self._mdlm, "sunfish": self._sunfish, "llama": self._llama}[arm](
            seed
        )
        tokens, num_bytes = self.held_out.num_tokens(), self.held_out.num_bytes()
        figures = {key: value / tokens for key, value in nats.items()}
        figures["bits_per_byte"] = min(nats.values()) / math.log(2) / num_bytes
        return figures | {"steps": float(steps), "million_parameters": parameters / 1e6}

    def _sunfish(self, seed: int) -> tuple[Figures, int, int]:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = load_checkpoint(
                train(self.config.with_fields(seed=seed, checkpoints=folder)), self.run.device
            )
        loss, draws = sunfish_loss(checkpoint.model), self.run.arguments.draws
        nats = {
            "full_canvas": bound(self.held_out, loss, self.held_out.context_length, draws),
            "block_4": bound(self.held_out, loss, BLOCK_LENGTH, draws),
            "next_token": next_token(self.held_out, checkpoint.model),
        }
        return nats, checkpoint.step, self.parameters

    def _mdlm(self, seed: int) -> tuple[Figures, int, int]:
        shape, task = self.config.model, self.task
        model = build_mdlm(
            shape.vocab_size, task.peer_width, task.peer_heads, shape.context_length, self.parameters
        ).to(self.run.device)
        batches = train_batches(self.prepared, task.peer_batch_size, seed)
        average, steps = train_mdlm(model, batches, self.seconds, self.dtype, seed)

        def loss(batch: Batch, x_t: torch.Tensor, t: torch.Tensor, block_length: int) -> float:
            return float(average.losses(*(part.to(self.run.device) for part in (x_t, batch.x0, t))))

        draws = self.run.arguments.draws
        nats = {"full_canvas": bound(self.held_out, loss, self.held_out.context_length, draws)}
        return nats, steps, sum(p.numel() for p in model.parameters())

    def _llama(self, seed: int) -> tuple[Figures, int, int]:
        torch.manual_seed(seed)
        model = build_llama(self.config.model, self.parameters, self.end).to(self.run.device)
        batches = train_batches(self.prepared, self.task.peer_batch_size, seed)

        def rows_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            return join_prompts(hide_prompts(batches.batch(step)).to(self.run.device), self.end)

        steps = train_llama(model, rows_of, self.seconds, self.dtype)
        rows = [hide_prompts(batch).to(self.run.device) for batch in self.held_out.in_order()]
        nats = {"next_token": total_nats(model, rows, self.end)}
        return nats, steps, sum(p.numel() for p in model.parameters())


def data_path(run: Run) -> Path:
    """The text of the command line, or the smoke one."""
    path: Path | None = run.arguments.data
    if path is not None:
        return path
    if not run.smoke:
        raise UsageError("data is missing; name the text file of the task")
    return smoke_text("plays", " ".join(story(0, "train", index).text for index in range(40)))


def measure(run: Run) -> None:
    """Train each arm with each seed, then compare the means."""
    arguments, arena = run.arguments, Arena(run)
    run.header(
        arena.dtype,
        f"sunfish with {run.fields or 'the defaults'}",
        task=arguments.task,
        seconds=arena.seconds,
        fields=str(run.fields) if run.fields else "",
    )
    found: dict[str, list[Figures]] = {arm: [] for arm in arguments.arms}
    for seed in arguments.seeds:
        for arm in arguments.arms:
            figures = arena.figures(arm, seed)
            found[arm].append(figures)
            run.add({"arm": arm, "seed": seed}, {**figures})
    means = {
        arm: {key: mean(f[key] for f in by_seed) for key in by_seed[0]} for arm, by_seed in found.items()
    }
    first, seeds = arguments.arms[0], len(arguments.seeds)
    for arm, figures in means.items():
        compared: dict[str, float | None] = {**figures}
        for key in ("full_canvas", "next_token", "bits_per_byte"):
            if key in figures and key in means[first]:
                compared[f"{first}_{key}"] = means[first][key]
                compared[f"{key}_ratio"] = ratio(figures[key], means[first][key])
        run.add({"arm": arm, "mean_of_seeds": seeds}, compared)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The task and the arms."""
    parser.add_argument("task", choices=list(TASKS), nargs="?", default="shakespeare", help="(%(default)s)")
    parser.add_argument("data", type=Path, nargs="?", help="the text")
    parser.add_argument("--arms", nargs="+", default=["mdlm", "sunfish"], choices=ARMS, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=180, help="of training, each arm (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="(%(default)s)")
    parser.add_argument("--draws", type=int, default=4, help="of masks for each held-out row (%(default)s)")
    parser.add_argument("--rows", type=int, default=0, help="held-out rows; 0: all")
    parser.add_argument(
        "--data_folder", type=Path, default=Path("data"), help="prepared corpora (%(default)s)"
    )


benchmark = Benchmark(
    "quality/quality_per_minute",
    __doc__,
    measure,
    claim="SunFish learns more in the same minutes",
    peer="the first arm: masked diffusion by MDLM's recipe, or a Llama",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
