"""What every pass goes through: how a position begins, the layers, the pointer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sunfish.config import ModelConfig
from sunfish.model.copy_head import Pointer
from sunfish.model.draft_head import DraftHead
from sunfish.model.kernels.autograd import normalise
from sunfish.model.layers import Layer, rotary_angles
from sunfish.model.neighbours import Neighbours
from sunfish.model.prompt_encoder import NoPrompts, PromptEncoder
from sunfish.model.side_by_side import Parts, Visible
from sunfish.types import Condition, Past, Start

TIME_FREQUENCIES = (1.5, 3.0, 6.0, 12.0)  # radians from no noise to nothing but noise
SCALE_FREQUENCIES = (0.25, 0.5, 1.0, 2.0)  # radians for each unit of guidance scale


class Trunk(nn.Module):
    """The weights of a denoiser, and the way of a pass through them; ``sunfish.model.transformer`` has the passes."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, frozen_table: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        # Training keeps no layer's inner results and computes them again for the gradient (Chen et al. 2016).
        self.activation_checkpointing = False
        # Attention of a training pass skips tiles in which nothing is visible; see compile_layers.
        self.tiled = False
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
        self.neighbours = Neighbours(config) if config.neighbours else None
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
        self.int8_head: nn.Module | None = None  # the output layer of sunfish.model.kernels.int8
        cos, sin = rotary_angles(config.context_length, config.n_embd // config.n_head)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def regularise(self, dropout: float) -> None:
        """Training drops this share of what each part of a layer adds to its input (Srivastava et al. 2014).

        Which numbers, PyTorch's global generator of the device says.
        """
        for module in self.modules():
            if isinstance(module, Layer):
                module.dropout = dropout

    def compile_layers(self) -> None:
        """Training goes through compiled layers (``torch.compile``), on a GPU with tiled attention."""
        self.tiled = self.table.device.type == "cuda"
        for layer in (*self.layers, *self.decoder):
            layer.compile()

    @property
    def first_decoder_layer(self) -> int:
        """The first of the layers whose memory the canvas sees; 0 where it goes through all of them itself."""
        return self.config.n_layer - self.config.n_decoder_layer if self.config.n_decoder_layer else 0

    def _reading_layers(self) -> list[tuple[int, nn.Module]]:
        return list(enumerate(self.layers))

    def _state(self, x: Tensor, t: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What a canvas begins with, its tokens ``[B, N, D]`` both, where it is noise ``[B, N]``, and what it shows.

        The last is for other positions, None for masks; see :class:`Transformer`.
        """
        if self.estimate is None:
            tokens = F.embedding(x, self.table)
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
        clean = F.embedding(ids, self.table)
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
        pointed: Tensor | Parts | None,
        layers: list[tuple[int, nn.Module]],
        beside: Callable[[Neighbours, Tensor], Tensor],
        shown: Tensor | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Final hidden states ``[B, N, D]`` of ``x [B, N, D]``, and the keys and values of each layer and the pointer.

        ``tokens [B, N, D]`` is what the pointer can copy, ``noise [B, N]`` True where there is no token yet; ``mask`` is
        the layers', ``pointed`` the pointer's; ``layers`` are the ones to go through, each with the number of its prompt
        and memory; ``beside`` has a pass's neighbours add their part of the normalised tokens; ``shown`` as in a layer.
        """
        tokens = normalise(tokens)
        if self.neighbours is not None:
            x = x + beside(
                self.neighbours, tokens if shown is None else torch.where(noise[..., None], shown, tokens)
            )
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


def scale_features(cond: Condition) -> Tensor:
    """Sines and cosines ``[B, 2F]`` of each row's guidance scale, for a network that takes it in (Meng et al. 2023)."""
    scale = cond.mask.new_ones(len(cond.mask), dtype=cond.keys.dtype) if cond.scale is None else cond.scale
    return waves(scale.to(cond.keys.dtype), SCALE_FREQUENCIES)


def waves(x: Tensor, frequencies: Sequence[float]) -> Tensor:
    """Sines and cosines ``[..., 2F]`` of numbers ``x [...]``."""
    angle = x[..., None] * x.new_tensor(frequencies)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
