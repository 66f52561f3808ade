"""Film reviews on demand: does a classifier find the sentiment that the prompt asked for?

    ./run.sh benchmarks/imdb.py prepare imdb/train.jsonl reviews.jsonl
    ./run.sh train.py --config small --name imdb --data reviews.jsonl --max_minutes 30 \\
        --prompt_template "Write a {sentiment} review"
    ./run.sh benchmarks/imdb.py judge checkpoints/imdb/last.ckpt --reviews imdb/train.jsonl

``prepare`` keeps reviews of at most 800 characters. ``judge`` trains a classifier (TF-IDF and logistic regression of
scikit-learn) on the *longer* reviews only, none of which the language model saw, prints its accuracy on real short
reviews (the peer), and then, for each guidance scale, the share of generated reviews whose sentiment it
agrees with; 50 % is chance.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import Writer, add_sampling_flags, share
from pictures import plot

LONGEST = 800  # characters
WORDS = {"pos": "positive", "neg": "negative"}


def read(path: Path) -> list[dict[str, str]]:
    """The records of a JSON-lines file."""
    with path.open(
        encoding="utf-8"
    ) as file:  # str.splitlines would also cut at characters inside the reviews
        return [json.loads(line) for line in file]


def prepare(arguments: argparse.Namespace) -> None:
    """Write the short reviews with the sentiment in words."""
    kept = [r for r in read(arguments.source) if len(r["text"]) <= LONGEST]
    lines = [json.dumps({"sentiment": WORDS[r["label"]], "text": r["text"]}) for r in kept]
    arguments.target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(kept)} reviews of at most {LONGEST} characters: {arguments.target}")


def judge(arguments: argparse.Namespace) -> None:
    """Train the classifier, let the checkpoint write, compare."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    records = read(arguments.reviews)
    longer = [r for r in records if len(r["text"]) > LONGEST]
    shorter = [r for r in records if len(r["text"]) <= LONGEST][:2000]
    classifier = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000),
    )
    classifier.fit([r["text"] for r in longer], [r["label"] for r in longer])
    accuracy = 100 * classifier.score([r["text"] for r in shorter], [r["label"] for r in shorter])
    print(
        f"classifier: trained on {len(longer)} longer reviews, {accuracy:.1f} % right on {len(shorter)} real short ones"
    )
    writer = Writer(arguments)
    labels = ["pos", "neg"] * (arguments.texts // 2)
    prompts = [f"Write a {WORDS[label]} review" for label in labels]
    print(f"{arguments.checkpoint}: {len(prompts)} reviews, {writer.settings}")
    print("guidance   agreed %   positive %   negative %   ratio to real reviews   distinct %")
    rows, shown = [], []
    for scale in arguments.scales:
        texts = writer.write(prompts, scale)
        right = [a == b for a, b in zip(classifier.predict([t.text for t in texts]), labels, strict=True)]
        agreed, positive, negative = share(right), share(right[0::2]), share(right[1::2])
        distinct = 100 * len({text.text for text in texts}) / len(texts)
        rows.append({"scale": scale, "agreed": agreed, "real": accuracy, "distinct": distinct})
        print(
            f"{scale:8g} {agreed:10.1f} {positive:12.1f} {negative:12.1f} {agreed / accuracy:23.2f} {distinct:12.0f}",
            flush=True,
        )
        shown += [(scale, text) for text in texts[: arguments.show]]
    for scale, text in shown:
        print(f"\n[guidance {scale:g}] {text.prompt}\n  {text.text}")
    if arguments.plot:
        lines = {"agreed": "sentiment as asked for", "real": "real reviews"}
        plot(rows, lines, arguments.plot, f"IMDb: {len(prompts)} generated reviews")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    """Parse and dispatch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("prepare")
    first.add_argument("source", type=Path)
    first.add_argument("target", type=Path)
    first.set_defaults(run=prepare)
    second = commands.add_parser("judge")
    add_sampling_flags(second)
    second.add_argument("--reviews", type=Path, required=True)
    second.set_defaults(run=judge)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
