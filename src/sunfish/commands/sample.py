"""Write texts, with a prompt or without, from a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sunfish.commands.flags import WrongUse, note, print_config
from sunfish.commands.show import save_gif, show, watch
from sunfish.config import Config

if TYPE_CHECKING:
    from sunfish.pipeline import Generated, Pipeline
    from sunfish.sampling import SamplingSettings

# The defaults of sunfish.sampling.SamplingSettings, whose import would load torch; a test compares them.
DEFAULTS: dict[str, Any] = {
    "num_steps": 20, "block_length": 8, "sampler": "verified", "temperature": 0.5, "plausibility": 0.3,
    "negative_prompt": "", "also": (), "guidance_interval": (0.0, 1.0),
    "guidance_schedule": "constant", "revisions": 0, "top_p": 1.0,
}  # fmt: skip
CHECKPOINT = "checkpoints/last.ckpt"
GUIDANCE = 3.0
TERMINAL_MASK, GIF_MASK = "▒", " __"  # the picture's font has no shades
STEPPED = "leftmost"  # where gaps are filled, or denoising steps are asked for


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


def add_common(parser: argparse.ArgumentParser) -> None:
    """What sampling and infilling have in common."""
    parser.add_argument("checkpoint", nargs="?", default=CHECKPOINT, help="checkpoint (%(default)s)")
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="texts for each prompt (%(default)s)"
    )
    parser.add_argument("--guidance-scale", type=float, metavar="FLOAT",
                        help=f"0 ignores the prompt, 1 follows it, above 1 insists ({GUIDANCE})")  # fmt: skip
    helps = {
        "num_steps": f"denoising steps of each block; takes --sampler {STEPPED} where none is given",
        "block_length": "tokens denoised together; 0: the whole text",
        "sampler": "verified (drafts, then checks), leftmost (reading order), prefix:0.5, threshold:0.9, entropy:0.1 "
        "(several at once where sure), confidence, remask:0.05, first-hitting or ancestral (exact)",
        "temperature": "below 1 is safer, 0 takes the likeliest",
        "negative_prompt": "what guidance above 1 shall lead away from",
        "also": "a further prompt and its weight beside --prompt, whose weight is 1; repeatable",
        "guidance_interval": "the part of the denoising, from 0 (all noise) to 1, in which guidance is on",
        "guidance_schedule": "constant, or rising: from 1 at the beginning of each block to the full scale at its end",
        "revisions": "rounds in which the memory reads each block and the canvas writes anew what is unlikely",
        "top_p": "draw only among the likeliest tokens that together have this probability",
        "plausibility": "guidance may only choose tokens of this share of the likeliest one's probability; 0: any",
    }
    for name, default in DEFAULTS.items():
        flag, kind = "--" + name.replace("_", "-"), type(default)
        text = f"{helps[name]} ({default})" if default not in ("", ()) else helps[name]
        options: dict[str, Any]
        if name == "also":
            options = {"action": "append", "nargs": 2, "metavar": ("TEXT", "WEIGHT")}
        elif name == "guidance_interval":
            options = {"type": float, "nargs": 2, "metavar": ("FROM", "TO")}
        else:
            options = {"type": kind, "metavar": kind.__name__.upper()}
        parser.add_argument(flag, help=text, **options)
    parser.add_argument(
        "--fast", action="store_true", help="the setting for under a second that sunfish bench found"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed writes the same (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (%(default)s)")
    parser.add_argument("--cpu", action="store_true", help="the same as --device cpu")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--print-config", action="store_true", help="print the checkpoint's configuration and stop"
    )


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
    if not 2 <= length <= limit:
        raise WrongUse(f"seq_len is {length}, but this model writes between 2 and {limit} tokens")
    if arguments.watch or arguments.gif:
        states: Iterable[Generated] = pipeline.stream(
            rows[0], guidance_scale=scale, seq_len=length, settings=settings, seed=arguments.seed,
            mask=GIF_MASK if arguments.gif else TERMINAL_MASK,
        )  # fmt: skip
        if arguments.gif:
            states = list(states)
            save_gif(states, Path(arguments.gif))
            note(f"wrote {arguments.gif}")
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
            f"allow more with --seq_len (this model writes up to {limit})" if length < limit
            else "that is all that this model can write; try another --seed, or a model of longer context"
        )  # fmt: skip
        note(f"note: {cut} of {len(texts)} texts did not finish within {length} positions; {more}")
    return 0


def run_infill(arguments: argparse.Namespace, text: str, prompt: str) -> int:
    """Fill the gaps of ``text``."""
    if "[MASK" not in text:
        raise WrongUse(f"the text {text[:40]!r} has no [MASK] to fill; mark each gap with [MASK] or [MASK:5]")
    if arguments.block_length is not None:
        raise WrongUse("gaps are filled in one block, the whole text; leave out --block_length")
    arguments.sampler = arguments.sampler or STEPPED
    if arguments.sampler == "verified":
        raise WrongUse(
            "--sampler verified writes from left to right and fills no gap; use leftmost or another"
        )
    pipeline, settings, scale = open_pipeline(arguments, bool(prompt))
    if pipeline is None:
        return 0
    from sunfish.infill import infill, parse

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


def open_pipeline(
    arguments: argparse.Namespace, prompted: bool
) -> tuple[Pipeline | None, SamplingSettings, float]:
    """The loaded model (``None`` after ``--print-config``), the settings and the guidance scale."""
    if arguments.num_samples < 1:
        raise WrongUse(f"num_samples is {arguments.num_samples}, but it must be at least 1")
    scale = arguments.guidance_scale
    guides = prompted or bool(arguments.negative_prompt)
    from sunfish.generation import BEST, FAST, read_generation

    path = Path(arguments.checkpoint)
    usual = read_generation(path, FAST if arguments.fast else BEST)
    if scale is None:
        scale = (
            usual.guidance_scale if guides else 0.0
        )  # without a prompt both sides of guidance are the same
    if not 0 <= scale < float("inf"):
        raise WrongUse(f"guidance_scale is {scale}: give 0 (ignore the prompt), 1 (follow it) or more")
    if arguments.negative_prompt and scale <= 1:
        raise WrongUse(f"--negative_prompt needs a --guidance_scale above 1; it is {scale:g}")
    if not guides and scale > 0:
        note("note: guidance needs a prompt (--prompt); without one it changes nothing")
        scale = 0.0
    from sunfish.checkpoint import read_about
    from sunfish.devices import choose_device
    from sunfish.pipeline import Pipeline

    given = {name: value for name in DEFAULTS if (value := getattr(arguments, name)) is not None}
    if arguments.also:
        if not prompted:
            raise WrongUse("--also stands beside a --prompt; give one")
        given["also"] = tuple((text, weight_of(text, weight)) for text, weight in arguments.also)
    if arguments.guidance_interval:
        given["guidance_interval"] = tuple(arguments.guidance_interval)
    stepped = arguments.guidance_interval or arguments.revisions or arguments.guidance_schedule == "rising"
    if stepped and usual.settings.sampler == "verified":
        given.setdefault("sampler", STEPPED)  # verified has no denoising steps, and reads every token anyway
    if "num_steps" in given and given.get("sampler", usual.settings.sampler) == "verified":
        if "sampler" not in given:
            given["sampler"] = STEPPED
        else:
            raise WrongUse(
                "--sampler verified has no denoising steps; leave out --num_steps or choose another"
            )
    try:
        settings = replace(usual.settings, **given)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    if arguments.print_config:
        print_config(Config.from_dict(read_about(path)["config"]))
        return None, settings, scale
    return (
        Pipeline.from_checkpoint(path, choose_device("cpu" if arguments.cpu else arguments.device)),
        settings,
        scale,
    )


def weight_of(text: str, weight: str) -> float:
    """The weight of the further prompt ``text``; ``WrongUse`` where it is none."""
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise WrongUse(f"--also {text[:40]!r} has weight {weight!r}; give a number above 0, such as 0.5")
    return number
