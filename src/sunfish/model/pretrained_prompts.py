"""Frozen embeddings of a Hugging Face model for the prompt encoder: ``--prompt_encoder hf:NAME``."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from sunfish.utils import first_line, how_to_install


class PretrainedPrompts(NamedTuple):
    """What the prompt encoder takes over."""

    table: Tensor  # [V', E'] frozen input embeddings
    tokenizer: Any  # the engine (``tokenizers.Tokenizer``) that writes this vocabulary's ids


def load_pretrained_prompts(prompt_encoder: str) -> PretrainedPrompts:
    """Load ``hf:NAME``, a model of the hub or a folder. Nothing replaces it when that fails.

    Raises:
        ValueError: the extra is missing or the model cannot be loaded; says why, and names the offline choice.
    """
    name = prompt_encoder.removeprefix("hf:")
    offline = "or choose --prompt_encoder learned, which needs no download"
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as why:
        raise ValueError(
            f"prompt_encoder is {prompt_encoder!r}, which needs an extra: {how_to_install('hf')}, {offline}"
        ) from why
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True)
        model = AutoModel.from_pretrained(name)
    except (OSError, ValueError, RuntimeError) as why:
        raise ValueError(
            f"prompt_encoder is {prompt_encoder!r}, but {name!r} could not be loaded: {first_line(why)} "
            f"Check the name and the network, {offline}"
        ) from why
    table = model.get_input_embeddings().weight.detach().float().clone()
    return PretrainedPrompts(table, tokenizer.backend_tokenizer)
