"""The full model: edit a value here, and train.py --config full uses it.

A week on a large GPU; nobody has trained it yet.
"""

from __future__ import annotations

from config import build
from sunfish.config import Config

batch_size = 64  # texts in one step
n_layer = 18  # transformer layers
n_head = 16  # attention heads
n_embd = 2048  # width; a multiple of 2 * n_head
vocab_size = 32_768  # tokens of the tokenizer
context_length = 2048  # longest text, in tokens
prompt_length = 128  # longest prompt, in tokens
n_prompt_layer = 2  # layers of the prompt encoder
max_minutes = 10080.0  # length of the training


def get_full_config(show: bool = True) -> Config:
    """The configuration with the values above; ``show`` prints the size and the shape of the model."""
    return build("full", globals(), show)
