"""Every family of diffusion, the same size, the same minutes, the same stories: what each learns and writes.

    ./run.sh benchmarks/families.py checkpoints/families --minutes 15 --threads 1 --plot docs/images/families.png

Trains each family that FOLDER does not hold yet (`tiny`; one after another; for two at a time run it twice with
--families), and prints, on held-out stories and test prompts: the proven bound in nats a token at the full canvas and at
block lengths 16, 4 and 1 (the cross-entropy where there is no bound); the exact next-token likelihood; tokens a second of
training; then for each block length the share of grammatical sentences and of met demands with the family's own exact
sampler, and with `verified`, which all share. The peer is masked diffusion, named first; the last column is the ratio.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import by_oracle, ratio
from pictures import picture, pyplot, save

from sunfish.checkpoint.folder import LAST, load_checkpoint
from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.config.sampling import SamplingSettings
from sunfish.data.dataloader import Batches
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.open import open_source
from sunfish.data.stories import story
from sunfish.hardware.device import set_threads
from sunfish.sampling.pipeline import Generated, Pipeline
from sunfish.training.evaluation import validate

# What each family changes in `tiny`, and its own exact sampler. The decoder takes one of its layers: the same size.
READING = str(preset("tiny").model.n_layer - 1)
FAMILIES: dict[str, tuple[list[str], str]] = {
    "masked": ([], "ancestral"),
    "mixed": (["--process", "mixed"], "ancestral"),
    "uniform": (["--process", "uniform"], "ancestral"),
    "gaussian": (["--process", "gaussian"], "ancestral"),
    "decoder": (["--n_layer", READING, "--n_decoder_layer", "1"], "ancestral"),
}
ROW = "{:>10} {:>12} {:>6} {:>9} {:>7} {:>7} {:>17}"


def train(folder: Path, name: str, arguments: argparse.Namespace) -> None:
    """Train one family, unless it is there."""
    if (folder / name / LAST).exists():
        return
    words = [sys.executable, "-m", "sunfish", "train", "--config", "tiny", "--name", name, *FAMILIES[name][0]]
    words += ["--max_minutes", str(arguments.minutes), "--threads", str(arguments.threads)]
    words += ["--checkpoints", str(folder), "--data_folder", str(arguments.data_folder)]
    subprocess.run(words, check=True)


def speed(folder: Path) -> float:
    """Tokens of text a second over the run, validation and samples included."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if "tokens" in line][-1]
    return last["tokens"] / (60 * last["minutes"])


def likelihoods(pipeline: Pipeline, config: Config, texts: int) -> dict[str, float]:
    """Nats a token: the bound (or the cross-entropy) at each block length, and the next token's."""
    prepared = prepare(open_source(config.corpus, config.training.seed), config)
    batches = Batches(prepared.split("validation"), 8, prepared.tokenizer.end, 0)
    found: dict[str, float] = {}
    for block in (16, 4, 1):
        one = validate(pipeline.model, pipeline.process, batches, texts, 8, (block,), torch.float32)
        found |= {"full": one.bound, str(block): one.block_bound, "next": one.next_token}
    return found


def write(
    pipeline: Pipeline, prompts: list[str], settings: SamplingSettings
) -> tuple[list[Generated], float]:
    """A text for each prompt, and seconds a text."""
    begin = time.perf_counter()
    texts = pipeline.generate(prompts, settings=settings, batch_size=20)
    return texts, (time.perf_counter() - begin) / len(prompts)


def main() -> None:
    """Parse, train, judge, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--num_steps", type=int, default=16)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--data_folder", type=Path, default=Path("data"))
    parser.add_argument("--plot", type=picture)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    prompts = [story(1, "test", number).prompt for number in range(arguments.texts)]
    rows: list[dict[str, float | str]] = []
    for name in arguments.families:
        train(arguments.folder, name, arguments)
        folder = arguments.folder / name / LAST
        pipeline = Pipeline.from_checkpoint(folder)
        found = likelihoods(pipeline, load_checkpoint(folder).config, 128)
        kind = "bound" if pipeline.process.has_bound else "cross-entropy, no bound"
        print(
            f"\n{name}: {kind} {found['full']:.3f} (full), {found['16']:.3f} (16), {found['4']:.3f} (4), "
            f"{found['1']:.3f} (1); next token {found['next']:.3f}; {speed(arguments.folder / name):,.0f} tokens/s"
        )
        print(ROW.format("family", "sampler", "block", "grammar %", "met %", "s/text", "grammar : masked"))
        own = FAMILIES[name][1]
        for sampler, block in [*((own, block) for block in arguments.blocks), ("verified", 8)]:
            settings = SamplingSettings(arguments.num_steps, block, sampler)
            texts, seconds = write(pipeline, prompts, settings)
            grammar, met = by_oracle(texts)
            rows.append({"family": name, "sampler": sampler, "block": block, "grammar": grammar, "met": met})
            of_masked = [r for r in rows if (r["family"], r["block"]) == ("masked", block)]
            compared = ratio(grammar, float(of_masked[0]["grammar"])) if of_masked else "-"
            print(
                ROW.format(name, sampler, block, f"{grammar:.1f}", f"{met:.1f}", f"{seconds:.2f}", compared)
            )
            print(f"    {texts[0].prompt}\n    {texts[0].text[:400]}", flush=True)
    if arguments.plot:
        draw(rows, arguments.plot)


def draw(rows: list[dict[str, float | str]], path: Path) -> None:
    """Grammar over the block length, a line for each family; verified as the last group."""
    figure, axes = pyplot().subplots(figsize=(7, 4.2))
    for name in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == name]
        labels = ["verified" if row["sampler"] == "verified" else f"own, block {row['block']}" for row in own]
        axes.plot(labels, [row["grammar"] for row in own], marker="o", label=name)
    axes.set(ylabel="grammatical sentences, %", ylim=(0, 102), title="Families, tiny, the same minutes")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    save(figure, path)


if __name__ == "__main__":
    main()
