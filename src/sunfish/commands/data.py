"""Prepare a corpus, and report what was kept, cut and left out."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields

from sunfish.commands.flags import add_config_flags, print_config, print_json, resolve_config
from sunfish.commands.parser import Parser
from sunfish.commands.streams import screen_text
from sunfish.config import Config, DataConfig
from sunfish.config.rules import check_at_least, shown
from sunfish.utils import UsageError

FIELDS = [f.name for f in fields(DataConfig)] + ["vocab_size", "context_length", "prompt_length", "seed"]


def add(parser: Parser) -> None:
    """The flags of ``sunfish data``."""
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print N training examples with their prompts"
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="encode the part of machine I of N, from 0; when all have, run without --shard",
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
    if arguments.shard is not None:
        return _prepare_shards(config, arguments)
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


def _prepare_shards(config: Config, arguments: argparse.Namespace) -> int:
    """Encode the shards of one machine and say what is next."""
    from sunfish.data.prepare.machine import prepare_shards
    from sunfish.data.sources import open_source

    machine = _machine(arguments.shard)
    if arguments.show:
        raise UsageError("show has no effect with shard: there is no corpus yet; leave it out")
    written = prepare_shards(open_source(config.corpus, config.training.seed), config, machine)
    folder = str(written.shards.folder)
    if arguments.json:
        print_json({"shards": folder, "documents": written.documents})
        return 0
    print(f"{folder}: {written.documents:,} documents encoded as machine {arguments.shard}")
    print("when every machine is done, the same command without --shard writes the corpus")
    return 0


def _machine(spelling: str) -> tuple[int, int]:
    """The number of a machine and how many there are, as ``--shard`` spells them."""
    match = re.fullmatch(r"(\d+)/(\d+)", spelling, re.ASCII)
    if match is None or int(match[1]) >= int(match[2]):
        raise UsageError(f"shard is {shown(spelling)}; give I/N with I from 0 to N - 1, such as 0/4")
    return int(match[1]), int(match[2])
