"""Tokens a second of each sampler against a cached Llama of the transformers library, and what the text is like.

    ./run.sh benchmarks/sampling_speed.py checkpoints/small/last.ckpt --texts 40 --guidance 1

The peer is a ``LlamaForCausalLM`` of the checkpoint's depth, width and vocabulary, its feed-forward widened until it
has as many parameters, in bfloat16 and float32 with its key/value cache; its weights are random, since speed does not
depend on them, and it writes as many tokens as the first sampler's texts have. Needs ``pip install 'sunfish[hf]'``.
Texts are written one at a time (batch 1) for prompts of the held-out split; the oracle of the built-in stories
judges them. Ratios are to the faster peer, in the same run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from common import share

from sunfish.data.stories import story
from sunfish.data.stories.oracle import check, grammatical
from sunfish.devices import set_threads
from sunfish.pipeline import Pipeline
from sunfish.sampling import SamplingSettings

SAMPLERS = (
    "leftmost/4", "verified/1", "verified/4", "verified/8", "verified/16", "prefix:0.8/8", "threshold:0.9/8",
    "entropy:0.1/8", "confidence/8",
)  # fmt: skip


def llama(pipeline: Pipeline, dtype: torch.dtype):
    """A peer of the same size as the pipeline's model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = pipeline.model.config
    total = sum(parameter.numel() for parameter in pipeline.model.parameters())
    attention = 4 * config.n_embd**2 * config.n_layer
    hidden = (total - config.vocab_size * config.n_embd - attention) // (3 * config.n_embd * config.n_layer)
    peer = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size, hidden_size=config.n_embd, intermediate_size=hidden,
            num_hidden_layers=config.n_layer, num_attention_heads=config.n_head, tie_word_embeddings=True,
            max_position_embeddings=2 * config.context_length, eos_token_id=None, bos_token_id=0, pad_token_id=0,
        )
    )  # fmt: skip
    return peer.to(dtype).eval(), sum(parameter.numel() for parameter in peer.parameters()) / total


def main() -> None:
    """Parse, write with everything, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, metavar="SAMPLER/BLOCK_LENGTH")
    arguments = parser.parse_args()
    threads = set_threads(0)
    pipeline = Pipeline.from_checkpoint(arguments.checkpoint)
    prompts = [story(1, "test", index).prompt for index in range(arguments.texts)]

    def write(name: str, count: int = arguments.texts) -> tuple[list, float]:
        sampler, block = name.rsplit("/", 1)
        settings = SamplingSettings(
            sampler=sampler, block_length=int(block), temperature=arguments.temperature
        )
        begin = time.perf_counter()
        texts = pipeline.generate(
            prompts[:count], guidance_scale=arguments.guidance, settings=settings, batch_size=1
        )
        return texts, time.perf_counter() - begin

    some = write(arguments.samplers[0], 4)[0]
    length = sum(text.tokens for text in some) // len(some)
    fastest = 0.0
    for dtype in (torch.bfloat16, torch.float32):
        peer, size = llama(pipeline, dtype)
        start = torch.zeros(1, 16, dtype=torch.long)  # a prompt of ordinary length
        rates = []
        for tokens in (8, *[length] * 7):  # the first to warm up
            begin = time.perf_counter()
            with torch.no_grad():
                peer.generate(
                    start, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True, use_cache=True
                )
            rates.append(tokens / (time.perf_counter() - begin))
        rate = median(rates[1:])
        fastest = max(fastest, rate)
        name = str(dtype).removeprefix("torch.")
        print(
            f"transformers Llama, {size:.2f} of the parameters, {name}, cached: {rate:.0f} tokens/s (median of 7 texts)"
        )
    print(f"{arguments.checkpoint}: {threads} threads, batch 1, guidance {arguments.guidance:g}")
    print(
        f"{'sampler/block':<18} {'tokens/s':>9} {'ratio':>6} {'s/text':>7} {'grammar %':>10} {'met %':>6} "
        f"{'finished %':>11}"
    )
    for name in arguments.samplers:
        texts, seconds = write(name)
        rate = sum(text.tokens for text in texts) / seconds
        good = share([ok for text in texts for _, ok in grammatical(text.text)])
        met = share([ok for text in texts for ok in check(text.prompt, text.text).values()])
        finished = share([text.finished for text in texts])
        print(
            f"{name:<18} {rate:9.0f} {rate / fastest:6.2f} {seconds / len(texts):7.2f} {good:10.1f} {met:6.1f} "
            f"{finished:11.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
