"""The copy head: the network's last part points at tokens that the prompt or the text already has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.casts import cast_like
from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import rms_norm
from sunfish.model.kv_cache import CachedRows, KeyValue
from sunfish.model.layers import Prompt, attend_cached, merge_heads, split_heads
from sunfish.model.layout import Segments, prepend_keys

COPY_INIT = 0.3  # share of what it points at that a position takes over at the start


class CopyHead(nn.Module):
    """x + scale * sum_j a_j token_j: each prediction moves toward the tokens that its position points at.

    ``a`` is one softmax over the prompt's tokens, the cached text and the pass. The query starts as the hidden state
    itself, which lives where the output embeddings live; so from the first step on a position that expects "some name"
    points at the names that are there already, and the tied output makes them likelier. This is the neural cache of
    Grave et al. 2017 (arXiv:1612.04426, eq. 3), here trained with the network and mixed in before the softmax. The key
    adds to the token what the network made of it, so that one of two names can be meant. Without it, networks of these
    sizes learn to copy from the prompt, but in their hour nothing from the text: a hero whom the story had named
    changed the name in every sentence (docs/experiments/2026-11-copy-head.md).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.n_head  # only for storage: keys have the shape of a block's
        self.query_scale = nn.Parameter(torch.empty(config.n_embd))
        self.key_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.scale = nn.Parameter(torch.empty(config.n_embd))

    @torch.no_grad()
    def init_weights(self) -> None:
        """Begin with the hidden state as the query and the token alone as the key."""
        self.query_scale.fill_(1.0)
        self.key_proj.weight.zero_()
        self.scale.fill_(COPY_INIT)

    def forward(
        self,
        x: Tensor,
        tokens: Tensor,
        noise: Tensor,
        prompt: Prompt,
        cached: Tensor | CachedRows | None = None,
        mask: Tensor | Segments | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Copy.

        Args:
            x: [B, N, D] states after the last block.
            tokens: [B, N, D] normalized token embeddings.
            noise: [B, N] bool, True where there is no token yet, so that nothing is copied from there.
            prompt: Keys, values and mask of the prompt.
            cached: [2, B, H, C, D/H] keys and values of the text so far, or those of each row.
            mask: That of the layout.

        Returns:
            The states with what they copy [B, N, D], and keys and values of this pass, each [B, H, N, D/H].
        """
        x = rms_norm(x)
        tokens = cast_like(tokens, x)
        new = (tokens + self.key_proj(x), tokens)
        *prompt_kv, prompt_mask = prompt
        parts, rows = [[merge_heads(cast_like(part, x)) for part in prompt_kv]], None
        if isinstance(cached, Tensor):
            parts.append(list(merge_heads(cast_like(cached, x)).unbind(0)))
        else:
            rows = cached
        keys, values = (torch.cat([*(part[i] for part in parts), new[i]], dim=1)[:, None] for i in range(2))
        cached_length = keys.shape[2] - prompt_mask.shape[3] - x.shape[1]
        copyable = F.pad(~noise, (cached_length, 0), value=True)
        visible = prepend_keys(mask, prompt_mask, copyable)
        query = (x * cast_like(self.query_scale, x))[:, None]
        copied = attend_cached(query, keys, values, visible, rows)
        key, value = (split_heads(part, self.heads) for part in new)
        return torch.addcmul(x, copied, cast_like(self.scale, x)), (key, value)
