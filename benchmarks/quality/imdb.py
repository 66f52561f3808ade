"""Owns the claim: a film review has the sentiment that its prompt asked for.

    ./run.sh benchmarks/quality/imdb.py --reviews imdb/train.jsonl --prepare reviews.jsonl
    ./run.sh train.py --config small --name imdb --data reviews.jsonl --max_minutes 30 \\
        --prompt_template "Write a {sentiment} review"
    ./run.sh benchmarks/quality/imdb.py checkpoints/imdb/last.ckpt --reviews imdb/train.jsonl

``--prepare`` writes the reviews of at most 800 characters, for training, and stops. Otherwise a classifier
(TF-IDF and logistic regression of scikit-learn) learns from the *longer* reviews only, none of which the
language model saw. It reports the accuracy on real short reviews (the peer), and, for each guidance scale,
the percentage of generated reviews whose sentiment it agrees with; 50% is chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    add_generation_flags,
    at_each_scale,
    checkpoint_path,
    generation_config,
    num_texts,
    open_pipeline,
    plot_scales,
    run_name,
    weights_dtype,
)
from benchmarks.metrics import distinct_texts, percent
from benchmarks.smoke import smoke_jsonl
from benchmarks.timing import ratio
from sunfish.sampling.generated import Generated
from sunfish.utils import UsageError, how_to_install, log

LONGEST = 800  # characters of a review that is learned
REAL_REVIEWS = 2000  # short ones that measure the classifier
SENTIMENTS = {"pos": "positive", "neg": "negative"}
Record = dict[str, str]
Predict = Callable[[Sequence[str]], list[str]]


def read_reviews(run: Run) -> list[Record]:
    """Records with ``text`` and ``label``: pos or neg."""
    path = run.arguments.reviews
    if path is None and run.smoke:
        words = {"pos": "A fine and moving film. ", "neg": "A dull and empty film. "}
        records = [
            {"label": label, "text": text * n} for label, text in words.items() for n in (3, 4, 5, 60, 70, 80)
        ]
        path = smoke_jsonl("reviews", records)
    if path is None:
        raise UsageError("reviews is missing; give --reviews, a .jsonl file with text and label (pos or neg)")
    with path.open(
        encoding="utf-8"
    ) as file:  # str.splitlines would also split at characters inside the reviews
        return [json.loads(line) for line in file]


def prepare(reviews: list[Record], target: Path) -> None:
    """Write the short reviews with the sentiment in words."""
    kept = [r for r in reviews if len(r["text"]) <= LONGEST]
    lines = [json.dumps({"sentiment": SENTIMENTS[r["label"]], "text": r["text"]}) for r in kept]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    log(f"{len(kept)} reviews of at most {LONGEST} characters: {target}")


def train_classifier(reviews: list[Record]) -> tuple[Predict, float]:
    """A classifier that learned from the longer reviews, and its accuracy on short ones in percent."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as why:
        raise ImportError(f"the judge needs scikit-learn; install it with: {how_to_install('eval')}") from why
    longer = [r for r in reviews if len(r["text"]) > LONGEST]
    shorter = [r for r in reviews if len(r["text"]) <= LONGEST][:REAL_REVIEWS]
    classifier = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000),
    )
    classifier.fit([r["text"] for r in longer], [r["label"] for r in longer])
    accuracy = 100 * float(classifier.score([r["text"] for r in shorter], [r["label"] for r in shorter]))
    return lambda texts: list(classifier.predict(texts)), accuracy


def measure(run: Run) -> None:
    """Train the classifier, generate at each scale, compare."""
    arguments, reviews = run.arguments, read_reviews(run)
    if arguments.prepare:
        prepare(reviews, arguments.prepare)
        return
    predict, accuracy = train_classifier(reviews)
    pipeline = open_pipeline(run)
    labels = list(SENTIMENTS) * max(1, num_texts(run) // 2)
    prompts = [f"Write a {SENTIMENTS[label]} review" for label in labels]
    run.header(
        weights_dtype(pipeline),
        f"{generation_config(arguments)}",
        model=run_name(checkpoint_path(run)),
        texts=len(prompts),
    )

    def opinion(text: Generated) -> str:
        return f"the classifier says {predict([text.text])[0]}"

    for scale, texts, _ in at_each_scale(run, pipeline, prompts, opinion):
        agrees = [a == b for a, b in zip(predict([text.text for text in texts]), labels, strict=True)]
        run.add(
            {"guidance": scale},
            {
                "agreed": percent(agrees),
                "positive": percent(agrees[0::2]),
                "negative": percent(agrees[1::2]),
                "real_reviews": accuracy,
                "ratio": ratio(percent(agrees), accuracy),
                "distinct": distinct_texts(texts),
            },
        )
    plot_scales(run, {"agreed": "sentiment as asked for", "real_reviews": "real reviews"}, "IMDb")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What generates, and the reviews."""
    add_checkpoint_flags(parser, texts=200)
    add_generation_flags(parser, scales=(0, 1, 1.5, 2, 4, 7))
    parser.add_argument("--reviews", type=Path, help="train.jsonl of IMDb")
    parser.add_argument("--prepare", type=Path, metavar="PATH", help="write the short reviews here and stop")


benchmark = Benchmark(
    "quality/imdb",
    __doc__,
    measure,
    claim="reviews have the sentiment that was asked for",
    peer="real reviews, as the classifier judges them",
    add_flags=add_flags,
    plots=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
