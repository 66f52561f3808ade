"""Owns the claim: from a cold process to a whole text, SunFish is faster than a Llama of its size.

    ./run.sh benchmarks/speed/startup.py checkpoints/micro/last.ckpt --rounds 5

Each run is a process of its own: ``sunfish sample CHECKPOINT --prompt ... --seq_len 64``. The peer is a
cached Llama of the same size with random weights, which the transformers library loads from a safetensors
folder and which generates as many tokens (needs ``./run.sh -m pip install -e '.[hf]'``; ``--no-peer`` leaves
it out).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.children import Child, run_child
from benchmarks.frame import Benchmark, Run
from benchmarks.generation import checkpoint_path, run_name
from benchmarks.peers.llama import build_llama
from benchmarks.timing import interleave, ratio
from sunfish.checkpoint.folder import load_checkpoint

LENGTH = 64
PEER = """
import sys, torch
from transformers import AutoModelForCausalLM
torch.set_num_threads(int(sys.argv[2]))
count = int(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).to(sys.argv[4])
ids = torch.ones(1, 10, dtype=torch.long, device=sys.argv[4])
mask = torch.ones_like(ids)
limits = {"max_new_tokens": count, "min_new_tokens": count}
print(model.generate(ids, attention_mask=mask, do_sample=True, **limits)[0, -1])
"""


def save_peer(checkpoint: Path, folder: str) -> None:
    """Write a Llama of the checkpoint's size with random weights."""
    loaded = load_checkpoint(checkpoint)
    size = sum(parameter.numel() for parameter in loaded.model.parameters())
    build_llama(loaded.config.model, size, loaded.tokenizer.end).save_pretrained(folder)


def measure(run: Run) -> None:
    """Start the processes in turn."""
    checkpoint = checkpoint_path(run)
    length, device = 16 if run.smoke else LENGTH, str(run.device)
    sample = [sys.executable, "-m", "sunfish", "sample", str(checkpoint), "--device", device]
    sample += ["--prompt", "Write a story about a robot", "--seq_len", str(length), "--seed", str(run.seed)]
    commands = {"sunfish": sample}
    run.header(
        torch.float32, f"median of {run.arguments.rounds}", model=run_name(checkpoint), positions=length
    )
    with tempfile.TemporaryDirectory() as folder:
        if run.arguments.peer:
            save_peer(checkpoint, folder)
            llama = [sys.executable, "-c", PEER, folder, str(run.threads), str(length - 1), device]
            commands["llama"] = llama
        threads = {"OMP_NUM_THREADS": str(run.threads)}

        def start(words: list[str], _: int) -> Child:
            return run_child(words, env=threads)

        timed = interleave(
            {name: partial(start, words) for name, words in commands.items()},
            1 if run.smoke else run.arguments.rounds,
            warmup=0 if run.smoke else 1,
        )
    figures: dict[str, float | None] = {}
    for name, arm in timed.items():
        figures[f"{name}_seconds"] = median(child.seconds for child in arm.values)
        figures[f"{name}_peak_mib"] = max(child.peak_bytes for child in arm.values) / 2**20
    if run.arguments.peer:
        figures["ratio"] = ratio(timed["sunfish"].median, timed["llama"].median)
    run.add({}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint, how often."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint folder")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (%(default)s)")
    parser.add_argument(
        "--peer", action=argparse.BooleanOptionalAction, default=True, help="run the Llama too"
    )


benchmark = Benchmark(
    "speed/startup",
    __doc__,
    measure,
    claim="SunFish generates its first text sooner after a cold start",
    peer="a Llama of the same size with random weights, loaded by the transformers library",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
