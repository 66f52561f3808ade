"""From a cold process to a whole text: seconds and peak memory of one command, again and again.

    ./run.sh benchmarks/startup.py checkpoints/micro/last.ckpt --runs 5

Each run is a process of its own: ``sunfish sample CHECKPOINT --prompt ... --seq_len 64``. The peer is a cached Llama of
the same size with random weights, loaded from a safetensors folder by the transformers library, that writes as much
(needs ``./run.sh -m pip install -e '.[hf]'``; ``--no-peer`` leaves it out). The last column is the ratio of the median
times.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PEER = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
ids = torch.ones(1, 10, dtype=torch.long)
mask, count = torch.ones_like(ids), 63
print(model.generate(ids, attention_mask=mask, max_new_tokens=count, min_new_tokens=count, do_sample=True)[0, -1])
"""


def measure(words: list[str], runs: int) -> tuple[float, float]:
    """Median seconds of ``runs`` processes, and the largest resident memory of any child so far, in MB."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return median(seconds), peak / (1024 if sys.platform == "linux" else 1024**2)


def main() -> None:
    """Time both, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    words = [sys.executable, "-m", "sunfish", "sample", str(arguments.checkpoint)]
    words += ["--prompt", "Write a story about a robot", "--seq_len", "64"]
    own, memory = measure(words, arguments.runs)
    print(
        f"{arguments.checkpoint}: a text after {own:.2f} s, {memory:,.0f} MB at most (median of {arguments.runs})"
    )
    if arguments.peer:
        from llama import build

        from sunfish.checkpoint.folder import load_checkpoint

        with tempfile.TemporaryDirectory() as folder:
            loaded = load_checkpoint(arguments.checkpoint)
            size = sum(parameter.numel() for parameter in loaded.model.parameters())
            build(loaded.config.model, size, loaded.tokenizer.end).save_pretrained(folder)
            peer, together = measure([sys.executable, "-c", PEER, folder], arguments.runs)
        note = f"{together:,.0f} MB" if together > memory else "no more memory"
        print(f"transformers Llama of its size: {peer:.2f} s, {note}; ratio {own / peer:.2f}")


if __name__ == "__main__":
    main()
