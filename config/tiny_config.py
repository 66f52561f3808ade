"""The tiny model: edit a value here, and train.py --config tiny uses it.

Twenty minutes on two cores; simple sentences about what the prompt asks.
"""

from __future__ import annotations

from config import build
from sunfish.config import Config

batch_size = 16  # texts in one step
n_layer = 2  # transformer layers
n_head = 5  # attention heads
n_embd = 120  # width; a multiple of 2 * n_head
vocab_size = 2560  # tokens of the tokenizer
context_length = 256  # longest text, in tokens
prompt_length = 64  # longest prompt, in tokens
n_prompt_layer = 1  # layers of the prompt encoder
max_minutes = 20.0  # length of the training


def get_tiny_config(show: bool = True) -> Config:
    """The configuration with the values above; ``show`` prints the size and the shape of the model."""
    return build("tiny", globals(), show)
