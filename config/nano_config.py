"""The nano model: edit a value here, and train.py --config nano uses it.

A few minutes on any computer; to see that everything works.
"""

from __future__ import annotations

from config import build
from sunfish.config import Config

batch_size = 8  # texts in one step
n_layer = 2  # transformer layers
n_head = 2  # attention heads
n_embd = 64  # width; a multiple of 2 * n_head
vocab_size = 1536  # tokens of the tokenizer
context_length = 256  # longest text, in tokens
prompt_length = 64  # longest prompt, in tokens
n_prompt_layer = 1  # layers of the prompt encoder
max_minutes = 5.0  # length of the training
stories = 20_000  # built-in stories to write for training


def get_nano_config(show: bool = True) -> Config:
    """The configuration with the values above; ``show`` prints the size and the shape of the model."""
    return build("nano", globals(), show)
