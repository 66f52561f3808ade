"""Owns which tables of figures there are, and which results they show. See benchmarks/tables.py."""

from __future__ import annotations

from typing import Any

from benchmarks.table_kinds import Column, Comparison, ComparisonTable, FigureTable, Table

PERCENT, COUNT = "{:.1f}%", "{:,.0f}"
SAMPLING, REAL = "speed/sampling_speed", "quality/real_corpora"
ENGLISH = ("stories", "tinystories", "imdb", "alpaca")
# The included model, which is a `tiny`.
DEMO: dict[str, Any] = {
    "model": "demo",
    "precision": "float32",
    "compile": False,
    "sampler": "verified/8",
    "batch": 1,
    "guidance": 1.0,
}

PEERS = (
    Comparison(
        what="the included `tiny`, tokens/s; a cached Llama in bfloat16",
        name=SAMPLING,
        case=DEMO,
        figure="tokens_per_second",
        peer="llama_bf16_tokens_per_second",
        ratio="ratio_to_llama_bf16",
    ),
    Comparison(
        what="the included `tiny`, tokens/s; the same Llama in float32, its faster form",
        name=SAMPLING,
        case=DEMO,
        figure="tokens_per_second",
        peer="llama_f32_tokens_per_second",
        ratio="ratio_to_llama_f32",
    ),
    Comparison(
        what="`micro`, GFLOP/s of a float32 training step; the machine's matrix product",
        name="speed/training_rate",
        case={"model": "micro", "compile": False},
        figure="gflop_per_second",
        peer="machine_gflop_per_second",
    ),
)

TABLES: dict[str, Table] = {
    # README.md
    "peers": ComparisonTable(PEERS),
    # docs/export.md
    "exports": FigureTable(
        "speed/exports",
        cases=tuple(
            {"model": model, "form": form}
            for model in ("tiny", "small")
            for form in ("pytorch", "float32", "int8")
        ),
        columns=(
            Column("model", "model", "`{}`"),
            Column("form", "form"),
            Column("tokens/s, ratio to PyTorch", "ratio_to_pytorch", "{:.2f}"),
            Column("nats/token", "nats_per_token", "{:.4f}"),
            Column("texts equal to PyTorch's", "same_texts", "{:.0f}%"),
        ),
        shared={"guidance": 3.0},
    ),
    # TRAINING_GUIDE.md
    "real-corpora": FigureTable(
        REAL,
        cases=tuple({"corpus": corpus} for corpus in ENGLISH),
        columns=(
            Column("corpus", "corpus"),
            Column("epochs", "epochs", "{:.1f}"),
            Column("bound, bits/byte", "bound_bits_per_byte", "{:.2f}"),
            Column("block 4", "block_bits_per_byte", "{:.2f}"),
            Column("next token", "bits_per_byte", "{:.2f}"),
            Column("next token, nats/token", "next_token", "{:.2f}"),
            Column("the same on text that was learned", "train_next_token", "{:.2f}"),
            Column("next token is best after epochs", "best_next_token_epochs", "{:.1f}"),
            Column("the right prompt is worth, nats/token", "prompt_gain", "{:.3f}"),
            Column("tokens/s", "tokens_per_second", COUNT),
        ),
        shared={"of": "run", "minutes": 60.0, "size": "small"},
    ),
    "real-corpora-texts": FigureTable(
        REAL,
        cases=tuple(
            {"corpus": corpus, **texts}
            for corpus in ENGLISH
            for texts in ({"of": "held-out texts"}, {"of": "texts", "guidance": 3.0})
        ),
        columns=(
            Column("corpus", "corpus"),
            Column("texts", "of"),
            Column("end within the context", "finished", "{:.0f}%"),
            Column("different 3-grams", "distinct_3", PERCENT),
            Column("4-grams that the text had before", "repeated_4", PERCENT),
            Column("8-grams of the training text", "copied_8", PERCENT),
        ),
        shared={"minutes": 60.0, "size": "small"},
    ),
    "real-corpora-prompts": FigureTable(
        REAL,
        cases=tuple(
            {"corpus": corpus, **texts}
            for corpus in ("stories", "tinystories", "alpaca")
            for texts in ({"of": "held-out texts"}, {"of": "texts", "guidance": 3.0})
        ),
        columns=(
            Column("corpus", "corpus"),
            Column("texts", "of"),
            Column("words of the prompt in the text", "mentioned", "{:.0f}%"),
            Column("words of another prompt", "mentioned_shuffled", "{:.0f}%"),
        ),
        shared={"minutes": 60.0, "size": "small"},
    ),
    # docs/training.md
    "kills": FigureTable(
        "robustness/kills",
        cases=({"steps": 200},),
        columns=(
            Column("kills", "kills", COUNT),
            Column("in preparation", "in_preparation", COUNT),
            Column("in steps", "in_steps", COUNT),
            Column("in saves", "in_saves", COUNT),
            Column("in validation", "in_validation", COUNT),
            Column("elsewhere", "in_other", COUNT),
            Column("resumes", "resumes", COUNT),
            Column("runs", "runs", COUNT),
            Column("runs with a fault", "runs_with_faults", COUNT),
        ),
    ),
    "full-disk": FigureTable(
        "robustness/full_disk",
        cases=tuple({"method": method, "steps": 6} for method in ("pages", "inodes", "calls")),
        columns=(
            Column("what runs out", "method"),
            Column("positions", "positions", COUNT),
            Column("with a fault", "with_faults", COUNT),
        ),
    ),
    "mutations": FigureTable(
        "robustness/mutations",
        cases=({"kind": "all"},),
        columns=(
            Column("mutants", "mutants", COUNT),
            Column("commands", "commands", COUNT),
            Column("same result", "unharmed", COUNT),
            Column("refused in a line", "refused", COUNT),
            Column("traceback", "traceback", COUNT),
            Column("crash", "crash", COUNT),
            Column("hang", "hang", COUNT),
            Column("gigabytes", "memory", COUNT),
            Column("other result", "result", COUNT),
            Column("code run", "code", COUNT),
        ),
    ),
}
