"""The micro model: edit a value here, and train.py --config micro uses it.

A night on a desktop computer; the default.
"""

from __future__ import annotations

from config import build
from sunfish.config import Config

batch_size = 16  # texts in one step
n_layer = 3  # transformer layers
n_head = 8  # attention heads
n_embd = 768  # width; a multiple of 2 * n_head
mlp_ratio = 2.5  # hidden width of the feed-forward, in widths
vocab_size = 8192  # tokens of the tokenizer
context_length = 256  # longest text, in tokens
prompt_length = 64  # longest prompt, in tokens
n_prompt_layer = 1  # layers of the prompt encoder
max_minutes = 480.0  # length of the training


def get_micro_config(show: bool = True) -> Config:
    """The configuration with the values above; ``show`` prints the size and the shape of the model."""
    return build("micro", globals(), show)
