"""Prepare a corpus, and report what was kept, cut and left out."""

from __future__ import annotations

import argparse
from dataclasses import fields

from sunfish.commands.flags import add_config_flags, print_config, print_json, resolve_config
from sunfish.commands.parser import Parser
from sunfish.commands.streams import screen_text
from sunfish.config import DataConfig
from sunfish.config.rules import check_at_least

FIELDS = [f.name for f in fields(DataConfig)] + ["vocab_size", "context_length", "prompt_length", "seed"]


def add(parser: Parser) -> None:
    """The flags of ``sunfish data``."""
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print N training examples with their prompts"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and stop"
    )
    add_config_flags(parser, FIELDS)


def run(arguments: argparse.Namespace) -> int:
    """Prepare (or open what was prepared) and report."""
    check_at_least(arguments, 0, "show")
    from sunfish.tokenizers import check_tokenizer

    config = resolve_config(arguments)
    check_tokenizer(config.corpus.tokenizer, config.model.vocab_size)
    if arguments.print_config:
        print_config(config)
        return 0
    from sunfish.data.dataset import report
    from sunfish.data.prepare.prepare import prepare
    from sunfish.data.sources import open_source

    prepared = prepare(open_source(config.corpus, config.training.seed), config)
    split = prepared.split("train")
    decode = prepared.tokenizer.decode
    examples = [
        {"prompt": decode(split.prompt(i).tolist()), "text": decode(split.row(i).tolist())}
        for i in range(min(arguments.show, len(split)))
    ]
    if arguments.json:
        print_json({"folder": str(prepared.folder), "manifest": prepared.manifest, "examples": examples})
        return 0
    print(report(prepared))
    for example in examples:
        print(screen_text(f"\n> {example['prompt']}\n{example['text']}"))
    return 0
