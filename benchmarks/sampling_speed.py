"""Tokens a second of each sampler against a cached Llama of the transformers library, and what the texts are like.

    ./run.sh benchmarks/sampling_speed.py checkpoints/tiny/last.ckpt --llama llama-tiny --judge OTHER_CHECKPOINT

The peer is what benchmarks/llama.py trained: a ``LlamaForCausalLM`` of the checkpoint's size, on the same texts for
the same minutes, with its key/value cache in bfloat16 and float32; without ``--llama`` it has random weights and only
its speed is told. Texts are written for held-out prompts, ``--batch`` at a time, in one run on one machine. They are
judged by the oracle of the built-in stories and by ``--judge``, another checkpoint, whose memory says exactly how
likely each text is given its prompt (nats a token; the smaller, the likelier). With ``--compile`` the checkpoint's
passes are compiled, and the peer stands there compiled as well. Since a likelier text may just be a
duller one, the entropy of the tokens (bits of the unigram distribution over all texts) and the share of distinct
trigrams stand beside it. All write in turn, batch by batch; ratios are to each form of the peer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from common import by_oracle, distinct, entropy, nats, share
from llama import build

from sunfish.config.sampling import SamplingSettings
from sunfish.data.stories import story
from sunfish.hardware.device import set_threads
from sunfish.model.transformer import count_parameters
from sunfish.sampling.pipeline import Generated, Pipeline

SAMPLERS = (
    "verified/1", "verified/4", "verified/8", "verified/8/0.5", "verified/16", "verified:1/4", "leftmost/4",
    "prefix:0.8/8", "threshold:0.9/8", "entropy:0.1/8", "confidence/8",
)  # fmt: skip
Write = Callable[[list[str], int], list[Generated]]
PEERS = {"bf16": torch.bfloat16, "f32": torch.float32}
HEAD = (
    "tokens/s", "s/text", "grammar %", "met %", "finished%", "judge", "entropy", "distinct3",
)  # fmt: skip
COLUMNS = "{:>8} {:>7} {:>9} {:>6} {:>9} {:>6} {:>8} {:>9}"


def of_peer(model: Any, pipeline: Pipeline, temperature: float) -> Write:
    """How the peer writes: prompt, end mark, then tokens until the end mark."""
    end, limit = pipeline.tokenizer.end, pipeline.model.config.context_length
    size = pipeline.tokenizer.size

    def write(prompts: list[str], seed: int) -> list[Generated]:
        torch.manual_seed(seed)
        rows = [[*pipeline.tokenizer.encode(prompt), end] for prompt in prompts]
        width = max(len(row) for row in rows)
        ids = torch.tensor(
            [[end] * (width - len(row)) + row for row in rows]
        )  # padded on the left, and hidden
        seen = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        with torch.no_grad():
            found = model.generate(
                ids, attention_mask=seen, max_new_tokens=limit - 1, do_sample=True, top_k=0,
                temperature=temperature, use_cache=True, eos_token_id=end, pad_token_id=end,
                suppress_tokens=list(range(size, model.config.vocab_size)) or None,
            )[:, width:].tolist()  # fmt: skip
        kept = [row[: row.index(end)] if end in row else row for row in found]
        return [
            Generated(pipeline.tokenizer.decode(own), prompt, end in row, len(own), own)
            for own, prompt, row in zip(kept, prompts, found, strict=True)
        ]

    return write


def of_sampler(pipeline: Pipeline, name: str, temperature: float, guidance: float) -> Write:
    """How a sampler NAME/BLOCK_LENGTH or NAME/BLOCK_LENGTH/LENIENCE writes."""
    sampler, block, *rest = name.split("/")
    lenience = float(rest[0]) if rest else 1.0
    settings = SamplingSettings(
        sampler=sampler, block_length=int(block), temperature=temperature, lenience=lenience
    )
    return lambda prompts, seed: pipeline.generate(
        prompts, guidance_scale=guidance, settings=settings, seed=seed
    )


def race(
    writers: dict[str, Write], prompts: list[str], batch: int
) -> tuple[dict[str, list[Generated]], dict[str, float]]:
    """What each writes for the prompts, ``batch`` at a time, and the seconds it takes."""
    for write in writers.values():
        write(prompts[:batch], 0)  # what is set up once is not timed
    texts: dict[str, list[Generated]] = {name: [] for name in writers}
    seconds = dict.fromkeys(writers, 0.0)
    for first in range(0, len(prompts), batch):
        for name, write in writers.items():  # in turn, so that a slow minute of the machine is everyone's
            begin = time.perf_counter()
            texts[name] += write(prompts[first : first + batch], first)
            seconds[name] += time.perf_counter() - begin
    return texts, seconds


def figures(texts: list[Generated], judge: Pipeline | None) -> list[str]:
    """What the texts are like, for the table."""
    good, met = by_oracle(texts)
    return [
        f"{good:.1f}", f"{met:.1f}", f"{share([t.finished for t in texts]):.0f}",
        f"{nats(judge, texts):.3f}" if judge else "-", f"{entropy(texts):.2f}", f"{distinct(texts):.0f}",
    ]  # fmt: skip


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--llama", type=Path, help="what benchmarks/llama.py saved")
    parser.add_argument("--judge", type=Path, help="another checkpoint, trained apart")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1, help="texts that are written together")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="float32", help="of the checkpoint: float32, bfloat16 or int8")
    parser.add_argument("--compile", action="store_true", help="the checkpoint's passes, and two more peers")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, metavar="SAMPLER/BLOCK_LENGTH[/LENIENCE]")
    return parser.parse_args()


def main() -> None:
    """Parse, write with everything, print."""
    arguments = parse()
    threads = set_threads(arguments.threads)
    pipeline = Pipeline.from_checkpoint(
        arguments.checkpoint, precision=arguments.precision, compile=arguments.compile
    )
    judge = Pipeline.from_checkpoint(arguments.judge) if arguments.judge else None
    own = count_parameters(pipeline.model.config)
    peer = build(pipeline.model.config, own, pipeline.tokenizer.end).eval()
    if arguments.llama:
        peer = type(peer).from_pretrained(arguments.llama, dtype=torch.float32).eval()
    share_of_size = sum(p.numel() for p in peer.parameters()) / own
    print(
        f"{arguments.checkpoint}: {own:,} parameters, the peer has {share_of_size:.2f} of them; {threads} threads, "
        f"batch {arguments.batch}, guidance {arguments.guidance:g}, temperature {arguments.temperature:g}, "
        f"{arguments.texts} prompts"
    )
    peers: dict[str, Write] = {}
    for form in ("", "+compile") if arguments.compile else ("",):
        for name, dtype in PEERS.items():
            copy = deepcopy(peer).to(dtype)
            if form:
                copy.forward = torch.compile(copy.forward, dynamic=True)
            peers[name + form] = of_peer(copy, pipeline, arguments.temperature)
    writers = {f"Llama {name}": write for name, write in peers.items()}
    print(f"{'':<24}", *(f"{'/' + name:>13}" for name in peers), COLUMNS.format(*HEAD))
    for name in arguments.samplers:
        writers[name] = of_sampler(pipeline, name, arguments.temperature, arguments.guidance)
    prompts = [story(1, "test", index).prompt for index in range(arguments.texts)]
    texts, seconds = race(writers, prompts, arguments.batch)

    rates = {name: sum(t.tokens + t.finished for t in own) / seconds[name] for name, own in texts.items()}
    rates_of_peers = list(rates.values())[: len(peers)]
    for place, (name, written) in enumerate(texts.items()):
        # what an untrained peer writes says nothing
        said = figures(written, judge) if arguments.llama or place >= len(peers) else ["-"] * 6
        ratios = (f"{rates[name] / rate:>13.2f}" for rate in rates_of_peers)
        each = f"{seconds[name] / len(written):.2f}"
        print(f"{name:<24}", *ratios, COLUMNS.format(f"{rates[name]:.0f}", each, *said))


if __name__ == "__main__":
    main()
