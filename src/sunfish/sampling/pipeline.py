"""From a prompt to a text: encoding, guidance, the denoising loop, decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config.sampling import RISING, SamplingSettings
from sunfish.hardware.device import PRECISIONS
from sunfish.model.compiled import Compiled
from sunfish.model.kernels.int8 import LEAST, LEAST_COMPILED, in_int8
from sunfish.model.transformer import Transformer
from sunfish.rng import Streams
from sunfish.sampling.block_diffusion import Snapshot, snapshots
from sunfish.sampling.generation_config import Generation, read_generation
from sunfish.sampling.guidance import Guided, OnePass
from sunfish.sampling.logits import Writable
from sunfish.sampling.sliding_window import windows
from sunfish.sampling.speculative import verified_snapshots
from sunfish.tokenizers.base import TextTokenizer
from sunfish.types import Condition, Denoiser, Process

INT8 = "int8"


class Generated(NamedTuple):
    """One text of ``tokens`` ids, end marks not counted. ``finished``: it reached its end; else it was cut."""

    text: str
    prompt: str
    finished: bool
    tokens: int
    ids: list[int]


class Pipeline:
    """A model with its process and its tokenizers, ready to write."""

    def __init__(
        self,
        model: Transformer,
        process: Process,
        tokenizer: TextTokenizer,
        prompt_tokenizer: TextTokenizer | None = None,
        generation: Generation = Generation(),  # noqa: B008 - immutable
        compile: bool = False,
    ) -> None:
        """``generation``: how it writes where a call does not say otherwise; ``compile``: see :meth:`from_checkpoint`."""
        self.model = model
        self.denoiser: Denoiser = Compiled(model) if compile else model
        self.process = process
        self.tokenizer = tokenizer
        self.prompt_tokenizer = prompt_tokenizer or tokenizer
        self.generation = generation

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        compile: bool = False,
    ) -> Pipeline:
        """Load a checkpoint folder, with the settings that suit it. ``ValueError`` for anything that is none.

        ``precision``: float32, or bfloat16, which takes half the memory and is faster where the processor has it, or
        int8, for a CPU only: a quarter of the memory and faster still, with matrices rounded to 1 part in 254.
        ``compile``: the first text takes about a minute (seconds, once that is on disk), all others less than before;
        see :class:`sunfish.model.compiled.Compiled`.
        """
        if precision not in (*PRECISIONS, INT8):
            raise ValueError(f"precision is {precision!r}; give one of: {', '.join(PRECISIONS)}, {INT8}")
        if precision == INT8 and torch.device(device).type != "cpu":
            raise ValueError(
                f"precision is {INT8}, which is for a CPU, but device is {device}; give bfloat16"
            )
        loaded, generation = load_checkpoint(Path(path), device), read_generation(Path(path))
        if precision == INT8:
            model = in_int8(loaded.model, LEAST_COMPILED if compile else LEAST)
        else:
            model = loaded.model.to(PRECISIONS[precision])
        return cls(model, loaded.process, loaded.tokenizer, loaded.prompt_tokenizer, generation, compile)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.model.table.device

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The condition of ``prompts``; an empty prompt is the null prompt, as dropped ones are in training."""
        rows = [self.prompt_tokenizer.encode(prompt) for prompt in prompts]
        limit = self.model.config.prompt_length
        for prompt, row in zip(prompts, rows, strict=True):
            if len(row) > limit:
                raise ValueError(
                    f"the prompt {prompt[:40]!r}… has {len(row)} tokens, but this model "
                    + (
                        f"reads at most {limit}; shorten it"
                        if limit
                        else "was trained without prompts; leave it out"
                    )
                )
        width = max(1, *(len(row) for row in rows))
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[i, : len(row)] = True
        return self.model.encode(ids.to(self.device), mask.to(self.device))

    def guided(
        self, prompts: Sequence[str], scale: float, settings: SamplingSettings, never: Sequence[int] = ()
    ) -> tuple[Denoiser, Condition]:
        """The guided denoiser for these prompts, which writes no id in ``never``, and their condition.

        A model that takes the scale in needs one pass, unless there are negative or further prompts. What it learned is
        guidance at the usual plausibility.
        """
        negative = None
        if settings.negative_prompt:
            if scale <= 1:
                raise ValueError(
                    f"negative_prompt is {settings.negative_prompt[:40]!r}, but guidance_scale is {scale:g}, where "
                    "it would not lead away from it; give a scale above 1"
                )
            negative = self.encode([settings.negative_prompt] * len(prompts))
        also = [(self.encode([other] * len(prompts)), weight) for other, weight in settings.also]
        writable = Writable(self.denoiser, self.tokenizer.size, never)
        interval = settings.guidance_interval
        if self.model.config.guidance_input and scale not in (0, 1) and negative is None and not also:
            usual = SamplingSettings()
            for name in ("plausibility", "guidance_interval", "guidance_schedule"):
                if getattr(settings, name) != getattr(usual, name):
                    raise ValueError(
                        f"{name} is {getattr(settings, name)}, but this checkpoint learned its guidance with "
                        f"{getattr(usual, name)}; for others take the checkpoint that it was taught by"
                    )
            return OnePass(writable, scale), self.encode(prompts)
        rising = settings.guidance_schedule == RISING
        guided = Guided(writable, scale, settings.plausibility, negative, also, interval, rising)
        return guided, self.encode(prompts)

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[str],
        *,
        guidance_scale: float | None = None,
        seq_len: int | None = None,
        settings: SamplingSettings | None = None,
        seed: int = 0,
        batch_size: int = 32,
        best_of: int = 1,
    ) -> list[Generated]:
        """Write one text for each prompt ("" for no prompt), at most ``seq_len`` positions, start mark included.

        Above the model's context_length the text goes on in windows; see :mod:`sunfish.sampling.sliding_window`.

        Texts are written ``batch_size`` at a time; a text does not depend on the others of its batch. With ``best_of``
        above 1 so many are drafted for each prompt; of those that reached their end, if any, the one that
        :meth:`fit` finds to answer it best is kept.
        """
        if best_of < 1:
            raise ValueError(f"best_of is {best_of}, but at least 1 text has to be drafted")
        length = self._length(seq_len, best_of)
        if best_of > 1:
            if not all(prompts):
                raise ValueError(f"best_of is {best_of}, but without a prompt no text answers it better")
            drafts = self.generate(
                [prompt for prompt in prompts for _ in range(best_of)],
                guidance_scale=guidance_scale, seq_len=seq_len, settings=settings, seed=seed, batch_size=batch_size,
            )  # fmt: skip
            groups = [drafts[i : i + best_of] for i in range(0, len(drafts), best_of)]
            return [max(group, key=lambda text: (text.finished, self.fit(text))) for group in groups]
        settings, guidance_scale = self._usual(settings, guidance_scale)
        texts: list[Generated] = []
        for first in range(0, len(prompts), batch_size):
            chosen = prompts[first : first + batch_size]
            states = self._snapshots(chosen, guidance_scale, length, settings, seed, first)
            ids = torch.cat([state.x for state in states if state.done], dim=1)[:, 1:].tolist()
            texts += [self._finish(row, prompt) for row, prompt in zip(ids, chosen, strict=True)]
        return texts

    def stream(
        self,
        prompt: str = "",
        *,
        guidance_scale: float | None = None,
        seq_len: int | None = None,
        settings: SamplingSettings | None = None,
        seed: int = 0,
        mask: str = "▒",
    ) -> Iterator[Generated]:
        """One text as it comes into being: what there is after every step, with ``mask`` for each open position.

        The last one is what :meth:`generate` returns for the same arguments.
        """
        length = self._length(seq_len)
        settings, guidance_scale = self._usual(settings, guidance_scale)
        written: list[int] = []
        shown = None
        for state in self._snapshots([prompt], guidance_scale, length, settings, seed, 0):
            x = state.x if state.x.ndim == 2 else self.process.decode(state.x, self.model.table)
            ids = written + x[0].tolist()
            if state.done:
                written = ids
            text = self._finish(ids[1:], prompt, mask)
            if text != shown:
                yield text
            shown = text

    def __call__(
        self,
        prompt: str = "",
        *,
        guidance_scale: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        seq_len: int | None = None,
        **settings: Any,
    ) -> str:
        """The text for one prompt, in ``steps`` denoising steps a block if they are given.

        ``settings`` are further fields of ``SamplingSettings``, such as ``temperature``.
        """
        if steps is not None:
            settings = {"sampler": self.process.samplers[0], **settings, "num_steps": steps}
        chosen = self.generation.settings.changed(**settings)
        return self.generate(
            [prompt], guidance_scale=guidance_scale, seq_len=seq_len, settings=chosen, seed=seed
        )[0].text

    def row(self, text: Generated) -> Tensor:
        """The ids ``[1, N]`` of a text with its start mark, and its end mark if it has one."""
        end = self.tokenizer.end
        return torch.tensor([[end, *text.ids, *[end] * text.finished]], device=self.device)

    def fit(self, text: Generated) -> float:
        """log p(text | prompt) - log p(text) in nats, both exact, by the memory: how far the text answers its prompt.

        The pointwise mutual information of Li et al. 2016 (arXiv:1510.03055, eq. 9), from one model.
        """
        row = self.row(text)
        given, without = self.log_likelihood(torch.cat([row, row]), self.encode([text.prompt]).with_null())
        return float(given - without)

    @torch.no_grad()
    def log_likelihood(self, ids: Tensor, cond: Condition) -> Tensor:
        """log p of each row of ``ids [B, N]`` after its start mark, ``[B]`` nats, exact, as an autoregressive model."""
        _, logits = Writable(self.model, self.tokenizer.size).remember(ids[:, :-1], cond)
        chosen = torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[:, 1:, None])
        return chosen.sum(dim=(1, 2))

    def _snapshots(
        self,
        prompts: Sequence[str],
        guidance_scale: float,
        length: int,
        settings: SamplingSettings,
        seed: int,
        first: int,
    ) -> Iterator[Snapshot]:
        """Every state of one batch, its start mark first; its first text is number ``first`` of the run."""
        guided, cond = self.guided(prompts, guidance_scale, settings)
        end = self.tokenizer.end

        def write(prefix: Tensor, length: int, rng: Streams) -> Iterator[Snapshot]:
            if settings.verifies:
                return verified_snapshots(guided, self.process, cond, prefix, length, rng, settings, end)
            given = F.pad(prefix, (0, length - prefix.shape[1]), value=end)
            free = torch.arange(length, device=self.device).expand_as(given) >= prefix.shape[1]
            return snapshots(guided, self.process, cond, given, free, rng, settings, end)

        rng = Streams.for_rows(seed, first, len(prompts))
        start = torch.full((len(prompts), 1), end, device=self.device)
        return windows(write, start, length, self.model.config.context_length, rng, end)

    def _usual(
        self, settings: SamplingSettings | None, guidance_scale: float | None
    ) -> tuple[SamplingSettings, float]:
        """What is given, and the checkpoint's own where nothing is."""
        scale = self.generation.guidance_scale if guidance_scale is None else guidance_scale
        return settings or self.generation.settings, scale

    def _length(self, seq_len: int | None, best_of: int = 1) -> int:
        limit = self.model.config.context_length
        length = limit if seq_len is None else seq_len
        if length < 2:
            raise ValueError(
                f"seq_len is {length}, but a text has at least 2 positions, its start mark included"
            )
        if best_of > 1 and length > limit:
            raise ValueError(
                f"seq_len is {length}, but best_of compares whole texts, which may have at most {limit} positions"
            )
        return length

    def _finish(self, ids: list[int], prompt: str, mask: str = "") -> Generated:
        """The text before the first end mark, with ``mask`` for every id that is still masked."""
        ended = self.tokenizer.end in ids
        kept = ids[: ids.index(self.tokenizer.end)] if ended else ids
        text, hidden = "", 0
        for masked, group in groupby(kept, lambda i: i >= self.tokenizer.size):  # noise may be a spare id
            run = list(group)
            text += mask * len(run) if masked else self.tokenizer.decode(run)
            hidden += len(run) * masked
        return Generated(text, prompt, ended and not hidden, len(kept) - hidden, kept)
