"""Write texts, with a prompt or without, from a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sunfish.commands.display import save_gif, show, watch
from sunfish.commands.flags import WrongUse
from sunfish.commands.sampling_flags import add_common, open_pipeline, stepped_sampler
from sunfish.utils import log

if TYPE_CHECKING:
    from sunfish.sampling.pipeline import Generated

TERMINAL_MASK, GIF_MASK = "▒", " __"  # the picture's font has no shades


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sunfish sample``."""
    add_common(parser)
    parser.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT", help="what to write about; repeatable"
    )
    parser.add_argument("--prompt-file", metavar="PATH", help="a file with one prompt on each line")
    parser.add_argument(
        "--seq-len",
        type=int,
        metavar="N",
        help="positions of a text, its start mark included (the model's context)",
    )
    parser.add_argument(
        "--mode", choices=("generate", "infill"), default="generate", help="write, or fill the gaps of --text"
    )
    parser.add_argument(
        "--best-of", type=int, default=1, metavar="N",
        help="draft N texts for each one and keep the one that answers its prompt best (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--watch", action="store_true", help="show one text as it condenses out of the masks, step by step"
    )
    parser.add_argument("--gif", metavar="PATH", help="keep what --watch shows as an animated picture")
    parser.add_argument("--text", metavar="TEXT", help="for --mode infill: a text with [MASK] or [MASK:5]")


def run(arguments: argparse.Namespace) -> int:
    """Write the texts."""
    if arguments.mode == "infill":
        if arguments.text is None:
            raise WrongUse(
                '--mode infill needs --text with a gap, for example --text "The [MASK] fell asleep."'
            )
        for flag in ("prompt_file", "seq_len", "watch", "gif"):
            if getattr(arguments, flag):
                raise WrongUse(f"--mode infill takes no --{flag}")
        if len(arguments.prompt) > 1 or arguments.best_of != 1:
            raise WrongUse("--mode infill takes one --prompt and no --best_of")
        return run_infill(arguments, arguments.text, arguments.prompt[0] if arguments.prompt else "")
    if arguments.text is not None:
        raise WrongUse("--text belongs to --mode infill; a prompt is given with --prompt")
    prompts = prompts_of(arguments)
    rows = [prompt for prompt in prompts for _ in range(arguments.num_samples)]
    if arguments.best_of < 1:
        raise WrongUse(f"best_of is {arguments.best_of}, but at least 1 text has to be drafted")
    if arguments.best_of > 1 and not all(prompts):
        raise WrongUse("--best_of needs a --prompt; without one no text answers it better than another")
    for flag in ("watch", "gif"):
        if getattr(arguments, flag) and len(rows) * arguments.best_of != 1:
            raise WrongUse(f"--{flag} shows one text, but {len(rows) * arguments.best_of} were asked for")
    if arguments.gif and Path(arguments.gif).suffix.lower() != ".gif":
        raise WrongUse(f"--gif is {arguments.gif!r}; give a file name that ends in .gif")
    pipeline, settings, scale = open_pipeline(arguments, any(prompts))
    if pipeline is None:
        return 0
    limit = pipeline.model.config.context_length
    length = limit if arguments.seq_len is None else arguments.seq_len
    if length < 2:
        raise WrongUse(f"seq_len is {length}, but a text has at least 2 positions, its start mark included")
    if arguments.watch or arguments.gif:
        states: Iterable[Generated] = pipeline.stream(
            rows[0], guidance_scale=scale, seq_len=length, settings=settings, seed=arguments.seed,
            mask=GIF_MASK if arguments.gif else TERMINAL_MASK,
        )  # fmt: skip
        if arguments.gif:
            states = list(states)
            save_gif(states, Path(arguments.gif))
            log(f"wrote {arguments.gif}")
        texts = [watch(states) if arguments.watch else list(states)[-1]]
    else:
        texts = pipeline.generate(
            rows, guidance_scale=scale, seq_len=length, settings=settings, seed=arguments.seed,
            best_of=arguments.best_of,
        )  # fmt: skip
    show(texts, arguments.json)
    cut = sum(not text.finished for text in texts)
    if cut:
        more = (
            f"allow more with --seq_len ({limit} is the model's context; above that it forgets the beginning)"
            if length <= limit else "allow more with --seq_len, or try another --seed"
        )  # fmt: skip
        log(f"note: {cut} of {len(texts)} texts did not finish within {length} positions; {more}")
    return 0


def run_infill(arguments: argparse.Namespace, text: str, prompt: str) -> int:
    """Fill the gaps of ``text``."""
    if "[MASK" not in text:
        raise WrongUse(f"the text {text[:40]!r} has no [MASK] to fill; mark each gap with [MASK] or [MASK:5]")
    if arguments.block_length is not None:
        raise WrongUse("gaps are filled in one block, the whole text; leave out --block_length")
    if arguments.compile:
        raise WrongUse(
            "gaps are filled in passes over the whole text, which gain nothing: leave out --compile"
        )
    arguments.sampler = (
        arguments.sampler or arguments.scheduler or stepped_sampler(Path(arguments.checkpoint))
    )
    if arguments.sampler.partition(":")[0] == "verified":
        raise WrongUse(
            f"--sampler {arguments.sampler} writes from left to right and fills no gap; use leftmost or another"
        )
    pipeline, settings, scale = open_pipeline(arguments, bool(prompt))
    if pipeline is None:
        return 0
    from sunfish.sampling.infilling import infill, parse

    try:
        parse(text)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    texts = infill(
        pipeline, text, prompt=prompt, guidance_scale=scale, settings=settings, seed=arguments.seed,
        num_samples=arguments.num_samples,
    )  # fmt: skip
    show(texts, arguments.json)
    return 0


def prompts_of(arguments: argparse.Namespace) -> list[str]:
    """The prompts in their order; a single empty one where none is given."""
    prompts = list(arguments.prompt)
    if arguments.prompt_file:
        prompts += read_prompts(Path(arguments.prompt_file))
    return prompts or [""]


def read_prompts(path: Path) -> list[str]:
    """The lines of ``path`` that are not blank. ``ValueError`` where there is none."""
    found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not found:
        raise ValueError(f"{path} holds no prompt; write one on each line")
    return found
