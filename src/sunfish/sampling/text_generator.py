"""From a prompt to a text: encoding, guidance, the denoising loop, decoding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config import GenerationConfig
from sunfish.config.generation import MAX_TEXTS
from sunfish.config.rules import shown, whole_number
from sunfish.hardware.device import PRECISIONS
from sunfish.model.compiled import CompiledDenoiser
from sunfish.model.denoiser import Denoiser, DenoiserWrapper
from sunfish.model.kernels.int8 import MIN_INT8_NUMEL, MIN_INT8_NUMEL_COMPILED, quantize_int8
from sunfish.model.transformer import Transformer
from sunfish.rng import RowGenerators, refuse_nan
from sunfish.sampling.block_diffusion import Snapshot
from sunfish.sampling.decoding import decode
from sunfish.sampling.generated import Generated, TextState, as_text
from sunfish.sampling.generation_config import read_generation_config
from sunfish.sampling.guidance import ClassifierFreeGuidance, DistilledGuidance
from sunfish.sampling.logits import VocabularyMask
from sunfish.sampling.prompts import check_text, check_weights, checked_prompts, encode_prompt
from sunfish.sampling.sliding_window import sliding_window
from sunfish.sampling.stop import StopStrings
from sunfish.tokenizers.base import TextTokenizer
from sunfish.types import Condition, Process
from sunfish.utils import UsageError

INT8 = "int8"


class TextGenerator:
    """A model with its process and its tokenizers, ready to write."""

    def __init__(
        self,
        model: Transformer,
        process: Process,
        tokenizer: TextTokenizer,
        prompt_tokenizer: TextTokenizer | None = None,
        generation_config: GenerationConfig = GenerationConfig(),  # noqa: B008 - immutable
        compile: bool = False,
        min_int8_numel: int | None = None,
    ) -> None:
        """Make one of its parts; :meth:`from_checkpoint` reads them from a folder.

        Args:
            model: In evaluation mode.
            process: Its corruption.
            tokenizer: Of texts.
            prompt_tokenizer: Of prompts; None: that of texts.
            generation_config: How it writes where a call does not say otherwise.
            compile: See :meth:`from_checkpoint`.
            min_int8_numel: Quantize matrices of at least this many weights to int8, in place; None: none.

        Raises:
            ValueError: A weight is NaN or infinite.
        """
        check_weights(model)
        if min_int8_numel is not None:
            model = quantize_int8(model, min_int8_numel)
        self.model = model
        self.denoiser: Denoiser = CompiledDenoiser(model) if compile else model
        self.process = process.with_embeddings(model.token_embedding)
        self.tokenizer = tokenizer
        self.prompt_tokenizer = prompt_tokenizer or tokenizer
        self.generation_config = generation_config

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        compile: bool = False,
    ) -> Self:
        """Load a checkpoint folder, with the settings that suit it.

        Args:
            path: The folder.
            device: Where the model lives.
            precision: float32; bfloat16, which takes half the memory and is faster where the processor has it; or int8,
                for a CPU only: a quarter of the memory and faster still, with matrices rounded to 1 part in 254.
            compile: The first text takes about a minute (seconds, once that is on disk), all others less than before;
                see :class:`sunfish.model.compiled.CompiledDenoiser`.

        Raises:
            ValueError: The folder is no checkpoint of this version, or is damaged.
            UsageError: There is no such precision, or not on this device.
        """
        if precision not in (*PRECISIONS, INT8):
            raise UsageError(f"precision is {precision!r}; give one of: {', '.join(PRECISIONS)}, {INT8}")
        if precision == INT8 and torch.device(device).type != "cpu":
            raise UsageError(
                f"precision is {INT8}, which is for a CPU, but device is {device}; give bfloat16"
            )
        checkpoint = load_checkpoint(Path(path), device)
        config = read_generation_config(checkpoint.path)
        model, numel = checkpoint.model, None
        if precision == INT8:
            numel = MIN_INT8_NUMEL_COMPILED if compile else MIN_INT8_NUMEL
        else:
            model = model.to(PRECISIONS[precision])
        tokenizers = (checkpoint.tokenizer, checkpoint.prompt_tokenizer)
        return cls(model, checkpoint.process, *tokenizers, config, compile, numel)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.model.token_embedding.device

    @torch.no_grad()
    def encode(self, prompts: Iterable[str]) -> Condition:
        """The condition of ``prompts``; an empty prompt is the null prompt, as dropped ones are in training.

        Raises:
            UsageError: A prompt is no text, or is longer than the model's ``prompt_length``.
        """
        limit = self.model.config.prompt_length
        rows = [encode_prompt(self.prompt_tokenizer, prompt, limit) for prompt in checked_prompts(prompts)]
        width = max([1, *(len(row) for row in rows)])
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[i, : len(row)] = True
        return self.model.encode(ids.to(self.device), mask.to(self.device))

    def guided(
        self, prompts: Sequence[str], config: GenerationConfig, banned_ids: Sequence[int] = ()
    ) -> tuple[DenoiserWrapper, Condition]:
        """The guided denoiser for these prompts, and their condition.

        A model that takes the scale in needs one pass, unless there are negative or further prompts. What it learned is
        guidance at the default plausibility.

        Raises:
            UsageError: This checkpoint's distilled guidance does not have the scale or plausibility.
        """
        masked, scale = VocabularyMask(self.denoiser, self.tokenizer.size, banned_ids), config.guidance_scale
        check_text("negative_prompt", config.negative_prompt)
        for text, _ in config.composed_prompts:
            check_text(f"the further prompt {shown(text)}", text)
        distilled = self.model.guidance_embedding is not None and scale not in (0, 1)
        if distilled and not config.negative_prompt and not config.composed_prompts:
            if config.plausibility != GenerationConfig.plausibility:
                raise UsageError(
                    f"plausibility is {config.plausibility}, but this checkpoint learned its guidance with "
                    f"{GenerationConfig.plausibility}; for another use its teacher's checkpoint"
                )
            return DistilledGuidance(masked, scale), self.encode(prompts)
        negative = self.encode([config.negative_prompt] * len(prompts)) if config.negative_prompt else None
        composed = [(self.encode([text] * len(prompts)), weight) for text, weight in config.composed_prompts]
        guided = ClassifierFreeGuidance(masked, scale, config.plausibility, negative, composed)
        return guided, self.encode(prompts)

    @torch.no_grad()
    def generate(
        self,
        prompts: Iterable[str],
        config: GenerationConfig | None = None,
        *,
        seq_len: int | None = None,
        seed: int = 0,
        batch_size: int = 32,
        best_of: int = 1,
        stop: Sequence[str] = (),
    ) -> list[Generated]:
        """Write one text for each prompt.

        Args:
            prompts: "" for no prompt.
            config: How tokens are drawn; None: the checkpoint's own.
            seq_len: Positions of a text at the most, its start mark included; None: the model's context. Above that the
                text continues in windows, see :mod:`sunfish.sampling.sliding_window`.
            seed: The same seed gives the same texts.
            batch_size: Texts at a time; a text does not depend on the others of its batch.
            best_of: Draft this many for each prompt; of those that reached their end, if any, keep the one that answers
                its prompt best by :meth:`prompt_pmi`.
            stop: A text ends before the first of these strings.

        Raises:
            UsageError: An argument is of another type or out of range.
            ValueError: The network returned NaN.
        """
        prompts, config, seed = (
            checked_prompts(prompts),
            self._settings(config),
            whole_number("seed", seed, 0),
        )
        batch_size = whole_number("batch_size", batch_size, 1)
        best_of = whole_number("best_of", best_of, 1, MAX_TEXTS)
        length, stops = self._length(seq_len, best_of), StopStrings(stop)
        if best_of > 1:
            if not all(prompts):
                raise UsageError(
                    f"best_of is {best_of}, but it compares how well texts fit a prompt; give one for each"
                )
            repeated = [prompt for prompt in prompts for _ in range(best_of)]
            drafts = self.generate(
                repeated, config, seq_len=seq_len, seed=seed, batch_size=batch_size, stop=stops.stops
            )
            groups = [drafts[i : i + best_of] for i in range(0, len(drafts), best_of)]
            return [max(group, key=lambda text: (text.finished, self.prompt_pmi(text))) for group in groups]
        texts: list[Generated] = []
        for first in range(0, len(prompts), batch_size):
            batch = prompts[first : first + batch_size]
            states = self._snapshots(batch, length, config, RowGenerators.for_rows(seed, first, len(batch)))
            ids = self._written(states, stops)
            texts += [self.decode(row, prompt, stops=stops) for row, prompt in zip(ids, batch, strict=True)]
        return texts

    def _written(self, states: Iterable[Snapshot], stops: StopStrings) -> list[list[int]]:
        """The ids of each row after its start mark; nothing more is written once all have a stop string or an end."""
        rows: list[list[int]] = []
        for block in (state.x.tolist() for state in states if state.done):
            rows = [[*row, *new] for row, new in zip(rows or [[]] * len(block), block, strict=True)]
            if stops and all(self.decode(row[1:], "", stops=stops).finished for row in rows):
                break
        return [row[1:] for row in rows]

    def stream(
        self,
        prompt: str = "",
        config: GenerationConfig | None = None,
        *,
        seq_len: int | None = None,
        seed: int = 0,
        mask: str = "▒",
        stop: Sequence[str] = (),
    ) -> Iterator[Generated]:
        """One text as it comes into being: what there is after every step, with ``mask`` for each masked position.

        The last one is what :meth:`generate` returns for the same arguments.
        """
        stops, shown = StopStrings(stop), None
        for state in self.states(prompt, config, seq_len=seq_len, seed=seed, stop=stop):
            text = self.decode(state.ids, prompt, mask, stops)
            if text != shown:
                yield text
            shown = text

    def states(
        self,
        prompt: str = "",
        config: GenerationConfig | None = None,
        *,
        seq_len: int | None = None,
        seed: int = 0,
        number: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[TextState]:
        """The ids of one text after every step, as :meth:`generate` writes it.

        Args:
            prompt: "" for no prompt.
            config: How tokens are drawn; None: the checkpoint's own.
            seq_len: See :meth:`generate`.
            seed: Likewise.
            number: Which of the texts of this seed: that of prompt ``number`` in :meth:`generate`.
            stop: Nothing is written once one of these strings is settled.

        Yields:
            The states; in the last one all is settled.
        """
        config, stops = self._settings(config), StopStrings(stop)
        rng = RowGenerators.for_rows(whole_number("seed", seed, 0), whole_number("number", number, 0), 1)
        written: list[int] = []
        for state in self._snapshots([prompt], self._length(seq_len), config, rng):
            x = state.x if state.x.ndim == 2 else self.process.decode(state.x)
            ids = written + x[0].tolist()
            if state.done:
                written = ids
            yield TextState(ids[1:], len(written) - 1)
            if state.done and stops and self.decode(ids[1:], prompt, stops=stops).stop:
                return

    def __call__(
        self,
        prompt: str = "",
        *,
        steps: int | None = None,
        seed: int = 0,
        seq_len: int | None = None,
        **config: Any,
    ) -> str:
        """The text for one prompt, in ``steps`` denoising steps a block if they are given.

        ``config`` are fields of :class:`sunfish.config.GenerationConfig`, such as ``temperature``.
        """
        if steps is not None:
            config = {"sampler": self.process.default_sampler, **config, "num_steps": steps}
        chosen = self.generation_config.changed(**config)
        if steps is not None and chosen.is_verified:
            raise UsageError(
                f"steps is {steps}, but sampler is {chosen.sampler}, which has no denoising steps"
            )
        return self.generate([prompt], chosen, seq_len=seq_len, seed=seed)[0].text

    def row(self, text: Generated) -> Tensor:
        """The ids ``[1, N]`` of a text with its start mark, and its end mark if it has one."""
        end = self.tokenizer.end
        ending = [end] if text.finished and not text.stop else []
        return torch.tensor([[end, *text.ids, *ending]], device=self.device)

    def prompt_pmi(self, text: Generated) -> float:
        """log p(text | prompt) - log p(text) in nats, both exact: how far the text answers its prompt.

        The pointwise mutual information of Li et al. 2016 (arXiv:1510.03055, eq. 9), from one model.
        """
        row = self.row(text)
        given, without = self.log_likelihood(torch.cat([row, row]), self.encode([text.prompt]).with_null())
        return float(given - without)

    @torch.no_grad()
    def log_likelihood(self, ids: Tensor, condition: Condition) -> Tensor:
        """log p of each row of ``ids [B, N]`` after its start mark, ``[B]`` nats, exact, as an autoregressive model."""
        logits, _ = VocabularyMask(self.denoiser, self.tokenizer.size).prefill(ids[:, :-1], condition)
        chosen = torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[:, 1:, None])
        refuse_nan(chosen.squeeze(-1))
        return chosen.sum(dim=(1, 2))

    def decode(
        self, ids: list[int], prompt: str, mask: str = "", stops: StopStrings | None = None
    ) -> Generated:
        """See :func:`sunfish.sampling.generated.as_text`."""
        return as_text(self.tokenizer, ids, prompt, mask, stops)

    def _snapshots(
        self, prompts: Sequence[str], length: int, config: GenerationConfig, rng: RowGenerators
    ) -> Iterator[Snapshot]:
        """Every state of one batch, its start mark first."""
        guided, condition = self.guided(prompts, config)
        end = self.tokenizer.end

        def write(prefix: Tensor, length: int, rng: RowGenerators) -> Iterator[Snapshot]:
            return decode(guided, self.process, condition, prefix, length, rng, config, end)

        start = torch.full((len(prompts), 1), end, device=self.device)
        return sliding_window(write, start, length, self.model.config.context_length, rng, end)

    def _settings(self, config: GenerationConfig | None) -> GenerationConfig:
        """Those of a call, else those of the checkpoint."""
        if config is not None and not isinstance(config, GenerationConfig):
            raise UsageError(
                f"config is {shown(config)}; give a GenerationConfig, or None for the checkpoint's own"
            )
        return config or self.generation_config

    def _length(self, seq_len: int | None, best_of: int = 1) -> int:
        limit = self.model.config.context_length
        length = limit if seq_len is None else whole_number("seq_len", seq_len, -math.inf)
        if length < 2:
            raise UsageError(
                f"seq_len is {length}, but a text has at least 2 positions, its start mark included"
            )
        if best_of > 1 and length > limit:
            raise UsageError(
                f"seq_len is {length}, but best_of compares whole texts, which may have at most {limit} positions"
            )
        return length
