"""Owns the peer: a Llama that is trained to fill gaps, of a checkpoint's size, on the same texts.

    ./run.sh benchmarks/peers/fill_in_the_middle.py checkpoints/small/last.ckpt --minutes 60 --out llama-fim

Fill-in-the-middle (Bavarian et al. 2022, arXiv:2207.14255): of nine texts of ten the right side is put first, so that an
autoregressive network, which continues the left one, learns to write what lies between (their suffix-prefix-middle).
Half of these parts lie between two random places, as published; the others have at most as many tokens as a sentence of
the stories, since such gaps are what benchmarks/quality/infilling.py asks for. The rest is as in
benchmarks/peers/llama.py.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.frame import Benchmark, Run
from benchmarks.peers.llama import IGNORED, add_lesson_flags, open_lesson, pad_texts, train_llama
from benchmarks.smoke import smoke_folder
from benchmarks.timing import ratio
from sunfish.types import Batch

SHARE = 0.9  # of texts that have a part between two sides
SHORT_SHARE, SHORT = 0.5, 24  # of these parts are short, of so many tokens at most


class Marks(NamedTuple):
    """The ids that follow those of the vocabulary."""

    right: int  # the right side follows
    left: int  # the left side follows, then the part between
    done: int  # the part ends

    @classmethod
    def after(cls, vocab_size: int) -> Marks:
        """The first three ids from ``vocab_size`` on."""
        return cls(*range(vocab_size, vocab_size + len(cls._fields)))


def draw_part(length: int, rng: random.Random) -> tuple[int, int]:
    """Where the part of a text of ``length`` tokens that is cut out begins and ends; it has at least one token."""
    if rng.random() < SHORT_SHARE:
        size = rng.randint(1, min(SHORT, length))
        begin = rng.randint(0, length - size)
        return begin, begin + size
    first, last = sorted(rng.sample(range(length + 1), 2))
    return first, last


def row_with_gap(
    prompt: Sequence[int], left: Sequence[int], right: Sequence[int], end: int, marks: Marks
) -> list[int]:
    """What the network is given before it fills a gap."""
    return [*prompt, end, marks.right, *right, end, marks.left, *left]


def cut(batch: Batch, end: int, marks: Marks, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Ids and labels ``[B, N]`` of texts, most with the right side of a part first; all but the prompts has labels."""
    rows = []
    for prompt, mask, x0, length in zip(
        batch.prompt, batch.prompt_mask, batch.x0, batch.lengths.tolist(), strict=True
    ):
        words, text = prompt[mask].tolist(), [token for token in x0[1:length].tolist() if token != end]
        ids = [*words, end, *text, end]
        if text and rng.random() < SHARE:
            begin, stop = draw_part(len(text), rng)
            asked = row_with_gap(words, text[:begin], text[stop:], end, marks)
            ids = [*asked, *text[begin:stop], marks.done]
        rows.append(x0.new_tensor(ids))
    return pad_texts(rows, batch.prompt_mask.sum(1).tolist(), end)


@torch.no_grad()
def write(
    model: Any, ids: Sequence[int], most: int, temperature: float, seed: int, stop: int | None
) -> list[int]:
    """Continue ``ids`` by 1 to ``most`` ids of the vocabulary, up to the mark ``stop``.

    None stops nothing, so that ``most`` are written.
    """
    marks, end = Marks.after(model.config.vocab_size - len(Marks._fields)), model.config.eos_token_id
    torch.manual_seed(seed)
    done = model.generate(
        torch.tensor([ids], device=model.device),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=model.device),
        do_sample=True,
        temperature=temperature,
        top_k=0,
        min_new_tokens=1,
        max_new_tokens=most,
        eos_token_id=stop,
        pad_token_id=end,
        suppress_tokens=[mark for mark in (*marks, end) if mark != stop],
    )
    new: list[int] = done[0, len(ids) :].tolist()
    return [token for token in new if token != stop]


@torch.no_grad()
def nats_of_parts(model: Any, batches: Sequence[Batch], end: int, marks: Marks) -> float:
    """Mean nats/token of texts whose parts are cut out at random, the same ones in each call."""
    rng, nats, tokens = random.Random(0), 0.0, 0
    for batch in batches:
        ids, labels = cut(batch, end, marks, rng)
        count = int((labels[:, 1:] != IGNORED).sum())
        nats += float(model(input_ids=ids, labels=labels).loss) * count
        tokens += count
    return nats / tokens


def measure(run: Run) -> None:
    """Train, look at held-out texts, save."""
    lesson = open_lesson(run, len(Marks._fields))
    model, rows, end = lesson.model, lesson.held_out, lesson.prepared.tokenizer.end
    marks = Marks.after(lesson.config.model.vocab_size)
    untrained = nats_of_parts(model, rows, end, marks)

    def rows_of(step: int) -> tuple[Tensor, Tensor]:
        return cut(lesson.batches.batch(step).to(run.device), end, marks, random.Random(step))

    steps = train_llama(model, rows_of, lesson.seconds, lesson.dtype, run.arguments.learning_rate)
    nats = nats_of_parts(model, rows, end, marks)
    figures = {"llama_nats": nats, "untrained_nats": untrained, "ratio": ratio(nats, untrained)}
    run.add({"minutes": lesson.seconds / 60}, {**figures, "llama_steps": float(steps)})
    model.save_pretrained(smoke_folder() / "llama-fim" if run.smoke else run.arguments.out)


benchmark = Benchmark(
    "peers/fill_in_the_middle",
    __doc__,
    measure,
    claim="a Llama learns to fill gaps, for benchmarks/quality/infilling.py to compare with",
    peer="the same Llama before training",
    add_flags=functools.partial(add_lesson_flags, minutes=60, out="llama-fim"),
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
