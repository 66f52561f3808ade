"""The network: a causal language model and a bidirectional canvas with one set of weights, in one forward pass."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sunfish.casts import cast_like
from sunfish.config import Config, ModelConfig
from sunfish.model.copy_head import CopyHead
from sunfish.model.draft import Draft, DraftAt, make_draft, make_draft_at
from sunfish.model.draft_head import DraftHead, DraftState
from sunfish.model.kernels.autograd import rms_norm
from sunfish.model.kernels.cross_entropy import linear_cross_entropy
from sunfish.model.kv_cache import KeyValue, KVCache, TextCache
from sunfish.model.layers import Block, CrossAttention, Rotary, Smear, rotary_cos_sin
from sunfish.model.layout import Layout
from sunfish.model.prompt_encoder import NoPromptEncoder, PromptEncoder
from sunfish.types import Condition, Process, Start, State

TIME_FREQUENCIES = (1.5, 3.0, 6.0, 12.0)  # radians from t = 0 to t = 1
SCALE_FREQUENCIES = (0.25, 0.5, 1.0, 2.0)  # radians for each unit of guidance scale
CROSS_ATTENTION_INIT = 1.0  # share of the prompt's mean token that each block adds at the start


class Transformer(nn.Module):
    """Next-token logits for text and clean-token logits for a canvas (block diffusion), from one forward pass.

    Text positions are causal; their keys and values fill the cache, and each predicts the next token. Canvas positions
    see each other, the text before them, and predict the token in their own place. What a pass consists of is its
    :class:`sunfish.model.layout.Layout`. Input and output embeddings are tied; ``[MASK]`` is row V of the input table
    and has no output. Masking needs no time conditioning: a masked token shows that it is masked (Ou et al. 2024; Zheng
    et al. 2024).

    Where noise does not show (``time_conditioned``), a canvas position shows its state to the others only and begins as
    a mask itself: it learns of its own state by way of the others only, and training makes its logits what the others
    say. What its own state says is known exactly; the process weighs it in by Bayes' rule. A network that sees its own
    noisy token must first learn to doubt it by the right amount, and small ones do not
    (docs/experiments/2026-11-noise-hidden-from-itself.md).
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        config: ModelConfig,
        *,
        time_conditioned: bool = False,
        self_conditioned: bool = False,
        guidance_conditioned: bool = False,
        prompt_table: Tensor | None = None,
    ) -> None:
        """Build the network; :meth:`init_weights` draws its weights.

        Args:
            config: The shape.
            time_conditioned: The time of each canvas token is an input.
            self_conditioned: The canvas holds vectors and their last estimates, [B, N, 2D], not ids.
            guidance_conditioned: The guidance scale is an input (guidance distillation).
            prompt_table: [V', E'] frozen embeddings for the prompt encoder; None: the network's own.
        """
        super().__init__()
        self.config = config
        # Keep no block's activations; the backward pass computes them again (Chen et al. 2016).
        self.activation_checkpointing = False
        self.flex_attention = False  # see compile_blocks
        # The order of registration is the order in which weights are drawn.
        self.token_embedding = nn.Parameter(torch.empty(config.vocab_size + 1, config.n_embd))
        # Rotary attention alone leaves cross-attention blind to where in the text a position lies.
        self.position_embedding = nn.Parameter(torch.empty(config.context_length, config.n_embd))
        # Tells the blocks whether to predict the next token (text) or this one (canvas).
        self.causal_embedding = nn.Parameter(torch.empty(config.n_embd))
        prompted = config.prompt_length > 0
        self.prompt_encoder = PromptEncoder(config, prompt_table) if prompted else NoPromptEncoder(config)
        self.blocks = nn.ModuleList(Block(config, cross=prompted) for _ in range(config.n_layer))
        self.smear = Smear(config) if config.smear else None
        self.copy_head = CopyHead(config)
        self.time_embedding = _frequency_embedding(TIME_FREQUENCIES, config) if time_conditioned else None
        self.self_conditioning = (
            nn.Linear(config.n_embd, config.n_embd, bias=False) if self_conditioned else None
        )
        self.guidance_embedding = (
            _frequency_embedding(SCALE_FREQUENCIES, config) if guidance_conditioned else None
        )
        # Tied embeddings are small, and logits must be able to become sharp.
        self.output_scale = nn.Parameter(torch.ones(config.n_embd))
        self.draft_head = DraftHead(config) if config.draft_head else None
        self.int8_head: nn.Module | None = None  # the output layer of sunfish.model.kernels.int8
        cos, sin = rotary_cos_sin(config.context_length, config.n_embd // config.n_head)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    # The forward pass.

    def forward(
        self,
        text: Tensor | None,
        canvas: State | None,
        t: Tensor | None,
        layout: Layout,
        condition: Condition,
        cache: TextCache | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """One pass over text and canvas positions.

        Args:
            text: [B, n] clean ids; None: no text in this pass.
            canvas: [B, M] ids, or [B, M, 2D] vectors and their last estimates; None: no canvas.
            t: [B, M] times of the canvas positions; 0 is clean.
            layout: Where the n + M positions stand and who sees whom.
            condition: The encoded prompts.
            cache: Keys and values of the text before.

        Returns:
            Hidden states [B, n + M, D], and keys and values of each block and the copy head.
        """
        x, tokens, noise, kv_input, rotary = self.embed(text, canvas, t, layout)
        if kv_input is not None:
            layout = layout.without_self(noise)
        tokens = rms_norm(tokens)
        if self.smear is not None:
            shown = tokens if kv_input is None else torch.where(noise[..., None], kv_input, tokens)
            if cache is None:
                last_token = shown.new_zeros(shown.shape[0], shown.shape[-1])
            else:
                last_token = cast_like(cache.last_token(layout.start), shown)
            x = x + self.smear(shown, layout, last_token)
        if self.guidance_embedding is not None:
            x = x + self.guidance_embedding(scale_features(condition))[:, None, :]
        x = rms_norm(x)
        if torch.is_autocast_enabled(x.device.type):  # a third of the memory traffic is residual additions
            x = x.to(torch.get_autocast_dtype(x.device.type))
        keys, values = condition.keys.unbind(0), condition.values.unbind(0)
        prompt_mask = condition.mask[:, None, None]
        cached = [None] * (self.config.n_layer + 1) if cache is None else cache.layers()
        mask = layout.mask if layout.tiles is None else layout.tiles
        recompute = self.activation_checkpointing and torch.is_grad_enabled()
        new_kv = []
        for i, block in enumerate(self.blocks):
            prompt = (keys[i], values[i], prompt_mask) if self.config.prompt_length else None
            inputs = (x, rotary, prompt, cached[i], mask, kv_input)
            x, kv = checkpoint(block, *inputs, use_reentrant=False) if recompute else block(*inputs)
            new_kv.append(kv)
        x, kv = self.copy_head(x, tokens, noise, (keys[-1], values[-1], prompt_mask), cached[-1], layout.mask)
        return x, [*new_kv, kv]

    def embed(
        self, text: Tensor | None, canvas: State | None, t: Tensor | None, layout: Layout
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Rotary]:
        """What each position begins with; arguments as in :meth:`forward`.

        Returns:
            Input of the blocks [B, N, D]; token embeddings [B, N, D]; where there is noise, [B, N] bool; what positions
            show to others only [B, N, D], None where they show what they are; cos and sin of the positions.
        """
        position, rotary = self._positions(layout)
        if text is not None:
            text_tokens = F.embedding(text, self.token_embedding)
            x = text_tokens + position[..., : layout.num_causal, :] + self.causal_embedding
            clean = torch.zeros_like(text, dtype=torch.bool)
            if canvas is None:
                return x, text_tokens, clean, None, rotary
        assert canvas is not None and t is not None
        canvas_position = position[..., layout.num_causal :, :]
        embedded, tokens, noise, kv_input = self._embed_canvas(canvas, t, canvas_position)
        if text is None:
            return embedded, tokens, noise, kv_input, rotary
        if kv_input is not None:
            kv_input = torch.cat([torch.zeros_like(text_tokens), kv_input], dim=1)
        x, tokens = torch.cat([x, embedded], dim=1), torch.cat([text_tokens, tokens], dim=1)
        return x, tokens, torch.cat([clean, noise], dim=1), kv_input, rotary

    def _embed_canvas(
        self, canvas: State, t: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        if self.self_conditioning is None:
            tokens = F.embedding(canvas, self.token_embedding)
        else:
            noisy, estimate = canvas.chunk(2, dim=-1)
            tokens = noisy + self.self_conditioning(estimate)
        if self.time_embedding is None:
            return tokens + position, tokens, canvas == self.config.vocab_size, None
        noise, kv_input = t > 0, rms_norm(tokens)
        tokens = torch.where(noise[..., None], self.token_embedding[-1], tokens)
        time = self.time_embedding(sinusoids(t.to(self.token_embedding.dtype), TIME_FREQUENCIES))
        return tokens + position + time, tokens, noise, kv_input

    def _positions(self, layout: Layout) -> tuple[Tensor, Rotary]:
        """Position embeddings ``[(B,) N, D]``, and cos and sin ``[(B, 1,) N, D/H]``.

        Where rows stand at different places, positions after the context count as its last one; nothing of them is kept.
        """
        position = layout.position
        if isinstance(position, slice):
            self._check_length(position.stop)
            return self.position_embedding[position], (self.cos[position], self.sin[position])
        position = position.clamp(max=self.config.context_length - 1)
        cos, sin = self.cos[position], self.sin[position]
        rotary = (cos, sin) if position.ndim == 1 else (cos[:, None], sin[:, None])
        return F.embedding(position, self.position_embedding), rotary

    def _check_length(self, positions: int) -> None:
        """Raise ``ValueError`` for a text of more positions than the context."""
        limit = self.config.context_length
        if positions > limit:
            raise ValueError(
                f"the text has {positions} positions, but this model was built for context_length {limit}; "
                "ask for a shorter text (--seq_len)"
            )

    def check_place(self, length: int, cache: KVCache | None, start: Start | None) -> Start:
        """Where ``length`` positions after ``cache`` begin; ``start`` None: after all of it.

        Raises:
            ValueError: One start for all rows is not after the cache, or the text is longer than the context.
        """
        cached = 0 if cache is None else cache.length
        if isinstance(start, Tensor):
            return start
        if start not in (None, cached):
            raise ValueError(f"start is {start}, but the cache holds {cached} tokens")
        self._check_length(cached + length)
        return cached

    # The passes: hidden states.

    def encode(self, prompt: Tensor, mask: Tensor) -> Condition:
        """Encode prompts ``[B, P]`` with their ``mask [B, P]``, once for each text."""
        condition: Condition = self.prompt_encoder(prompt, mask, self.token_embedding)
        return condition

    def causal_pass(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        """Hidden states ``[B, N, D]`` of clean ``ids [B, N]``, and the cache with them appended."""
        length = ids.shape[1]
        start = self.check_place(length, cache, start)
        before, cached = _for_pass(cache, start)
        layout = Layout.causal(length, start, cached, ids.device)
        hidden, pairs = self(ids, None, None, layout, condition, before)
        return hidden, _grow(cache, pairs, length)

    def canvas_pass(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        """Hidden states ``[B, N, D]`` of one canvas at times ``t [B, N]`` after the cache."""
        start = self.check_place(x.shape[1], cache, start)
        before, cached = _for_pass(cache, start)
        layout = Layout.canvas(x.shape[1], start, cached, x.device)
        hidden: Tensor = self(None, x, t, layout, condition, before)[0]
        return hidden

    def joint_pass(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, block_length: int
    ) -> tuple[Tensor, Tensor]:
        """Hidden states ``[B, N, D]`` of whole texts, and ``[B, C N, D]`` of canvases over them, for training.

        One product per matrix covers all positions, and canvases use the keys of their text without a cache.
        ``ids [B, N]``; ``x`` and ``t [B, C N]`` are C canvases of each text, which do not see one another (one where
        noise does not show).
        """
        length = ids.shape[1]
        self._check_length(length)
        canvases, shows_state = x.shape[1] // length, self.time_embedding is None
        assert canvases == 1 or shows_state
        tiled = self.flex_attention and shows_state
        layout = Layout.joint(length, canvases, min(block_length, length), ids.device, tiled)
        hidden, _ = self(ids, x, t, layout, condition)
        return hidden[:, :length], hidden[:, length:]

    def causal_and_drafts_pass(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, Tensor]:
        """Next-token logits ``[B, N, V]``, the cache, and hidden states ``[B, N, W, D]`` of a canvas after each id.

        Whichever of the ids turn out to be right, what comes after the last of them is drafted already. This is the
        quadratic decoding of Samragh et al. 2025 (arXiv:2507.11851, section 4), with a diffusion block in place of mask
        tokens. Arguments as in :meth:`prefill_and_draft`.
        """
        length = ids.shape[1]
        before, cached = _for_pass(cache, start)
        layout = Layout.causal_and_drafts(length, t.shape[1] // length, start, cached, ids.device)
        hidden, pairs = self(ids, x, t, layout, condition, before)
        canvases = hidden[:, length:].unflatten(1, (length, -1))
        return self.head(hidden[:, :length]), _grow(cache, pairs, length), canvases

    # What sampling asks: see sunfish.model.denoiser.Denoiser.

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        """Clean-token logits ``[B, N, V]`` of a canvas; for masking ``t [B, N]`` does not matter."""
        return self.head(self.canvas_pass(x, t, condition, cache, start))

    def prefill(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        """Next-token logits ``[B, N, V]`` of clean ``ids [B, N]``, and the cache with them appended."""
        hidden, cache = self.causal_pass(ids, condition, cache, start)
        return self.head(hidden), cache

    def draft(self, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start) -> Draft:
        """What a canvas ``[B, W]`` drafts from position 1 on."""
        state = self.start_draft(self.canvas_pass(x, t, condition, cache, start))
        return make_draft(state, self.draft_logits, self.token_embedding)

    def prefill_and_draft(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, DraftAt]:
        """:meth:`prefill`, and the drafts of a canvas after every id of ``ids [B, N]``."""
        logits, cache, canvases = self.causal_and_drafts_pass(ids, x, t, condition, cache, start)
        draft_at = make_draft_at(canvases, self.start_draft, self.draft_logits, self.token_embedding)
        return logits, cache, draft_at

    # The output layer.

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        hidden = self._scaled(hidden)
        if self.int8_head is None:
            return F.linear(hidden, self.token_embedding[:-1])
        logits: Tensor = self.int8_head(hidden)
        return logits

    def cross_entropy(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sum and unweighted cross-entropies ``[M]`` of hidden states ``[M, D]`` against ``targets [M]``."""
        return linear_cross_entropy(self._scaled(hidden), self.token_embedding[:-1], targets, weights)

    def draft_loss(self, hidden: Tensor, previous: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, nats, of ``targets [M]`` for the draft head; see :meth:`DraftHead.loss`.

        ``hidden [M, D]`` are canvas states. Only the draft head learns from it; 0 for a model without one.
        """
        if self.draft_head is None:
            return hidden.new_zeros(())
        return self.draft_head.loss(hidden, previous, targets, self.token_embedding, self.output_scale)

    def start_draft(self, hidden: Tensor) -> DraftState:
        """What a draft begins with: canvases ``hidden [B, W, D]`` from position 1 on."""
        hidden = hidden[:, 1:]
        return DraftState(hidden, None) if self.draft_head is None else self.draft_head.start(hidden)

    def draft_logits(self, state: DraftState, ids: Tensor | None, outputs: Tensor | None = None) -> Tensor:
        """Logits of the W - 1 places of a draft.

        Args:
            state: Of the draft.
            ids: [B, W-1] the one before each place; None: no place knows of another one.
            outputs: [B, K, D] the embeddings of the ids that are asked for; None: all ids are.

        Returns:
            [B, W-1, K], of all ids [B, W-1, V].
        """
        if ids is None:
            return self.head(state.hidden)
        assert self.draft_head is not None
        hidden = self.draft_head.refine(state, F.embedding(ids, self.token_embedding))
        if outputs is None:
            return self.head(hidden)
        return self._scaled(hidden) @ cast_like(outputs, hidden).transpose(-1, -2)

    def _scaled(self, hidden: Tensor) -> Tensor:
        return rms_norm(hidden) * cast_like(self.output_scale, hidden)

    # Weights.

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> Transformer:
        """Draw the weights: token embeddings N(0, 1), matrices of variance 1 / fan-in, residual outputs 0.

        Token embeddings start large. Words that can stand for one another, such as names, are pulled in one direction
        from the first step on; with the usual 0.02 that direction soon drowns what tells them apart, and attention has
        nothing left to copy them by. A small scale on the output keeps the first logits near 0.

        Only cross-attention starts with an output: its values and output matrix are an orthogonal matrix and its
        transpose, so that at first every position receives the mean of the prompt's tokens. A prompt's words must turn
        up in the text, and starting from copying shows that to the optimizer at once
        (docs/experiments/2026-11-prompt-attention-initialization.md).
        """
        for name, parameter in self.named_parameters():
            if name == "output_scale":
                parameter.fill_(0.02)
            elif name.endswith("scale"):
                parameter.fill_(1.0)
            elif name == "token_embedding" or name.endswith("null_token"):
                parameter.normal_(0.0, 1.0, generator=generator)
            elif name.endswith((".out_proj.weight", ".down_proj.weight", "guidance_embedding.weight")):
                parameter.zero_()
            elif name.endswith("weight"):
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
            else:  # positions, and the embedding of causal positions
                parameter.normal_(0.0, 0.3, generator=generator)
        self.copy_head.init_weights()
        if self.smear is not None:
            self.smear.init_weights()
        if isinstance(self.prompt_encoder, PromptEncoder):
            self._init_cross_attention(self.prompt_encoder, generator)
        return self

    def _init_cross_attention(self, encoder: PromptEncoder, generator: torch.Generator | None) -> None:
        width = self.config.n_embd
        values = encoder.kv_proj.weight.view(-1, 2, width, width)[:, 1]
        attentions = [module for module in self.modules() if isinstance(module, CrossAttention)]
        for value in values:
            orthogonal, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
            value.copy_(orthogonal)
        for value, attention in zip(values, attentions, strict=True):
            attention.out_proj.weight.copy_(CROSS_ATTENTION_INIT * value.T)

    def set_dropout(self, rate: float) -> None:
        """Drop this share of each residual branch in training (Srivastava et al. 2014).

        PyTorch's global generator of the device draws what is dropped.
        """
        for module in self.modules():
            if isinstance(module, Block):
                module.dropout = rate

    def compile_blocks(self) -> None:
        """Compile the blocks for training (``torch.compile``), on a GPU with FlexAttention."""
        self.flex_attention = self.token_embedding.device.type == "cuda"
        for block in self.blocks:
            block.compile()


def build_model(config: Config, process: Process, prompt_table: Tensor | None = None) -> Transformer:
    """The network of a run, its weights not yet drawn."""
    return Transformer(
        config.model,
        time_conditioned=process.time_conditioned,
        self_conditioned=process.self_conditioned,
        guidance_conditioned=config.training.distills,
        prompt_table=prompt_table,
    )


def scale_features(condition: Condition) -> Tensor:
    """Sinusoids ``[B, 2F]`` of each row's guidance scale, for a network that takes it in (Meng et al. 2023)."""
    dtype = condition.keys.dtype
    ones = condition.mask.new_ones(len(condition.mask), dtype=dtype)
    return sinusoids((ones if condition.scale is None else condition.scale).to(dtype), SCALE_FREQUENCIES)


def sinusoids(x: Tensor, frequencies: Sequence[float]) -> Tensor:
    """Sines and cosines ``[..., 2F]`` of ``x [...]``."""
    angle = x[..., None] * x.new_tensor(frequencies)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


@functools.cache
def count_parameters(
    config: ModelConfig,
    *,
    time_conditioned: bool = False,
    self_conditioned: bool = False,
    guidance_conditioned: bool = False,
) -> int:
    """Exact number of trained parameters, counted on the meta device, so any size costs no memory.

    Arguments as in :class:`Transformer`; the defaults are those of a masked model.
    """
    with torch.device("meta"):
        model = Transformer(
            config,
            time_conditioned=time_conditioned,
            self_conditioned=self_conditioned,
            guidance_conditioned=guidance_conditioned,
        )
        return sum(parameter.numel() for parameter in model.parameters())


def _frequency_embedding(frequencies: Sequence[float], config: ModelConfig) -> nn.Linear:
    return nn.Linear(2 * len(frequencies), config.n_embd, bias=False)


def _for_pass(cache: KVCache | None, start: Start) -> tuple[TextCache | None, int]:
    """:meth:`KVCache.for_pass`, where there may be no cache."""
    return (None, 0) if cache is None else cache.for_pass(start)


def _grow(cache: KVCache | None, pairs: Sequence[KeyValue], length: int) -> KVCache:
    """The cache with the first ``length`` positions of a pass appended."""
    new = KVCache.from_pass(pairs, length)
    return new if cache is None else cache.append(new)
