"""Owns the peer: a Llama of the transformers library, of a checkpoint's size, trained on the same texts.

    ./run.sh benchmarks/peers/llama.py checkpoints/tiny/last.ckpt --minutes 20 --out llama-tiny

It reads the corpus that the checkpoint was trained on, with its tokenizer, in the same batches: prompt, end
mark, text, end mark; the loss is taken over the text. AdamW (betas 0.9, 0.95, weight decay 0.1), 100 steps of
warm-up, linear decay over the last 40%. Needs ``./run.sh -m pip install -e '.[hf]'``.
benchmarks/speed/sampling_speed.py compares it with the checkpoint.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import checkpoint_path
from benchmarks.smoke import smoke_folder
from benchmarks.timing import ratio
from benchmarks.workload import held_out_batches, prepared_corpus, train_batches
from sunfish.checkpoint.folder import Checkpoint, load_checkpoint
from sunfish.config import Config, ModelConfig
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedCorpus
from sunfish.hardware.device import autocast, choose_precision
from sunfish.model.transformer import count_parameters
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.evaluation import validate
from sunfish.types import Batch

IGNORED = -100
LEARNING_RATE = 3e-3
REPORT_EVERY = 250  # steps
SMOKE_SECONDS = 0.05


def build_llama(config: ModelConfig, parameters: int, end: int, marks: int = 0) -> Any:
    """A Llama of this depth, width and vocabulary, its feed-forward as wide as ``parameters`` allow.

    ``marks`` ids follow those of the vocabulary.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    attention = 4 * config.n_embd**2 * config.n_layer
    hidden = (parameters - config.vocab_size * config.n_embd - attention) // (
        3 * config.n_embd * config.n_layer
    )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size + marks,
            hidden_size=config.n_embd,
            intermediate_size=hidden,
            num_hidden_layers=config.n_layer,
            num_attention_heads=config.n_head,
            num_key_value_heads=config.n_head,
            tie_word_embeddings=True,
            max_position_embeddings=config.context_length + config.prompt_length + marks,
            eos_token_id=end,
            bos_token_id=end,
            pad_token_id=end,
        )
    )


def open_llama(path: Path | None, pipeline: Pipeline, marks: int = 0) -> Any:
    """The Llama that is saved at ``path``; None: one of random weights, of the size of the checkpoint."""
    config = pipeline.model.config
    model = build_llama(config, count_parameters(config), pipeline.tokenizer.end, marks)
    if path is not None:
        model = type(model).from_pretrained(path, dtype=torch.float32)
    return model.to(pipeline.device).eval()


