"""The prompt encoder: prompt ids to the keys and values that every layer of the denoiser attends to; and none."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import normalise
from sunfish.model.layers import Layer, rotary_angles, split_heads
from sunfish.types import Condition


class PromptEncoder(nn.Module):
    """A bidirectional transformer over the prompt, a learned null slot in front of what it returns.

    With ``prompt_encoder = learned`` the token embeddings are the denoiser's own table. With ``hf:NAME`` they
    are the frozen input embeddings of that model, brought to the width D by a learned matrix; the prompt ids are
    then ids of that model's tokenizer.
    """

    frozen_table: Tensor | None
    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, frozen_table: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("frozen_table", frozen_table)
        self.adapt = (
            None if frozen_table is None else nn.Linear(frozen_table.shape[1], config.n_embd, bias=False)
        )
        self.position = nn.Parameter(torch.empty(config.prompt_length, config.n_embd))
        self.null = nn.Parameter(torch.empty(config.n_embd))
        self.layers = nn.ModuleList(Layer(config, cross=False) for _ in range(config.n_prompt_layer))
        self.keys_values = nn.Linear(config.n_embd, 2 * config.n_layer * config.n_embd, bias=False)
        cos, sin = rotary_angles(config.prompt_length, config.n_embd // config.n_head)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, prompt: Tensor, mask: Tensor, table: Tensor) -> Condition:
        """``prompt [B, P]`` ids, ``mask [B, P]`` bool, ``table [V+1, D]`` -> the condition of layers and pointer.

        Raises ``ValueError`` where the prompt is longer than the model's ``prompt_length``.
        """
        length = prompt.shape[1]
        if length > self.config.prompt_length:
            raise ValueError(
                f"the prompt has {length} tokens, but this model was built for prompt_length "
                f"{self.config.prompt_length}; shorten the prompt"
            )
        if self.adapt is None or self.frozen_table is None:
            tokens = F.embedding(prompt, table)
        else:
            tokens = self.adapt(self.frozen_table[prompt])
        x = normalise(tokens + self.position[:length])
        # A row without any visible token would make softmax divide by zero; its output is never looked at.
        visible = mask | ~mask.any(dim=1, keepdim=True)
        for layer in self.layers:
            x, _ = layer(x, (self.cos[:length], self.sin[:length]), mask=visible[:, None, None, :])
        memory = torch.cat([self.null.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        both = self.keys_values(normalise(memory)).unflatten(-1, (self.config.n_layer, 2, -1))
        layers = [both[:, :, i] for i in range(self.config.n_layer)]  # each [B, 1+P, 2, D]
        heads = self.config.n_head
        keys = [normalise(split_heads(kv[:, :, 0], heads)) for kv in layers]
        values = [split_heads(kv[:, :, 1], heads) for kv in layers]
        # The pointer's: where to point as the encoder understood it, what to copy as the table has it, null: nothing.
        keys.append(split_heads(normalise(memory), heads).to(keys[0].dtype))
        values.append(split_heads(F.pad(normalise(tokens), (0, 0, 1, 0)), heads).to(values[0].dtype))
        slots = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        return Condition(torch.stack(keys), torch.stack(values), slots)


class NoPrompts(nn.Module):
    """In the place of the encoder where a model has no prompts: only the pointer's null, which copies nothing."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.n_head
        self.null = nn.Parameter(torch.empty(config.n_embd))

    def forward(self, prompt: Tensor, mask: Tensor, table: Tensor) -> Condition:
        """``prompt [B, P]`` without any token, ``mask [B, P]`` all False -> a condition of the pointer alone.

        Raises ``ValueError`` where there is a prompt.
        """
        if mask.any():
            raise ValueError("this model was built without prompts (prompt_length 0); leave the prompt out")
        null = normalise(self.null).expand(len(prompt), 1, -1)
        keys, slots = split_heads(null, self.heads)[None], mask.new_ones(len(prompt), 1)
        return Condition(keys, torch.zeros_like(keys), slots)
