"""The shape of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sunfish.config.rules import check_at_least, check_types, shown
from sunfish.utils import UsageError

# Beyond any network that one device trains, and within what can be counted without overflow.
MAX_LAYERS, MAX_SIZE, MAX_MLP_RATIO = 1024, 2**24, 64


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the denoiser, stored in every checkpoint; the defaults are those of micro."""

    vocab_size: int = 8192
    """V: token ids of the tokenizer; the mask is one more row of the input table, never an output."""
    n_layer: int = 3
    """L: transformer layers of the denoiser."""
    n_head: int = 8
    """H: attention heads; n_embd must be a multiple of 2 * n_head."""
    n_embd: int = 768
    """D: width of the network and of the token embeddings."""
    mlp_ratio: float = 2.5
    """Hidden width of the SwiGLU feed-forward in units of n_embd, rounded up to a multiple of 32 (128 from
    width 512)."""
    context_length: int = 256
    """N: the most positions a text can have, its start and end marks included."""
    prompt_length: int = 64
    """P: the most tokens a prompt can have; 0: a model without prompts."""
    n_prompt_layer: int = 1
    """Transformer layers of the prompt encoder."""
    prompt_encoder: str = "learned"
    """learned: trained with the model, works offline. hf:NAME: frozen embeddings of a Hugging Face model."""
    smear: bool = True
    """Add a learned fraction of the previous token's embedding (and of the next one's, on the canvas) to each
    input."""
    draft_head: bool = True
    """Train a small head that conditions each drafted token on the two before it; verified sampling is faster
    with it."""

    def __post_init__(self) -> None:
        check_types(self)
        check_at_least(self, 1, "n_layer", "n_prompt_layer", "n_head", most=MAX_LAYERS)
        check_at_least(self, 1, "vocab_size", "n_embd", most=MAX_SIZE)
        check_at_least(self, -math.inf, "context_length", "prompt_length", most=MAX_SIZE)
        if not 0 < self.mlp_ratio <= MAX_MLP_RATIO:
            raise UsageError(
                f"mlp_ratio is {self.mlp_ratio}, but it must be above 0, up to {MAX_MLP_RATIO}; 2.67 is usual"
            )
        if self.prompt_length < 0:
            raise UsageError(
                f"prompt_length is {self.prompt_length}; give the most tokens a prompt can have, or 0 for a "
                "model without prompts"
            )
        if self.context_length < 4:
            raise UsageError(
                f"context_length is {self.context_length}, but a text needs at least 4 positions"
            )
        if self.n_embd % (2 * self.n_head):
            raise UsageError(
                f"n_embd is {self.n_embd} and n_head is {self.n_head}: n_embd must be a multiple of "
                f"2 * n_head, for example {2 * self.n_head * max(1, round(self.n_embd / (2 * self.n_head)))}"
            )
        if self.prompt_encoder == "learned":
            return
        if not self.prompt_encoder.startswith("hf:"):
            raise UsageError(
                f"prompt_encoder is {shown(self.prompt_encoder)}: use 'learned' (offline) or 'hf:NAME', "
                "for example hf:gpt2"
            )
        if not self.prompt_length:
            raise UsageError(
                f"prompt_encoder is {shown(self.prompt_encoder)}, but prompt_length is 0, a model without "
                "prompts; give one of the two"
            )

    @property
    def n_hidden(self) -> int:
        """Hidden width of the SwiGLU feed-forward, rounded up so that matrix kernels see whole tiles."""
        multiple = 128 if self.n_embd >= 512 else 32
        # A product that misses a multiple by the error of floating point alone is that multiple.
        return math.ceil(round(self.mlp_ratio * self.n_embd / multiple, 9)) * multiple
