"""The peer: a Llama of the transformers library, of the size of a SunFish checkpoint, trained on the same texts.

    ./run.sh benchmarks/llama.py checkpoints/tiny/last.ckpt --minutes 20 --out llama-tiny

It reads the corpus that the checkpoint was trained on, with its tokenizer, in the same batches: prompt, end mark, text,
end mark; the loss is taken over the text. AdamW (betas 0.9, 0.95, weight decay 0.1), 100 steps of warm-up, linear decay
over the last 40 %, bfloat16 where the machine is fast at it. Needs ``pip install 'sunfish[hf]'``.
benchmarks/sampling_speed.py compares it with the checkpoint.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from sunfish.checkpoint import Loaded, load_checkpoint
from sunfish.data.batches import Batches
from sunfish.data.open import open_source
from sunfish.data.prepare import prepare
from sunfish.devices import choose_precision, set_threads
from sunfish.types import Batch

IGNORED = -100


def build(loaded: Loaded) -> Any:
    """A Llama of the checkpoint's depth, width and vocabulary, its feed-forward as wide as its parameters allow."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = loaded.config.model
    total = sum(parameter.numel() for parameter in loaded.model.parameters())
    attention = 4 * config.n_embd**2 * config.n_layer
    hidden = (total - config.vocab_size * config.n_embd - attention) // (3 * config.n_embd * config.n_layer)
    heads = config.n_head
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size, hidden_size=config.n_embd, intermediate_size=hidden,
            num_hidden_layers=config.n_layer, num_attention_heads=heads, num_key_value_heads=heads,
            tie_word_embeddings=True, max_position_embeddings=config.context_length + config.prompt_length,
            eos_token_id=loaded.tokenizer.end, bos_token_id=loaded.tokenizer.end, pad_token_id=loaded.tokenizer.end,
        )
    )  # fmt: skip


def joined(batch: Batch, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels ``[B, P + N]``: each row's prompt, its text, end marks to the right; only the text has labels."""
    prompts = batch.prompt_mask.sum(1)
    width = int((prompts + batch.lengths).max())
    ids = torch.full((len(prompts), width), end)
    labels = torch.full_like(ids, IGNORED)
    for row, (given, length) in enumerate(zip(prompts.tolist(), batch.lengths.tolist(), strict=True)):
        ids[row, :given] = batch.prompt[row][batch.prompt_mask[row]]
        ids[row, given : given + length] = batch.x0[row, :length]
        labels[row, given + 1 : given + length] = batch.x0[row, 1:length]
    return ids, labels


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--learning_rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--data_folder", default="data")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    threads = set_threads(arguments.threads)
    torch.manual_seed(0)
    loaded = load_checkpoint(arguments.checkpoint)
    config = loaded.config.with_fields(data_folder=arguments.data_folder)
    prepared = prepare(open_source(config.corpus, config.training.seed), config)
    end = prepared.tokenizer.end
    batches = Batches(prepared.split("train"), config.training.batch_size, end, config.training.seed)
    held_out = Batches(prepared.split("validation"), config.training.batch_size, end, config.training.seed)
    model = build(loaded)
    dtype = choose_precision("auto", torch.device("cpu"))
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {threads} threads, {dtype}", flush=True
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), arguments.learning_rate, betas=(0.9, 0.95), weight_decay=0.1
    )

    def loss(batch: Batch) -> torch.Tensor:
        ids, labels = joined(batch, end)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            return model(input_ids=ids, labels=labels).loss

    def validate() -> float:
        nats = tokens = 0.0
        with torch.no_grad():
            for batch in held_out.in_order(config.training.eval_texts, config.training.batch_size):
                count = float((batch.lengths - 1).sum())
                nats, tokens = nats + float(loss(batch)) * count, tokens + count
        return nats / tokens

    begin, step, seen = time.perf_counter(), 0, 0
    while (progress := (time.perf_counter() - begin) / (60 * arguments.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = arguments.learning_rate * min(1, (step + 1) / 100, (1 - progress) / 0.4)
        batch = batches.batch(step)
        value = loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + int(batch.lengths.sum())
        if step % 250 == 0:
            rate = seen / (time.perf_counter() - begin)
            print(f"step {step}: next token {validate():.3f} held out, {rate:,.0f} tokens/s", flush=True)
    print(f"done after {step} steps, {seen:,} tokens of text: next token {validate():.4f} held out")
    model.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
