"""The presets of today against this project's own first ones: the same stories, a half and a quarter of the minutes.

    ./run.sh benchmarks/first_defaults.py runs/first --minutes 20 --shares 0.5 0.25 --threads 1

The peer is the commit FIRST of this repository, taken from its history (`git archive`): its own training, its own
way of writing, its own benchmark, `--config tiny`. Then the source at hand trains for each share of those minutes. Both
print grammar and adherence over guidance scales for the same held-out prompts; the last line is the ratio of the best
products of the two, and 1 or more says that the share was enough. What FOLDER holds already is not trained again;
`--arms first` and `--arms own` in two processes use two cores side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

FIRST = "a7ece46"
HERE = Path(__file__).resolve().parent.parent


def checked_out(folder: Path) -> Path:
    """The source of the commit FIRST, unpacked."""
    if not (folder / "src").exists():
        packed = subprocess.run(
            ["git", "archive", FIRST, "src", "benchmarks"], cwd=HERE, check=True, stdout=subprocess.PIPE
        )
        with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
    return folder


def run(source: Path, words: list[str]) -> None:
    """Python with the packages of ``source``."""
    paths = os.pathsep.join([str(source / "src"), str(source)])
    subprocess.run([sys.executable, *words], check=True, env={**os.environ, "PYTHONPATH": paths})


def measure(
    source: Path, folder: Path, name: str, minutes: float, arguments: argparse.Namespace
) -> list[dict[str, float]]:
    """Train and judge one arm, unless it is there; a row for each scale."""
    checkpoint, result = folder / name / "last.ckpt", folder / f"{name}.json"
    if not checkpoint.exists():
        words = [
            "-m",
            "sunfish",
            "train",
            "--config",
            "tiny",
            "--name",
            name,
            "--max_minutes",
            f"{minutes:g}",
        ]
        words += ["--threads", str(arguments.threads), "--checkpoints", str(folder)]
        run(source, [*words, "--data_folder", str(folder / "data" / source.name)])
    if not result.exists():
        judge = str(source / "benchmarks" / "stories_quality.py")
        scales = [f"{scale:g}" for scale in arguments.scales]
        words = [judge, str(checkpoint), "--texts", str(arguments.texts), "--scales", *scales]
        run(source, [*words, "--show", "1", "--json", str(result)])
    rows: list[dict[str, float]] = json.loads(result.read_text(encoding="utf-8"))
    return rows


def main() -> None:
    """Parse, train, judge, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 1.5, 2, 3])
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--arms", nargs="+", default=["first", "own"], choices=["first", "own"])
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    plan = [("first", checked_out(folder / "source"), 1.0)] if "first" in arguments.arms else []
    if "own" in arguments.arms:
        plan += [(f"own-{share:g}", HERE, share) for share in arguments.shares]
    peer = 0.0
    for name, source, share in plan:
        rows = measure(source, folder, name, share * arguments.minutes, arguments)
        best = max(rows, key=lambda row: row["grammatical"] * row["met"])
        product = best["grammatical"] * best["met"] / 1e4
        peer = product if name == "first" else peer
        print(
            f"{name}: {share * arguments.minutes:g} minutes; best at guidance {best['scale']:g}: grammar "
            f"{best['grammatical']:.1f} %, met {best['met']:.1f} %, product {product:.3f}"
            + (f", ratio {product / peer:.3f}" if peer else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
