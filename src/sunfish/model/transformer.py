"""The denoiser: one transformer that reads clean text causally and denoises a canvas bidirectionally."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import ModelConfig
from sunfish.model.initialise import draw_weights
from sunfish.model.kernels.autograd import normalise
from sunfish.model.kernels.cross_entropy import linear_cross_entropy
from sunfish.model.layers import merge_heads
from sunfish.model.masks import (
    ahead_mask,
    behind_each,
    canvas_mask,
    causal_mask,
    ragged_mask,
    without_self,
)
from sunfish.model.neighbours import Neighbours, edge_of
from sunfish.model.side_by_side import Visible, parts_of, tiled_mask, without_self_in
from sunfish.model.trunk import Trunk
from sunfish.types import Condition, Draft, Drafts, Past, Start

Begun = (
    tuple[Tensor, Tensor] | None
)  # what sunfish.model.draft_head.DraftHead has done before it is told tokens


class Transformer(Trunk):
    """Clean-token logits for a canvas (block diffusion) and next-token logits for text already there.

    One set of weights does both: :meth:`read` is a causal pass over clean tokens, whose keys and values the
    canvas attends to (the memory), and which predicts each next token on the way. Input and output embeddings
    are tied; the mask is row V of the table and has no output. Masking needs no time conditioning: a masked token
    shows that it is masked (Ou et al. 2024; Zheng et al. 2024). Other noise is told by ``time_input``.

    Where noise does not show (``time_input``), a position of the canvas shows its state to the others only and begins
    as a mask itself: it is told of its own state by way of the others only, and training makes its logits what the
    others say. What its own state says is known exactly; the process weighs it in by Bayes' rule. A network that has
    its own noisy token before it must first learn to doubt it by the right amount, and small ones do not (docs/log.md).
    """

    def initialise(self, generator: torch.Generator | None = None) -> Transformer:
        """Draw the weights, see :func:`sunfish.model.initialise.draw_weights`."""
        draw_weights(self, generator)
        return self

    def encode(self, prompt: Tensor, mask: Tensor) -> Condition:
        """Encode prompts ``[B, P]`` with their ``mask [B, P]``, once for each text."""
        return self.prompt_encoder(prompt, mask, self.table)

    def read(
        self, ids: Tensor, cond: Condition, past: Past | None = None, start: Start | None = None
    ) -> tuple[Past, Tensor]:
        """Causal pass over clean ``ids [B, N]``: the memory with them behind it, and hidden states ``[B, N, D]``.

        They begin at position ``start``, behind all of ``past`` if it is None. With a position for each row, a row
        sees the first ``start[b]`` tokens of its memory.
        """
        remembered, length = 0 if past is None else past.shape[4], ids.shape[1]
        if isinstance(start, Tensor):
            mask: Tensor | None = ragged_mask(start, remembered, length, causal=True)
        else:
            if start not in (None, remembered):
                raise ValueError(f"start is {start}, but {remembered} tokens are remembered")
            start, mask = remembered, causal_mask(length, remembered, ids.device)
        nowhere = torch.zeros_like(ids, dtype=torch.bool)
        position, angles = self._positions(start, length)
        tokens = F.embedding(ids, self.table)
        hidden, pairs = self._layers(
            tokens + position + self.reading,
            tokens,
            nowhere,
            angles,
            cond,
            past,
            mask,
            mask,
            self._reading_layers(),
            lambda neighbours, tokens: neighbours(tokens, edge_of(past, start, tokens), False),
        )
        return _grown(past, pairs, length), hidden

    def canvas(
        self,
        x: Tensor,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: Start = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Hidden states ``[B, N, D]`` of a canvas at times ``t [B, N]`` that begins at position ``start``.

        ``x`` holds ids ``[B, N]``, or vectors and their last estimates ``[B, N, 2D]``. With a start for each row the
        canvas is one block.
        """
        length = x.shape[1]
        whole = block_length == 0 or block_length >= length
        if isinstance(start, Tensor):
            remembered = 0 if past is None else past.shape[4]
            mask: Tensor | None = ragged_mask(start, remembered, length, causal=False)
        else:
            if whole and past is not None:
                past = past[..., :start, :] if start else None  # one block sees only what lies before it
            remembered = 0 if past is None else past.shape[4]
            mask = canvas_mask(length, remembered, start, block_length, x.device)
        position, angles = self._positions(start, length)
        x, tokens, noise, shown = self._state(x, t, position)
        mask = mask if shown is None else without_self(mask, noise, remembered)
        layers = list(enumerate(self.decoder or self.layers, self.first_decoder_layer))

        def beside(neighbours: Neighbours, tokens: Tensor) -> Tensor:
            if whole or past is None or isinstance(start, Tensor):
                return neighbours(tokens, edge_of(past, start, tokens), True)
            clean = merge_heads(past[-1, 1]).to(tokens.dtype)
            return neighbours.in_blocks(tokens, clean, start, block_length)

        return self._layers(x, tokens, noise, angles, cond, past, mask, mask, layers, beside, shown)[0]

    def both(
        self, ids: Tensor, x: Tensor, t: Tensor, cond: Condition, block_length: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Hidden states ``[B, N, D]`` of :meth:`read` over whole texts, ``[B, C N, D]`` of :meth:`canvas` over them.

        One pass for training: every matrix is met once by all positions, and a canvas finds the keys of its memory
        beside its own. ``ids [B, N]``; ``x`` and ``t [B, C N]`` are C canvases of each text, one behind the other, which
        do not see one another (one where noise does not show). Not for a model whose canvas has a decoder of its own.
        """
        length, canvases = ids.shape[1], x.shape[1] // ids.shape[1]
        position, (cos, sin) = self._positions(0, length)
        x, tokens, noise, shown = self._side_by_side(ids, position, x, t, position.repeat(canvases, 1))
        assert shown is None or canvases == 1
        own = block_length == 0 or block_length >= length  # a canvas sees nothing of the memory
        angles = cos.repeat(1 + canvases, 1), sin.repeat(1 + canvases, 1)
        parts = parts_of(length, canvases, block_length, ids.device)
        parts = parts if shown is None else without_self_in(parts, noise)
        tiles = self.tiled and shown is None
        mask: Visible = tiled_mask(length, canvases, block_length, ids.device) if tiles else parts
        layers = self._reading_layers()

        def beside(neighbours: Neighbours, tokens: Tensor) -> Tensor:
            clean, *drawn = tokens.split(length, dim=1)
            block = length if own else block_length
            blocks = [neighbours.in_blocks(one, clean, 0, block) for one in drawn]
            return torch.cat([neighbours(clean, edge_of(None, 0, clean), False), *blocks], dim=1)

        hidden, _ = self._layers(x, tokens, noise, angles, cond, None, mask, parts, layers, beside, shown)
        return hidden[:, :length], hidden[:, length:]

    def read_and_draft(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: Tensor, t: Tensor
    ) -> tuple[Past, Tensor, Drafts]:
        """:meth:`remember`, and the drafts of a canvas behind every id of ``ids [B, N]``, see :meth:`read_ahead`.

        Drafts are None where the canvas has a decoder of its own.
        """
        if self.decoder:
            return *self.remember(ids, cond, past, start), None
        past, logits, drawn = self.read_ahead(ids, cond, past, start, states, t)
        return past, logits, drafted_behind(drawn, self.begin_draft, self.go_on)

    def read_ahead(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: Tensor, t: Tensor
    ) -> tuple[Past, Tensor, Tensor]:
        """:meth:`remember`, and a canvas behind every id of ``ids [B, N]``, all in one pass over N + N W positions.

        Whichever of the ids turn out to be right, what comes behind the last of them is drafted already. This is the
        quadratic decoding of Samragh et al. 2025 (arXiv:2507.11851, section 4), with a block of diffusion in place of
        mask tokens. ``states`` and ``t [B, N W]``; the canvases' hidden states are ``[B, N, W, D]``.
        """
        length, remembered = ids.shape[1], 0 if past is None else past.shape[4]
        place, sees = behind_each(length, t.shape[1] // length, ids.device)
        mask = ahead_mask(start, remembered, sees)
        position, angles = self._positions(start, len(place), place)
        read_at, drawn_at = position[..., :length, :], position[..., length:, :]
        x, tokens, noise, shown = self._side_by_side(ids, read_at, states, t, drawn_at)
        if shown is not None:
            mask = without_self(mask, noise, remembered)
        layers = self._reading_layers()

        def beside(neighbours: Neighbours, tokens: Tensor) -> Tensor:
            read, ahead = tokens[:, :length], tokens[:, length:].unflatten(1, (length, -1))
            added = neighbours(read, edge_of(past, start, read), False)
            return torch.cat([added, neighbours(ahead, read, True).flatten(1, 2)], dim=1)

        hidden, pairs = self._layers(x, tokens, noise, angles, cond, past, mask, mask, layers, beside, shown)
        drawn = hidden[:, length:].unflatten(1, (length, -1))
        return _grown(past, pairs, length), self.head(hidden[:, :length]), drawn

    def draft(self, x: Tensor, t: Tensor, cond: Condition, past: Past | None, start: Start) -> Draft:
        """What a canvas ``x [B, W]`` drafts from position 1 on."""
        return drafted(self.begin_draft(self.canvas(x, t, cond, past, start)), self.go_on)

    def draft_loss(self, hidden: Tensor, before: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, nats, of ``targets [M]`` where each token is told ``before [M]``, the one in front of it.

        ``hidden [M, D]`` are states of the canvas. Only the draft head learns from it; 0 for a model without one.
        """
        if self.draft_head is None:
            return hidden.new_zeros(())
        return self.draft_head.loss(hidden, self.table[before], targets, self.table[:-1], self.output_gain)

    def begin_draft(self, hidden: Tensor) -> tuple[Tensor, Begun]:
        """What canvases with hidden states ``[B, W, D]`` say of each position from 1 on, ``[B, W - 1, V]``.

        And what :meth:`go_on` needs, None without a draft head.
        """
        hidden = hidden[:, 1:]
        return self.head(hidden), None if self.draft_head is None else self.draft_head.begun(hidden)

    def go_on(self, hidden: Tensor, begun: Tensor, before: Tensor) -> Tensor:
        """Logits ``[B, W - 1, V]`` where each position is told the id before it, of ``before [B, W - 1]``."""
        assert self.draft_head is not None
        return self.head(self.draft_head.told(hidden, begun, self.table[before]))

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        hidden = self._output(hidden)
        return F.linear(hidden, self.table[:-1]) if self.int8_head is None else self.int8_head(hidden)

    def cross_entropy(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sum and unweighted cross-entropies ``[M]`` of hidden states ``[M, D]`` against ``targets [M]``."""
        return linear_cross_entropy(self._output(hidden), self.table[:-1], targets, weights)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: Start = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Clean-token logits ``[B, N, V]`` of the canvas ``x [B, N]``; for masking ``t [B, N]`` does not matter."""
        return self.head(self.canvas(x, t, cond, past, start, block_length))

    def remember(
        self, ids: Tensor, cond: Condition, past: Past | None = None, start: Start | None = None
    ) -> tuple[Past, Tensor]:
        """The grown memory after clean ``ids [B, N]``, and next-token logits ``[B, N, V]``; as in :meth:`read`."""
        past, hidden = self.read(ids, cond, past, start)
        return past, self.head(hidden)

    def _output(self, hidden: Tensor) -> Tensor:
        return normalise(hidden) * self.output_gain.to(hidden.dtype)


def drafted(first: tuple[Tensor, Begun], go_on: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Draft:
    """The draft that :meth:`Transformer.begin_draft` began and ``go_on`` goes on with."""
    alone, begun = first
    return Draft(alone, begun and (lambda before: go_on(*begun, before)))


def drafted_behind(
    drawn: Tensor,
    begin_draft: Callable[[Tensor], tuple[Tensor, Begun]],
    go_on: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Drafts:
    """The drafts of :meth:`Transformer.read_ahead`'s canvases, whose hidden states are ``drawn [B, N, W, D]``."""
    rows = torch.arange(len(drawn), device=drawn.device)
    return lambda at: drafted(begin_draft(drawn[rows, at]), go_on)


def _grown(past: Past | None, pairs: list[tuple[Tensor, Tensor]], length: int) -> Past:
    """The memory, and behind it the first ``length`` positions of a pass, ``pairs`` of each layer."""
    own = torch.stack([part[:, :, :length] for pair in pairs for part in pair]).unflatten(0, (-1, 2))
    return own if past is None else torch.cat([past, own.to(past.dtype)], dim=4)


def count_parameters(config: ModelConfig) -> int:
    """Exact number of trained parameters, counted on the meta device, so any size costs no memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Transformer(config).parameters())
