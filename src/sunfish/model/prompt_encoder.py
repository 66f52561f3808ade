"""The prompt encoder: prompt ids to the keys and values that every block and the copy head attend to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.casts import cast_like
from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import rms_norm
from sunfish.model.layers import Block, rotary_cos_sin, split_heads
from sunfish.types import Condition


class PromptEncoder(nn.Module):
    """A bidirectional transformer over the prompt; a learned null slot comes first in what it returns.

    With ``prompt_encoder = learned`` the token embeddings are the denoiser's. With ``hf:NAME`` they are the frozen
    input embeddings of that model, brought to width D by a learned matrix; prompt ids then come from that model's
    tokenizer.
    """

    frozen_table: Tensor | None
    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, frozen_table: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("frozen_table", frozen_table)
        self.adapter = (
            None if frozen_table is None else nn.Linear(frozen_table.shape[1], config.n_embd, bias=False)
        )
        self.position_embedding = nn.Parameter(torch.empty(config.prompt_length, config.n_embd))
        self.null_token = nn.Parameter(torch.empty(config.n_embd))
        self.blocks = nn.ModuleList(Block(config, cross=False) for _ in range(config.n_prompt_layer))
        self.kv_proj = nn.Linear(config.n_embd, 2 * config.n_layer * config.n_embd, bias=False)
        cos, sin = rotary_cos_sin(config.prompt_length, config.n_embd // config.n_head)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, prompt: Tensor, mask: Tensor, table: Tensor) -> Condition:
        """``prompt [B, P]`` ids, ``mask [B, P]`` bool, ``table [V+1, D]`` -> the condition of blocks and copy head.

        Raises:
            ValueError: The prompt is longer than the model's ``prompt_length``.
        """
        length = prompt.shape[1]
        if length > self.config.prompt_length:
            raise ValueError(
                f"the prompt has {length} tokens, but this model was built for prompt_length "
                f"{self.config.prompt_length}; shorten the prompt"
            )
        if self.adapter is None or self.frozen_table is None:
            tokens = F.embedding(prompt, table)
        else:
            tokens = self.adapter(self.frozen_table[prompt])
        x = rms_norm(tokens + self.position_embedding[:length])
        # A row without any visible token would make softmax divide by zero; nobody looks at its output.
        visible = mask | ~mask.any(dim=1, keepdim=True)
        for block in self.blocks:
            x, _ = block(x, (self.cos[:length], self.sin[:length]), mask=visible[:, None, None, :])
        slots = torch.cat([cast_like(self.null_token, x).expand(x.shape[0], 1, -1), x], dim=1)
        projected = self.kv_proj(rms_norm(slots)).unflatten(-1, (self.config.n_layer, 2, -1))
        block_kv = [projected[:, :, i] for i in range(self.config.n_layer)]  # each [B, 1+P, 2, D]
        heads = self.config.n_head
        keys = [rms_norm(split_heads(kv[:, :, 0], heads)) for kv in block_kv]
        values = [split_heads(kv[:, :, 1], heads) for kv in block_kv]
        # For the copy head: where to point as the encoder understood it, what to copy from the table, null: nothing.
        keys.append(cast_like(split_heads(rms_norm(slots), heads), keys[0]))
        values.append(cast_like(split_heads(F.pad(rms_norm(tokens), (0, 0, 1, 0)), heads), values[0]))
        visible = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        return Condition(torch.stack(keys), torch.stack(values), visible)


class NoPromptEncoder(nn.Module):
    """What a model without prompts has instead: the copy head's null slot, which copies nothing."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.n_head
        self.null_token = nn.Parameter(torch.empty(config.n_embd))

    def forward(self, prompt: Tensor, mask: Tensor, table: Tensor) -> Condition:
        """``prompt [B, P]`` without any token, ``mask [B, P]`` all False -> a condition for the copy head alone.

        Raises:
            ValueError: There is a prompt.
        """
        if mask.any():
            raise ValueError("this model was built without prompts (prompt_length 0); leave the prompt out")
        null = rms_norm(self.null_token).expand(len(prompt), 1, -1)
        keys, visible = split_heads(null, self.heads)[None], mask.new_ones(len(prompt), 1)
        return Condition(keys, torch.zeros_like(keys), visible)
