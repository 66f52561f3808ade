"""The denoiser: one transformer that reads clean text causally and denoises a canvas bidirectionally."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sunfish.config import ModelConfig
from sunfish.model.attention import CrossAttention, Layer, normalise, rotary_angles
from sunfish.model.cross_entropy import linear_cross_entropy
from sunfish.model.draft import DraftHead
from sunfish.model.masks import (
    Visible,
    ahead_mask,
    behind_each,
    canvas_mask,
    causal_mask,
    joined_mask,
    ragged_mask,
    without_self,
)
from sunfish.model.pointer import Pointer
from sunfish.model.prompt import NoPrompts, PromptEncoder
from sunfish.types import Condition, Draft, Drafts, Past, Start

TIME_FREQUENCIES = (1.5, 3.0, 6.0, 12.0)  # radians from no noise to nothing but noise
SCALE_FREQUENCIES = (0.25, 0.5, 1.0, 2.0)  # radians for each unit of guidance scale
COPY = 1.0  # how much of the prompt's mean token each layer adds at the start


class Transformer(nn.Module):
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

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, frozen_table: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        # Training keeps no layer's inner results and computes them again for the gradient (Chen et al. 2016).
        self.activation_checkpointing = False
        self.table = nn.Parameter(torch.empty(config.vocab_size + 1, config.n_embd))
        # Rotary attention alone leaves cross-attention blind to where in the text a position lies.
        self.position = nn.Parameter(torch.empty(config.context_length, config.n_embd))
        # Tells the layers whether to predict the next token (reading) or this one (canvas).
        self.reading = nn.Parameter(torch.empty(config.n_embd))
        self.prompted = config.prompt_length > 0
        self.prompt_encoder = PromptEncoder(config, frozen_table) if self.prompted else NoPrompts(config)
        self.layers = nn.ModuleList(Layer(config, cross=self.prompted) for _ in range(config.n_layer))
        # Layers of the canvas's own (E2D2); each shares prompt and memory with the reading layer it stands beside.
        self.decoder = nn.ModuleList(
            Layer(config, cross=self.prompted) for _ in range(config.n_decoder_layer)
        )
        self.pointer = Pointer(config)
        width = 2 * len(TIME_FREQUENCIES)
        self.time = nn.Linear(width, config.n_embd, bias=False) if config.time_input else None
        # The last estimate of the clean embeddings, for the process that keeps one in its state.
        self.estimate = nn.Linear(config.n_embd, config.n_embd, bias=False) if config.vector_input else None
        width = 2 * len(SCALE_FREQUENCIES)
        self.guidance = nn.Linear(width, config.n_embd, bias=False) if config.guidance_input else None
        # A gain on the output: tied embeddings are small, and logits must be able to become sharp.
        self.output_gain = nn.Parameter(torch.ones(config.n_embd))
        self.draft_head = DraftHead(config) if config.draft_head else None
        cos, sin = rotary_angles(config.context_length, config.n_embd // config.n_head)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> Transformer:
        """Draw the weights: token embeddings N(0, 1), matrices of variance 1 / fan-in, residual outputs 0.

        Token embeddings start large. Words that can stand for one another, such as names, are pulled in one direction
        from the first step on; with the usual 0.02 that direction soon drowns what tells them apart, and
        attention has nothing left to copy them by. A small gain on the output keeps the first logits near 0.

        Only cross-attention starts with an output: its values and output matrix are an orthogonal matrix and
        its transpose, so that at first every position receives the mean of the prompt's tokens. A prompt's words
        must turn up in the text, and starting from copying shows that to the optimizer at once. (docs/log.md)
        """
        for name, parameter in self.named_parameters():
            if name == "output_gain":
                parameter.fill_(0.02)
            elif name.endswith("gain"):
                parameter.fill_(1.0)
            elif name == "table" or name.endswith("null"):
                parameter.normal_(0.0, 1.0, generator=generator)
            elif name.endswith((".output.weight", ".down.weight", "guidance.weight")):
                parameter.zero_()
            elif name.endswith("weight"):
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
            else:  # positions, and the mark of reading
                parameter.normal_(0.0, 0.3, generator=generator)
        self.pointer.initialise()
        if not isinstance(self.prompt_encoder, PromptEncoder):
            return self
        width = self.config.n_embd
        cross_values = self.prompt_encoder.keys_values.weight.view(-1, 2, width, width)[:, 1]
        attentions = [module for module in self.modules() if isinstance(module, CrossAttention)]
        depth = self.config.n_layer
        beside = [*range(depth), *range(depth - self.config.n_decoder_layer, depth)]
        for values in cross_values:
            orthogonal, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
            values.copy_(orthogonal)
        for number, attention in zip(beside, attentions, strict=True):
            attention.output.weight.copy_(COPY * cross_values[number].T)
        return self

    @property
    def first_decoder_layer(self) -> int:
        """The first of the layers whose memory the canvas sees; 0 where it goes through all of them itself."""
        return self.config.n_layer - self.config.n_decoder_layer if self.config.n_decoder_layer else 0

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
        tokens = self.table[ids]
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
        return self._layers(x, tokens, noise, angles, cond, past, mask, mask, layers, shown)[0]

    def both(
        self, ids: Tensor, x: Tensor, t: Tensor, cond: Condition, block_length: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Hidden states of :meth:`read` over whole texts ``ids [B, N]``, and of :meth:`canvas` over them, ``[B, N, D]``.

        One pass for training: every matrix is met once by ``2N`` positions, and the canvas finds the keys of its memory
        beside its own. Not for a model whose canvas has a decoder of its own.
        """
        length = ids.shape[1]
        position, (cos, sin) = self._positions(0, length)
        x, tokens, noise, shown = self._side_by_side(ids, position, x, t, position)
        reading = causal_mask(length, 0, ids.device)
        own = block_length == 0 or block_length >= length  # the canvas sees nothing of the memory
        remembered = 0 if own else length
        mask = canvas_mask(length, remembered, 0, block_length, ids.device)
        if shown is not None:
            mask = without_self(mask, noise[:, length:], remembered)
        angles = torch.cat([cos, cos]), torch.cat([sin, sin])
        masks, pointed = (reading, mask), joined_mask(reading, mask, length)
        layers = self._reading_layers()
        hidden, _ = self._layers(x, tokens, noise, angles, cond, None, masks, pointed, layers, shown)
        return hidden[:, :length], hidden[:, length:]

    def read_and_draft(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: Tensor, t: Tensor
    ) -> tuple[Past, Tensor, Drafts]:
        """:meth:`remember`, and a canvas behind every id of ``ids [B, N]``, all in one pass over N + N W positions.

        Whichever of the ids turn out to be right, what comes behind the last of them is drafted already. This is the
        quadratic decoding of Samragh et al. 2025 (arXiv:2507.11851, section 4), with a block of diffusion in place of
        mask tokens. ``states`` and ``t [B, N W]``; drafts are None where the canvas has a decoder of its own.
        """
        if self.decoder:
            return *self.remember(ids, cond, past, start), None
        length, remembered = ids.shape[1], 0 if past is None else past.shape[4]
        place, sees = behind_each(length, t.shape[1] // length, ids.device)
        mask = ahead_mask(start, remembered, sees)
        position, angles = self._positions(start, len(place), place)
        read_at, drawn_at = position[..., :length, :], position[..., length:, :]
        x, tokens, noise, shown = self._side_by_side(ids, read_at, states, t, drawn_at)
        if shown is not None:
            mask = without_self(mask, noise, remembered)
        layers = self._reading_layers()
        hidden, pairs = self._layers(x, tokens, noise, angles, cond, past, mask, mask, layers, shown)
        drawn = hidden[:, length:].unflatten(1, (length, -1))
        rows = torch.arange(len(ids), device=ids.device)
        return (
            _grown(past, pairs, length),
            self.head(hidden[:, :length]),
            lambda at: self._draft(drawn[rows, at]),
        )

    def draft(self, x: Tensor, t: Tensor, cond: Condition, past: Past | None, start: Start) -> Draft:
        """What a canvas ``x [B, W]`` drafts from position 1 on; each token is told the one before it."""
        return self._draft(self.canvas(x, t, cond, past, start))

    def draft_loss(self, hidden: Tensor, before: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, nats, of ``targets [M]`` where each token is told ``before [M]``, the one in front of it.

        ``hidden [M, D]`` are states of the canvas. Only the draft head learns from it; 0 for a model without one.
        """
        if self.draft_head is None:
            return hidden.new_zeros(())
        return self.draft_head.loss(hidden, self.table[before], targets, self.table[:-1], self.output_gain)

    def _draft(self, hidden: Tensor) -> Draft:
        """The draft of canvases with hidden states ``[B, W, D]``."""
        told, hidden = self.draft_head, hidden[:, 1:]
        if told is None:
            logits = self.head(hidden)
            return lambda i, before: logits[:, i]
        states, begun = told.begun(hidden)
        return lambda i, before: self.head(told.told(states[:, i], begun[:, i], self.table[before]))

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        return F.linear(self._output(hidden), self.table[:-1])

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

    def _reading_layers(self) -> list[tuple[int, nn.Module]]:
        return list(enumerate(self.layers))

    def _state(self, x: Tensor, t: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What a canvas begins with, its tokens ``[B, N, D]`` both, where it is noise ``[B, N]``, and what it shows.

        The last is for other positions, None for masks; see :class:`Transformer`.
        """
        if self.estimate is None:
            tokens = self.table[x]
        else:
            noisy, estimate = x.chunk(2, dim=-1)
            tokens = noisy + self.estimate(estimate)
        if self.time is None:
            return tokens + position, tokens, x == len(self.table) - 1, None
        noise, shown = t > 0, normalise(tokens)
        tokens = torch.where(noise[..., None], self.table[-1], tokens)
        mark = self.time(waves(t.to(self.table.dtype), TIME_FREQUENCIES))
        return tokens + position + mark, tokens, noise, shown

    def _side_by_side(
        self, ids: Tensor, read_at: Tensor, x: Tensor, t: Tensor, drawn_at: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What :meth:`_state` says of a canvas ``x``, and in front of it the same of ``ids [B, N]`` that are read.

        ``read_at`` and ``drawn_at`` are the embeddings of their positions.
        """
        clean = self.table[ids]
        x, tokens, noise, shown = self._state(x, t, drawn_at)
        if shown is not None:
            shown = torch.cat([torch.zeros_like(clean), shown], dim=1)
        return (
            torch.cat([clean + read_at + self.reading, x], dim=1),
            torch.cat([clean, tokens], dim=1),
            torch.cat([torch.zeros_like(ids, dtype=torch.bool), noise], dim=1),
            shown,
        )

    def _layers(
        self,
        x: Tensor,
        tokens: Tensor,
        noise: Tensor,
        angles: tuple[Tensor, Tensor],
        cond: Condition,
        past: Past | None,
        mask: Visible,
        pointed: Tensor | None,
        layers: list[tuple[int, nn.Module]],
        shown: Tensor | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Final hidden states ``[B, N, D]`` of ``x [B, N, D]``, and the keys and values of each layer and the pointer.

        ``tokens [B, N, D]`` is what the pointer can copy, ``noise [B, N]`` True where there is no token yet; ``mask`` is
        the layers', ``pointed`` the pointer's; ``layers`` are the ones to go through, each with the number of its prompt
        and memory; ``shown`` as in a layer.
        """
        if self.guidance is not None:
            x = x + self.guidance(scale_features(cond))[:, None, :]
        x = normalise(x)
        if torch.is_autocast_enabled(
            x.device.type
        ):  # the stream as well: a third of the traffic is its additions
            x = x.to(torch.get_autocast_dtype(x.device.type))
        keys, values, seen = cond.keys.unbind(0), cond.values.unbind(0), cond.mask[:, None, None, :]
        memory = [None] * (self.config.n_layer + 1) if past is None else past.unbind(0)
        pairs = []
        again = self.activation_checkpointing and torch.is_grad_enabled()
        for i, layer in layers:
            prompt = (keys[i], values[i], seen) if self.prompted else None
            parts = (x, angles, prompt, memory[i], mask, shown)
            x, own = checkpoint(layer, *parts, use_reentrant=False) if again else layer(*parts)
            pairs.append(own)
        x, own = self.pointer(x, tokens, noise, (keys[-1], values[-1], seen), memory[-1], pointed)
        return x, [*pairs, own]

    def _positions(
        self, start: Start, length: int, place: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Embeddings ``[(B,) N, D]`` and rotary angles ``[(B, 1,) N, D/H]`` of N positions from ``start`` on.

        They follow one another, or lie ``place [N]`` behind ``start``. With places, or a start for each row, positions
        behind the context count as its last one; nothing of them may be kept.
        """
        if isinstance(start, Tensor) or place is not None:
            last = self.config.context_length - 1
            place = torch.arange(length, device=self.position.device) if place is None else place
            where = (place + (start[:, None] if isinstance(start, Tensor) else start)).clamp(max=last)
            angles = self.cos[where], self.sin[where]
            return self.position[where], angles if where.ndim == 1 else (
                angles[0][:, None],
                angles[1][:, None],
            )
        end = start + length
        if end > self.config.context_length:
            raise ValueError(
                f"the text has {end} positions, but this model was built for context_length "
                f"{self.config.context_length}; ask for a shorter text (--seq_len)"
            )
        return self.position[start:end], (self.cos[start:end], self.sin[start:end])


def _grown(past: Past | None, pairs: list[tuple[Tensor, Tensor]], length: int) -> Past:
    """The memory, and behind it the first ``length`` positions of a pass, ``pairs`` of each layer."""
    own = torch.stack([part[:, :, :length] for pair in pairs for part in pair]).unflatten(0, (-1, 2))
    return own if past is None else torch.cat([past, own.to(past.dtype)], dim=4)


def scale_features(cond: Condition) -> Tensor:
    """Sines and cosines ``[B, 2F]`` of each row's guidance scale, for a network that takes it in (Meng et al. 2023)."""
    scale = cond.mask.new_ones(len(cond.mask), dtype=cond.keys.dtype) if cond.scale is None else cond.scale
    return waves(scale.to(cond.keys.dtype), SCALE_FREQUENCIES)


def waves(x: Tensor, frequencies: Sequence[float]) -> Tensor:
    """Sines and cosines ``[..., 2F]`` of numbers ``x [...]``."""
    angle = x[..., None] * x.new_tensor(frequencies)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def count_parameters(config: ModelConfig) -> int:
    """Exact number of trained parameters, counted on the meta device, so any size costs no memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Transformer(config).parameters())
