"""What each network has learned after the same minutes on the same machine, from the same text.

    ./run.sh benchmarks/quality_per_minute.py shakespeare input.txt --seconds 180 --seeds 0 1 2
    ./run.sh benchmarks/quality_per_minute.py shakespeare input.txt --arms sunfish --seconds 60 --ema_decay 0.99
    ./run.sh benchmarks/quality_per_minute.py imdb reviews.jsonl --seconds 1800 --arms mdlm sunfish llama
    ./run.sh benchmarks/quality_per_minute.py epochs input.txt --seconds 500 --device cuda --compile

Arms: ``sunfish``, the training of its preset; ``mdlm``, masked diffusion by its published recipe
(benchmarks/mdlm.py); ``llama``, an autoregressive Llama of the transformers library with AdamW (benchmarks/llama.py).
All have the same number of parameters within a tenth and no prompts. On ``shakespeare`` SunFish denoises each text of a
batch twice, so its batches are the smaller ones. Held-out text is judged by one
estimator (benchmarks/bounds.py), in nats a token: the bound of the whole row as one block, the bound at block length
4, the exact next token; and bits a byte of the best of them. The ratio is to the first arm's full canvas. Flags of
``sunfish train`` change the arm ``sunfish``: that is how an experiment is made.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from bounds import Held, bound, next_token, of_sunfish
from common import with_training_flags
from llama import build, likelihood, train_llama, without_prompt
from mdlm import like, train

from sunfish.commands.flags import given_fields
from sunfish.config.presets import preset
from sunfish.data.dataloader import Batches
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.open import open_source
from sunfish.hardware.device import choose_device, choose_precision, set_threads
from sunfish.model.transformer import count_parameters
from sunfish.training.trainer import Trainer
from sunfish.types import Batch

NEVER = 10**9
TASK: dict[str, Any] = dict(prompt_length=0, draft_head=False)  # nothing is drafted here
TASKS: dict[str, dict[str, Any]] = {
    # The canvas is what is compared: 0.7 of the loss is its own, three steps of four denoise the whole text, and each
    # text is denoised twice.
    "shakespeare": TASK | dict(
        config="nano", n_layer=3, n_head=4, n_embd=128, vocab_size=66, tokenizer="characters", delimiter="none",
        context_length=65, batch_size=16, peer_batch_size=24, peer_width=128, peer_heads=4, validation_fraction=0.1,
        block_lengths=(0, 0, 0, 4), next_token_weight=0.3, complementary=True,
    ),
    # The same text read many times, for a GPU, by a network of the size that nanoGPT has for it (six layers of
    # 384, windows of 256, batches of 64). The next token is learned by heart first, so it has the smallest part.
    "epochs": TASK | dict(
        config="nano", n_layer=6, n_head=6, n_embd=384, vocab_size=66, tokenizer="characters", delimiter="none",
        context_length=256, batch_size=64, peer_batch_size=64, peer_width=384, peer_heads=6, validation_fraction=0.1,
        block_lengths=(0,), next_token_weight=0.1, complementary=True, dropout=0.15, mask_rate_min=0.03,
        mask_rate_max=1.0,
    ),
    # The preset as it is: in half an hour more reviews teach more than more layers or canvases.
    "imdb": TASK | dict(
        config="small", vocab_size=8192, batch_size=8, peer_batch_size=8,
        peer_width=256, peer_heads=4, validation_fraction=0.05,
    ),
}  # fmt: skip
ROW = "{:<10} {:>5} {:>8} {:>7} {:>11} {:>12} {:>8} {:>11} {:>9} {:>6}"


class Bench:
    """One task on one machine: data, limits, and what every arm needs."""

    def __init__(self, arguments: argparse.Namespace, fields: dict[str, Any]) -> None:
        task = dict(TASKS[arguments.task])
        name, self.peer_batch_size = task.pop("config"), task.pop("peer_batch_size")
        self.peer_width, self.peer_heads = task.pop("peer_width"), task.pop("peer_heads")
        self.config = preset(
            name, **task | dict(
                name="quality", data=str(arguments.data), data_folder=str(arguments.data_folder),
                max_minutes=arguments.seconds / 60, eval_every=NEVER, save_every=NEVER, sample_every=NEVER,
                save_minutes=0.0, threads=arguments.threads, trackers=(), eval_texts=1, log_every=100,
            ) | fields
        )  # fmt: skip
        self.seconds, self.draws = arguments.seconds, arguments.draws
        self.device = choose_device(self.config.training.device)
        self.dtype = choose_precision(self.config.training.precision, self.device)
        self.prepared = prepare(open_source(self.config.corpus, 0), self.config)
        self.end = self.prepared.tokenizer.end
        size = self.config.training.batch_size
        held_out = Batches(self.prepared.split("validation"), size, self.end, 0)
        self.held = Held(held_out, arguments.rows, self.config.model.vocab_size)

    def batches(self, seed: int) -> Batches:
        """Training batches of the peers; the same for each of them with this seed."""
        return Batches(self.prepared.split("train"), self.peer_batch_size, self.end, seed)

    def run(self, arm: str, seed: int) -> dict[str, float]:
        """Train one arm; nats a token and the rest of its row."""
        nats: dict[str, float] = {}
        if arm == "sunfish":
            parameters, steps, nats = self._sunfish(seed)
        elif arm == "mdlm":
            m = self.config.model
            parameters = count_parameters(m)
            model = like(m.vocab_size, self.peer_width, self.peer_heads, m.context_length, parameters)
            model.to(self.device)
            average, steps = train(model, self.batches(seed), self.seconds, self.dtype, seed)
            parameters = sum(p.numel() for p in model.parameters())

            def loss(batch: Batch, x_t: torch.Tensor, t: torch.Tensor, block_length: int) -> float:
                return float(average.losses(*(part.to(self.device) for part in (x_t, batch.x0, t))))

            nats = {"full": bound(self.held, loss, 0, self.draws)}
        else:
            if self.device.type != "cpu":
                raise ValueError(
                    f"device is {self.device}, but the arm llama is for a CPU; give --device cpu"
                )
            torch.manual_seed(seed)
            peer = build(self.config.model, count_parameters(self.config.model), self.end)
            batches = self.batches(seed)
            steps = train_llama(
                peer, lambda step: without_prompt(batches.batch(step)), self.seconds, self.dtype, self.end
            )
            parameters = sum(p.numel() for p in peer.parameters())
            nats = {"next": likelihood(peer, map(without_prompt, self.held.batched()), self.end)}
        tokens = self.held.tokens()
        bits = min(nats.values()) / math.log(2) / self.held.bytes()
        return {key: value / tokens for key, value in nats.items()} | {
            "bits": bits, "steps": steps, "parameters": parameters,
        }  # fmt: skip

    def _sunfish(self, seed: int) -> tuple[int, int, dict[str, float]]:
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(self.config.with_fields(seed=seed, checkpoints=folder))
            trainer.run()
        model = trainer.average
        loss = of_sunfish(model)
        nats = {
            "full": bound(self.held, loss, 0, self.draws),
            "block": bound(self.held, loss, 4, self.draws),
            "next": next_token(self.held, model),
        }
        return count_parameters(self.config.model), trainer.step, nats


def parse() -> tuple[argparse.Namespace, dict[str, Any]]:
    """The flags of the benchmark, and the fields that flags of ``sunfish train`` change."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--arms", nargs="+", default=["mdlm", "sunfish"], choices=["mdlm", "sunfish", "llama"]
    )
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--draws", type=int, default=4, help="draws of masks for each held-out row")
    parser.add_argument("--rows", type=int, default=0, help="held-out rows; 0: all")
    parser.add_argument("--data_folder", type=Path, default=Path("data"))
    parser.add_argument("--json", type=Path, help="append a line for each run")
    arguments, chosen = with_training_flags(parser)
    return arguments, given_fields(chosen)


