"""Owns the tasks of quality_per_minute: what is trained on each text, and how large its peers are."""

from __future__ import annotations

from typing import Any, NamedTuple


class Task(NamedTuple):
    """A preset with changes, and the peers' shape; no task has prompts or drafts."""

    config: str
    fields: dict[str, Any]
    peer_batch_size: int
    peer_width: int
    peer_heads: int


UNPROMPTED: dict[str, Any] = {"prompt_length": 0, "draft_head": False}
CHARACTERS: dict[str, Any] = UNPROMPTED | {
    "vocab_size": 66,
    "tokenizer": "characters",
    "delimiter": "none",
    "validation_fraction": 0.1,
    "complementary": True,
}
TASKS: dict[str, Task] = {
    # The canvas is what is compared: 0.7 of the loss is its own, three steps of four denoise the whole text,
    # and each text is denoised twice.
    "shakespeare": Task(
        config="nano",
        fields=CHARACTERS
        | {
            "n_layer": 3,
            "n_head": 4,
            "n_embd": 128,
            "context_length": 65,
            "batch_size": 16,
            "block_lengths": (0, 0, 0, 4),
            "next_token_weight": 0.3,
        },
        peer_batch_size=24,
        peer_width=128,
        peer_heads=4,
    ),
    # The same text read many times, for a GPU, by a network of the size that nanoGPT has for it (six layers
    # of 384, windows of 256, batches of 64). The next token overfits first: the smallest part of the loss.
    "epochs": Task(
        config="nano",
        fields=CHARACTERS
        | {
            "n_layer": 6,
            "n_head": 6,
            "n_embd": 384,
            "context_length": 256,
            "batch_size": 64,
            "block_lengths": (0,),
            "next_token_weight": 0.1,
            "dropout": 0.15,
            "mask_rate_min": 0.03,
            "mask_rate_max": 1.0,
        },
        peer_batch_size=64,
        peer_width=384,
        peer_heads=6,
    ),
    # The preset as it is: in half an hour more reviews teach more than more layers or canvases.
    "imdb": Task(
        config="small",
        fields=UNPROMPTED | {"vocab_size": 8192, "batch_size": 8, "validation_fraction": 0.05},
        peer_batch_size=8,
        peer_width=256,
        peer_heads=4,
    ),
}