def join_prompts(batch: Batch, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels ``[B, P + N]``: each row's prompt, its text, end marks; only the text has labels."""
    rows = [
        torch.cat([prompt[mask], text[:length]])
        for prompt, mask, text, length in zip(
            batch.prompt, batch.prompt_mask, batch.x0, batch.lengths.tolist(), strict=True
        )
    ]
    return pad_texts(rows, batch.prompt_mask.sum(1).tolist(), end)


def pad_texts(
    rows: Sequence[torch.Tensor], prompts: Sequence[int], end: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels ``[B, N]`` of rows; no labels have prompts of so many ids, the mark after each, and what pads."""
    ids = pad_sequence(list(rows), batch_first=True, padding_value=end)
    place = torch.arange(ids.shape[1], device=ids.device)
    first, last = (
        torch.tensor(list(counts), device=ids.device)[:, None] for counts in (prompts, map(len, rows))
    )
    return ids, ids.masked_fill((place <= first) | (place >= last), IGNORED)


def hide_prompts(batch: Batch) -> Batch:
    """The same texts, their prompts hidden."""
    return batch._replace(prompt_mask=torch.zeros_like(batch.prompt_mask))


@torch.no_grad()
def total_nats(model: Any, batches: Iterable[Batch], end: int) -> float:
    """Nats of all texts, each given its prompt."""
    total = 0.0
    for batch in batches:
        ids, labels = join_prompts(batch, end)
        total += float(model(input_ids=ids, labels=labels).loss) * float((batch.lengths - 1).sum())
    return total


def train_llama(
    model: Any,
    rows_of: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    seconds: float,
    dtype: torch.dtype,
    learning_rate: float = LEARNING_RATE,
    on_step: Callable[[int], None] = lambda step: None,
) -> int:
    """Train on the ids and labels ``rows_of(step)`` for ``seconds`` of wall clock. Returns the number of steps."""
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    begin, step = time.perf_counter(), 0
    while (progress := (time.perf_counter() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 100, (1 - progress) / 0.4)
        ids, labels = rows_of(step)
        with autocast(ids.device, dtype):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        on_step(step)
    return step


class Lesson(NamedTuple):
    """An untrained Llama, what it is to learn, and how long."""

    checkpoint: Checkpoint  # whose size, corpus and batches it has
    config: Config
    prepared: PreparedCorpus
    batches: BatchLoader
    held_out: list[Batch]  # on the device
    model: Any
    seconds: float
    dtype: torch.dtype


def open_lesson(run: Run, marks: int = 0) -> Lesson:
    """The Llama of the checkpoint that the command line names, with ``marks`` further ids; prints the header."""
    checkpoint = load_checkpoint(checkpoint_path(run), run.device)
    folder = checkpoint.config.corpus.data_folder if run.smoke else str(run.arguments.data_folder)
    config = checkpoint.config.with_fields(data_folder=folder)
    settings, prepared = config.training, prepared_corpus(config)
    parameters = sum(p.numel() for p in checkpoint.model.parameters())
    torch.manual_seed(settings.seed)
    model = build_llama(config.model, parameters, prepared.tokenizer.end, marks).to(run.device)
    count = sum(p.numel() for p in model.parameters())
    dtype = choose_precision(settings.precision, run.device)
    run.header(dtype, f"{count:,} parameters, the checkpoint {parameters:,}", model=settings.name)
    held_out = held_out_batches(prepared, settings.batch_size)
    return Lesson(
        checkpoint,
        config,
        prepared,
        train_batches(prepared, settings.batch_size, settings.seed),
        [batch.to(run.device) for batch in held_out.in_order(settings.eval_texts, settings.batch_size)],
        model,
        SMOKE_SECONDS if run.smoke else 60 * run.arguments.minutes,
        dtype,
    )


def measure(run: Run) -> None:
    """Train, compare the next-token likelihood with the checkpoint's, save."""
    lesson = open_lesson(run)
    model, rows, settings = lesson.model, lesson.held_out, lesson.config.training
    end, tokens = lesson.prepared.tokenizer.end, sum(int((batch.lengths - 1).sum()) for batch in rows)

    def report(step: int) -> None:
        if step % REPORT_EVERY == 0:
            run.say(f"step {step}: {total_nats(model, rows, end) / tokens:.3f} nats/token held out")

    def rows_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return join_prompts(lesson.batches.batch(step).to(run.device), end)

    steps = train_llama(model, rows_of, lesson.seconds, lesson.dtype, run.arguments.learning_rate, report)
    nats = total_nats(model, rows, end) / tokens
    own = validate(
        lesson.checkpoint.model,
        lesson.checkpoint.process,
        held_out_batches(lesson.prepared, settings.batch_size),
        settings.eval_texts,
        settings.batch_size,
        settings.block_lengths,
        torch.float32,
    ).next_token
    run.add(
        {"minutes": lesson.seconds / 60},
        {"next_token": own, "llama_next_token": nats, "ratio": ratio(own, nats), "llama_steps": float(steps)},
    )
    model.save_pretrained(smoke_folder() / "llama" if run.smoke else run.arguments.out)


def add_lesson_flags(parser: argparse.ArgumentParser, minutes: float, out: str) -> None:
    """Which checkpoint, how long, where to."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint folder")
    parser.add_argument("--minutes", type=float, default=minutes, help="of training (%(default)s)")
    parser.add_argument("--learning_rate", type=float, default=LEARNING_RATE, help="peak (%(default)s)")
    parser.add_argument(
        "--data_folder", type=Path, default=Path("data"), help="prepared corpora (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the Llama (%(default)s)")


benchmark = Benchmark(
    "peers/llama",
    __doc__,
    measure,
    claim="SunFish's causal pass predicts the next token as well as a Llama trained as long",
    peer="a Llama of the transformers library, of the same size, trained on the same batches",
    add_flags=functools.partial(add_lesson_flags, minutes=20, out="llama"),
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
