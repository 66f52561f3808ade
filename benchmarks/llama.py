"""The peer: a Llama of the transformers library, of the size of a SunFish checkpoint, trained on the same texts.

    ./run.sh benchmarks/llama.py checkpoints/tiny/last.ckpt --minutes 20 --out llama-tiny

It reads the corpus that the checkpoint was trained on, with its tokenizer, in the same batches: prompt, end mark, text,
end mark; the loss is taken over the text. AdamW (betas 0.9, 0.95, weight decay 0.1), 100 steps of warm-up, linear decay
over the last 40 %, bfloat16 where the machine is fast at it. Needs ``./run.sh -m pip install -e '.[hf]'``.
benchmarks/sampling_speed.py compares it with the checkpoint.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config import ModelConfig
from sunfish.data.dataloader import Batches
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.open import open_source
from sunfish.hardware.device import choose_precision, set_threads
from sunfish.types import Batch

IGNORED = -100


def build(config: ModelConfig, parameters: int, end: int) -> Any:
    """A Llama of this depth, width and vocabulary, its feed-forward as wide as ``parameters`` allow."""
    from transformers import LlamaConfig, LlamaForCausalLM

    attention = 4 * config.n_embd**2 * config.n_layer
    hidden = (parameters - config.vocab_size * config.n_embd - attention) // (
        3 * config.n_embd * config.n_layer
    )
    heads = config.n_head
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size, hidden_size=config.n_embd, intermediate_size=hidden,
            num_hidden_layers=config.n_layer, num_attention_heads=heads, num_key_value_heads=heads,
            tie_word_embeddings=True, max_position_embeddings=config.context_length + config.prompt_length,
            eos_token_id=end, bos_token_id=end, pad_token_id=end,
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


def without_prompt(batch: Batch) -> Batch:
    """The same texts, their prompts hidden."""
    return batch._replace(prompt_mask=torch.zeros_like(batch.prompt_mask))


def likelihood(model: Any, batches: Iterable[Batch], end: int) -> float:
    """Nats of all texts, each given its prompt."""
    total = 0.0
    with torch.no_grad():
        for batch in batches:
            ids, labels = joined(batch, end)
            total += float(model(input_ids=ids, labels=labels).loss) * float((batch.lengths - 1).sum())
    return total


def train_llama(
    model: Any,
    batch_of: Callable[[int], Batch],
    seconds: float,
    dtype: torch.dtype,
    end: int,
    rate: float = 3e-3,
    report: Callable[[int], None] = lambda step: None,
) -> int:
    """Train for ``seconds`` of wall clock on ``batch_of(step)``. Returns the number of steps."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.95), weight_decay=0.1)
    begin, step = time.perf_counter(), 0
    while (progress := (time.perf_counter() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100, (1 - progress) / 0.4)
        ids, labels = joined(batch_of(step), end)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        report(step)
    return step


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
    model = build(config.model, sum(p.numel() for p in loaded.model.parameters()), end)
    dtype = choose_precision("auto", torch.device("cpu"))
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {threads} threads, {dtype}", flush=True
    )

    def held() -> float:
        rows = list(held_out.in_order(config.training.eval_texts, config.training.batch_size))
        return likelihood(model, rows, end) / sum(int((batch.lengths - 1).sum()) for batch in rows)

    def report(step: int) -> None:
        if step % 250 == 0:
            print(f"step {step}: next token {held():.3f} held out", flush=True)

    steps = train_llama(
        model, batches.batch, 60 * arguments.minutes, dtype, end, arguments.learning_rate, report
    )
    print(f"done after {steps} steps: next token {held():.4f} held out")
    model.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
