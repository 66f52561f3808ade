"""The shape of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the denoiser: all that is needed to build it, stored in every checkpoint."""

    vocab_size: int = 8192
    """V: ids of the tokenizer; the mask is one more row of the input table, never an output."""
    n_layer: int = 3
    """L: transformer layers of the denoiser."""
    n_decoder_layer: int = 0
    """Layers of a shallow decoder of the canvas's own, which sees the memory of as many last layers (E2D2); 0: the canvas
    goes through the n_layer layers itself."""
    n_head: int = 8
    """H: attention heads; n_embd must be divisible by it."""
    n_embd: int = 768
    """D: width of the network and of the token embeddings."""
    mlp_ratio: float = 8 / 3
    """Hidden width of the SwiGLU feed-forward in units of n_embd, rounded up to a multiple of 32 (128 from width 512)."""
    context_length: int = 256
    """Largest number of positions of one text, its two end marks included."""
    prompt_length: int = 64
    """P: largest number of tokens of a prompt; 0: a model without prompts, for text that has none."""
    n_prompt_layer: int = 1
    """Transformer layers of the prompt encoder."""
    prompt_encoder: str = "learned"
    """learned: trained with the model, works offline. hf:NAME: frozen embeddings of a Hugging Face model."""
    time_input: bool = False
    """The canvas is told the time of each token. Set by itself for all processes but masked."""
    vector_input: bool = False
    """The canvas holds vectors and not ids. Set by itself for the gaussian process."""
    neighbours: bool = True
    """Each position begins with a part of the token before it, on the canvas also of the one behind it."""
    draft_head: bool = True
    """A small part learns to tell each drafted token the one before it, which makes verified writing faster."""
    guidance_input: bool = False
    """The guidance scale is an input, so that guided text costs one pass; sunfish distill-guidance sets it."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_layer", "n_head", "n_embd", "n_prompt_layer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be at least 1")
        if not 0 < self.mlp_ratio < math.inf:
            raise ValueError(f"mlp_ratio is {self.mlp_ratio}, but it must be above 0; 2.67 is usual")
        if self.prompt_length < 0:
            raise ValueError(
                f"prompt_length is {self.prompt_length}; give 0 for a model without prompts, or how many tokens they have"
            )
        if not 0 <= self.n_decoder_layer <= self.n_layer:
            raise ValueError(
                f"n_decoder_layer is {self.n_decoder_layer}: give 0 (no decoder of its own) up to n_layer, "
                f"{self.n_layer}"
            )
        if self.context_length < 4:
            raise ValueError(
                f"context_length is {self.context_length}, but a text needs at least 4 positions"
            )
        if self.n_embd % (2 * self.n_head):
            raise ValueError(
                f"n_embd is {self.n_embd} and n_head is {self.n_head}: n_embd must be a multiple of "
                f"2 * n_head, for example {2 * self.n_head * max(1, round(self.n_embd / (2 * self.n_head)))}"
            )
        if self.prompt_encoder != "learned" and not self.prompt_encoder.startswith("hf:"):
            raise ValueError(
                f"prompt_encoder is {self.prompt_encoder!r}: use 'learned' (offline) or 'hf:NAME', "
                "for example hf:gpt2"
            )
        if self.prompt_encoder != "learned" and not self.prompt_length:
            raise ValueError(
                f"prompt_encoder is {self.prompt_encoder!r}, but prompt_length is 0, a model without prompts; "
                "give one of the two"
            )

    @property
    def n_hidden(self) -> int:
        """Hidden width of the SwiGLU feed-forward, rounded up so that matrix kernels see whole tiles."""
        multiple = 128 if self.n_embd >= 512 else 32
        # A product that misses a multiple by the error of floating point alone is that multiple.
        return math.ceil(round(self.mlp_ratio * self.n_embd / multiple, 9)) * multiple
