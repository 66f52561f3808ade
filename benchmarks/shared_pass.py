"""What verified writing could gain if judging a draft and drafting the next block shared one pass.

    ./run.sh benchmarks/shared_pass.py checkpoints/small/last.ckpt

The next draft is of use only where the whole draft before it is accepted; else it begins at the wrong place, and
has to be made again. So a shared pass of 2 L positions takes the place of a canvas pass and a reading pass of L in the
share ``a`` of the rounds that accept everything, and elsewhere of a reading pass only. The script measures the passes
after 64 remembered tokens and ``a`` on held-out prompts, and prints the time of a round now, and with a shared pass,
and their ratio (the peer is the loop as it is; above 1 sharing would pay).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from sunfish.data.stories import story
from sunfish.devices import set_threads
from sunfish.pipeline import Pipeline
from sunfish.sampling import SamplingSettings


def milliseconds(run: Callable[[], object], times: int = 60) -> float:
    """Median time of a call."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - begin))
    return median(found[times // 4 :])


@torch.no_grad()
def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--block_lengths", type=int, nargs="+", default=[4, 8, 16])
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    pipeline = Pipeline.from_checkpoint(arguments.checkpoint)
    prompts = [story(1, "test", index).prompt for index in range(arguments.texts)]
    for length in arguments.block_lengths:
        settings = SamplingSettings(block_length=length)
        rounds = whole = tokens = 0
        for number, prompt in enumerate(prompts):
            guided, cond = pipeline.guided([prompt], arguments.guidance, settings)
            states = pipeline._snapshots([prompt], arguments.guidance, 256, settings, number, 0)
            for state in states:
                if state.done and state.start:
                    rounds, tokens = rounds + 1, tokens + state.x.shape[1]
                    whole += state.x.shape[1] == length
        past, _ = guided.remember(torch.full((1, 64), 5), cond)

        def canvas(n: int, past=past, guided=guided, cond=cond) -> Callable[[], object]:  # type: ignore[no-untyped-def]
            x = torch.full((1, n), pipeline.model.table.shape[0] - 1)
            return lambda: guided(x, torch.ones(x.shape), cond, past, 64)

        def read(n: int, past=past, guided=guided, cond=cond) -> Callable[[], object]:  # type: ignore[no-untyped-def]
            x = torch.full((1, n), 7)
            return lambda: guided.remember(x, cond, past)

        share = whole / rounds
        drafted, judged, shared = (
            milliseconds(run) for run in (canvas(length), read(length), read(2 * length))
        )
        now, then = drafted + judged, shared + (1 - share) * drafted
        print(
            f"block length {length}: {tokens / rounds:.2f} tokens a round, {share:.2f} of the rounds accept all; canvas "
            f"{drafted:.2f} ms, reading {judged:.2f}, both in one {shared:.2f}; a round {now:.2f}, shared {then:.2f}: "
            f"ratio {now / then:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
