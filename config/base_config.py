"""The base model: edit a value here, and train.py --config base uses it.

A day on one GPU.
"""

from __future__ import annotations

from config import build
from sunfish.config import Config

batch_size = 32  # texts in one step
n_layer = 12  # transformer layers
n_head = 12  # attention heads
n_embd = 768  # width; a multiple of 2 * n_head
vocab_size = 16_384  # tokens of the tokenizer
context_length = 1024  # longest text, in tokens
prompt_length = 128  # longest prompt, in tokens
n_prompt_layer = 1  # layers of the prompt encoder
max_minutes = 1440.0  # length of the training


def get_base_config(show: bool = True) -> Config:
    """The configuration with the values above; ``show`` prints the size and the shape of the model."""
    return build("base", globals(), show)
