"""What one-pass guidance costs and gives: a distilled checkpoint beside its teacher, guided and unguided.

    ./run.sh benchmarks/one_pass.py checkpoints/tiny/last.ckpt checkpoints/tiny-one-pass/last.ckpt --scales 2 3

The same held-out prompts, one text at a time, in turn, so that the machine's moods hit all alike. The ratio is the median
time of a token to that of the teacher at scale 1, which runs one pass (the peer).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from common import by_oracle

from sunfish.data.stories import story
from sunfish.hardware.device import set_threads
from sunfish.sampling.pipeline import Generated, Pipeline

ROW = "{:<26} {:>9} {:>7} {:>9} {:>7}"


def main() -> None:
    """Write with each in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", type=Path)
    parser.add_argument("student", type=Path)
    parser.add_argument("--scales", type=float, nargs="+", default=[2.0, 3.0])
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    teacher, student = (
        Pipeline.from_checkpoint(arguments.teacher),
        Pipeline.from_checkpoint(arguments.student),
    )
    ways = {"teacher, scale 1": (teacher, 1.0)}
    for scale in arguments.scales:
        ways[f"teacher, scale {scale:g}"] = (teacher, scale)
        ways[f"student, scale {scale:g}"] = (student, scale)
    texts: dict[str, list[Generated]] = {name: [] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(arguments.texts):
        prompt = story(1, "test", number).prompt
        for name, (pipeline, scale) in ways.items():
            begin = time.perf_counter()
            text = pipeline.generate([prompt], guidance_scale=scale, seed=number)[0]
            seconds[name].append((time.perf_counter() - begin) / max(1, text.tokens))
            texts[name].append(text)
    print(ROW.format("", "ms/token", "ratio", "grammar %", "met %"))
    peer = median(seconds["teacher, scale 1"])
    for name in ways:
        good, met = by_oracle(texts[name])
        own = median(seconds[name])
        print(ROW.format(name, f"{1000 * own:.2f}", f"{own / peer:.2f}", f"{good:.1f}", f"{met:.1f}"))


if __name__ == "__main__":
    main()
