"""Owns the claim: SunFish generates more tokens a second than a cached Llama of its size, and texts as good.

    ./run.sh benchmarks/speed/sampling_speed.py checkpoints/tiny/last.ckpt --llama llama-tiny

The peer is what benchmarks/peers/llama.py trained: a ``LlamaForCausalLM`` of the checkpoint's size, on the
same texts for the same minutes, with its key/value cache in bfloat16 and float32; without ``--llama`` it has
random weights and only its speed counts. All generate the same held-out prompts in turn, ``--batch`` at a
time. The oracle of the built-in stories judges the texts, and so does ``--judge``, another checkpoint, whose
causal pass says exactly how likely each text is given its prompt (nats/token). With ``--compile`` the
checkpoint's passes are compiled, and the peer is measured compiled as well. A likelier text may just be a
duller one, so the entropy of the tokens (bits of the unigram distribution over all texts) and the percentage
of distinct trigrams are reported too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    checkpoint_path,
    num_texts,
    open_pipeline,
    run_name,
    story_prompts,
    weights_dtype,
)
from benchmarks.metrics import distinct_ngrams, finished, judge_nats, oracle_figures, unigram_entropy
from benchmarks.peers.llama import open_llama
from benchmarks.timing import Timed, interleave, ratio
from sunfish.config import GenerationConfig
from sunfish.model.transformer import count_parameters
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline

SAMPLERS = (
    "verified/1",
    "verified/4",
    "verified/8",
    "verified/8/0.5",
    "verified/16",
    "verified:1/4",
    "leftmost/4",
    "prefix:0.8/8",
    "threshold:0.9/8",
    "entropy:0.1/8",
    "confidence/8",
)
SMOKE_SAMPLERS = ("verified/4", "leftmost/4")
PEERS = {"llama_bf16": torch.bfloat16, "llama_f32": torch.float32}
Write = Callable[[list[str], int], list[Generated]]


def llama_writer(model: Any, pipeline: Pipeline, temperature: float) -> Write:
    """How the peer generates: prompt, end mark, then tokens until the end mark."""
    tokenizer, limit = pipeline.tokenizer, pipeline.model.config.context_length
    end, spare = tokenizer.end, list(range(tokenizer.size, model.config.vocab_size))

    def write(prompts: list[str], seed: int) -> list[Generated]:
        torch.manual_seed(seed)
        rows = [[*tokenizer.encode(prompt), end] for prompt in prompts]
        width = max(len(row) for row in rows)
        ids = torch.tensor([[end] * (width - len(row)) + row for row in rows])  # padding on the left, hidden
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        with torch.no_grad():
            new = model.generate(
                ids.to(pipeline.device),
                attention_mask=mask.to(pipeline.device),
                max_new_tokens=limit - 1,
                do_sample=True,
                top_k=0,
                temperature=temperature,
                use_cache=True,
                eos_token_id=end,
                pad_token_id=end,
                suppress_tokens=spare or None,
            )[:, width:].tolist()
        return [pipeline.decode(row, prompt) for row, prompt in zip(new, prompts, strict=True)]

    return write


def sampler_writer(pipeline: Pipeline, name: str, temperature: float, guidance: float) -> Write:
    """How a sampler NAME/BLOCK_LENGTH or NAME/BLOCK_LENGTH/LENIENCE generates."""
    sampler, block, *lenience = name.split("/")
    config = GenerationConfig(
        sampler=sampler,
        block_length=int(block),
        temperature=temperature,
        lenience=float(lenience[0]) if lenience else 1.0,
        guidance_scale=guidance,
    )
    return lambda prompts, seed: pipeline.generate(prompts, config, seed=seed, batch_size=len(prompts))


def llama_writers(run: Run, pipeline: Pipeline) -> dict[str, Write]:
    """Every form of the peer."""
    arguments, size = run.arguments, count_parameters(pipeline.model.config)
    peer = open_llama(arguments.llama, pipeline)
    share = sum(p.numel() for p in peer.parameters()) / size
    run.say(f"{size:,} parameters; the peer has {share:.2f} times as many")
    writers: dict[str, Write] = {}
    for name, dtype in PEERS.items():
        writers[name] = llama_writer(deepcopy(peer).to(run.device, dtype), pipeline, arguments.temperature)
        if arguments.compile:
            copy = deepcopy(peer).to(run.device, dtype)
            copy.forward = torch.compile(copy.forward, dynamic=True)
            writers[f"{name}_compiled"] = llama_writer(copy, pipeline, arguments.temperature)
    return writers


def texts_of(arm: Timed[list[Generated]]) -> list[Generated]:
    """All texts of one arm."""
    return [text for batch in arm.values for text in batch]


def tokens_per_second(arm: Timed[list[Generated]]) -> float:
    """Generated tokens a second, end marks included."""
    return sum(text.tokens + text.finished for text in texts_of(arm)) / sum(arm.seconds)


def text_figures(
    texts: list[Generated], pipeline: Pipeline, judge: Pipeline | None
) -> dict[str, float | None]:
    """What the texts are like."""
    return {
        **oracle_figures(pipeline, texts),
        "finished": finished(texts),
        "entropy": unigram_entropy(texts),
        "distinct_3": distinct_ngrams(texts),
        "judge": judge_nats(judge, texts) if judge else None,
    }


def measure(run: Run) -> None:
    """Generate with everything in turn, judge."""
    arguments = run.arguments
    pipeline = open_pipeline(run, arguments.compile)
    judge = Pipeline.from_checkpoint(arguments.judge, run.device) if arguments.judge else None
    run.header(
        weights_dtype(pipeline),
        model=run_name(checkpoint_path(run)),
        precision=arguments.precision,
        compile=arguments.compile,
        batch=arguments.batch,
        guidance=arguments.guidance,
        temperature=arguments.temperature,
    )
    peers = llama_writers(run, pipeline)
    writers = dict(peers)
    for name in SMOKE_SAMPLERS if run.smoke else arguments.samplers:
        writers[name] = sampler_writer(pipeline, name, arguments.temperature, arguments.guidance)
    prompts = story_prompts(num_texts(run))
    batches = [prompts[first : first + arguments.batch] for first in range(0, len(prompts), arguments.batch)]

    def write_batch(write: Write, number: int) -> list[Generated]:
        return write(batches[number], run.seed + number)

    timed = interleave(
        {name: partial(write_batch, write) for name, write in writers.items()},
        len(batches),
        clock=run.clock,
    )
    speeds = {name: tokens_per_second(arm) for name, arm in timed.items()}
    for name, arm in timed.items():
        figures: dict[str, float | None] = {"tokens_per_second": speeds[name]}
        for peer in peers:
            figures[f"{peer}_tokens_per_second"] = speeds[peer]
            figures[f"ratio_to_{peer}"] = ratio(speeds[name], speeds[peer])
        if arguments.llama or name not in peers:  # what an untrained peer generates says nothing
            figures |= text_figures(texts_of(arm), pipeline, judge)
        run.add({"sampler": name}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What generates, and how."""
    add_checkpoint_flags(parser, texts=60)
    parser.add_argument("--llama", type=Path, help="what benchmarks/peers/llama.py saved")
    parser.add_argument("--judge", type=Path, help="another checkpoint, trained apart")
    parser.add_argument("--batch", type=int, default=1, help="texts at a time (%(default)s)")
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance scale (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.5, help="(%(default)s)")
    parser.add_argument("--compile", action="store_true", help="the checkpoint's passes, and two more peers")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, metavar="SAMPLER/BLOCK_LENGTH[/LENIENCE]")


benchmark = Benchmark(
    "speed/sampling_speed",
    __doc__,
    measure,
    claim="speculative decoding with one network generates faster than one token at a time",
    peer="a Llama of the transformers library of the same size, with a key/value cache",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
