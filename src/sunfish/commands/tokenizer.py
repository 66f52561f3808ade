"""Train a tokenizer on a corpus, or look at one."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TYPE_CHECKING

from sunfish.commands.flags import add_config_flags, print_json, resolve_config, user_path
from sunfish.commands.parser import Parser
from sunfish.commands.streams import screen_text
from sunfish.utils import UsageError, log

if TYPE_CHECKING:
    from sunfish.tokenizers import TextTokenizer

FIELDS = (
    *("data", "stories", "tokenizer", "text_field", "prompt_field", "prompt_template"),
    *("delimiter", "validation_fraction", "vocab_size", "seed"),
)
TRAINING_TEXTS = 20_000  # that a tokenizer learns from, where it need not see all of them
HELD_OUT = 500  # texts that its compression is measured on


def add(parser: Parser) -> None:
    """The flags of ``sunfish tokenizer``."""
    parser.add_argument(
        "--load",
        metavar="PATH",
        help="look at this tokenizer.json, or vocabulary folder, instead of training one",
    )
    parser.add_argument("--out", metavar="PATH", help="write the trained tokenizer here")
    parser.add_argument("--encode", metavar="TEXT", help="show how a text is cut into tokens")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_flags(parser, FIELDS)


def run(arguments: argparse.Namespace) -> int:
    """Train or load, then say what it is."""
    from sunfish.tokenizers.pretrained import check_readable, read

    result: dict[str, object] = {}
    if arguments.out and user_path(arguments.out).is_dir():
        raise UsageError(f"--out is {arguments.out!r}, a folder; give a file such as tokenizer.json")
    if arguments.load:
        if arguments.out:
            raise UsageError(
                "--load looks at an existing tokenizer, --out writes a new one; give one of the two"
            )
        path = user_path(arguments.load)
        path.stat()  # the system says best why nothing is there
        check_readable(path)
        tokenizer = read(path)
    else:
        tokenizer, result["bytes_per_token"] = _train(arguments)
        if arguments.out:
            path = user_path(arguments.out).absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # what forbids it is said here; the library says it without the name
            tokenizer.save(path)
            log(f"wrote {path}")
        elif arguments.encode is None:
            log("note: nothing was written; give --out tokenizer.json to keep it")
    result = {"size": tokenizer.size, "end": tokenizer.end, **result}
    if arguments.encode is not None:
        ids = tokenizer.encode(arguments.encode)
        result |= {"ids": ids, "tokens": [tokenizer.decode([i]) for i in ids]}
    if arguments.json:
        print_json(result)
        return 0
    rate = result.get("bytes_per_token")
    print(f"{tokenizer.size:,} ids" + (f", {rate:.2f} bytes/token on held-out text" if rate else ""))
    if arguments.encode is not None:
        pieces = "|".join(tokenizer.decode([i]) for i in ids)
        print(f"{len(ids)} tokens: {ids}\n{screen_text(pieces)}")
    return 0


def _train(arguments: argparse.Namespace) -> tuple[TextTokenizer, float]:
    """The trained tokenizer, and its bytes per token on held-out texts."""
    from sunfish.data.sources import open_source
    from sunfish.tokenizers import build_tokenizer, whole_corpus

    config = resolve_config(arguments)
    source = open_source(config.corpus, config.training.seed)
    kind = config.corpus.tokenizer
    limit = None if whole_corpus(kind) else TRAINING_TEXTS
    texts = (part for e in islice(source.examples("train"), limit) for part in (e.prompt, e.text) if part)
    tokenizer = build_tokenizer(kind, config.model.vocab_size, texts)
    held_out = [example.text for example in islice(source.examples("validation"), HELD_OUT)]
    tokens = sum(len(tokenizer.encode(text)) for text in held_out)
    return tokenizer, sum(len(text.encode()) for text in held_out) / max(1, tokens)