def main() -> None:
    """Parse, train each arm with each seed, print."""
    arguments, fields = parse()
    threads = set_threads(arguments.threads)
    bench = Bench(arguments, fields)
    print(
        f"{arguments.task}: {arguments.seconds:g} s an arm, {bench.device}, {threads} threads, "
        f"{str(bench.dtype).removeprefix('torch.')}, {len(bench.held.batched())} held-out batches, "
        f"sunfish with {fields or 'the defaults'}"
    )
    print(
        ROW.format(
            "arm",
            "seed",
            "M par.",
            "steps",
            "full canvas",
            "block 4",
            "next",
            "bits/byte",
            "seconds",
            "ratio",
        )
    )
    first = math.nan
    for seed in arguments.seeds:
        for arm in arguments.arms:
            found = bench.run(arm, seed)
            full = found.get("full", math.nan)
            first = full if arm == arguments.arms[0] else first
            shown = [
                f"{found[key]:.3f}" if key in found else "-" for key in ("full", "block", "next", "bits")
            ]
            print(
                ROW.format(
                    arm, seed, f"{found['parameters'] / 1e6:.2f}", int(found["steps"]), *shown,
                    f"{arguments.seconds:g}", f"{full / first:.3f}",
                ),
                flush=True,
            )  # fmt: skip
            if arguments.json:
                line = {"task": arguments.task, "arm": arm, "seed": seed, "seconds": arguments.seconds}
                with arguments.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line | {"fields": fields} | found) + "\n")


if __name__ == "__main__":
    main()
