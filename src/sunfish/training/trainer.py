"""The whole training story, top to bottom: prepare, build or resume, step, report, save.

sunfish train --config tiny --max_minutes 20
sunfish train --resume checkpoints/last.ckpt
"""

from __future__ import annotations

import copy
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sunfish.checkpoint.folder import BEST, LAST, load_trainer, point, read_about, save_checkpoint, thin
from sunfish.checkpoint.model_card import model_card
from sunfish.config import Config
from sunfish.config.sampling import SamplingSettings
from sunfish.data.dataloader import Batches
from sunfish.data.dataset import Prepared, report
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.open import open_source
from sunfish.hardware.device import choose_device, choose_precision, set_threads
from sunfish.model.compiled import need_tools
from sunfish.model.pretrained_prompts import load_pretrained_prompts
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import generator_of, seed_of
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers.base import TextTokenizer
from sunfish.training.distillation import Distillation
from sunfish.training.evaluation import Validation, validate
from sunfish.training.logger import Monitor
from sunfish.training.loss import Losses, objective
from sunfish.training.metrics import Meter, describe
from sunfish.training.optimizer import build_optimizers, learning_rate_factor, update_average
from sunfish.types import Batch
from sunfish.utils import format_duration, log


class Interrupted(Exception):
    """A signal asked for the end; the run was saved. ``signum`` gives the exit code."""

    def __init__(self, signum: int, folder: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; go on with --resume {folder}")
        self.signum = signum


class NotFinite(ValueError):
    """The loss became NaN or infinite; nothing of the bad step was saved."""


class Trainer:
    """One run. Everything that resuming needs is in :meth:`state`; all else follows from the configuration."""

    def __init__(self, config: Config, resume: Path | None = None) -> None:
        settings = config.training
        self.config = config
        self.device = choose_device(settings.device)
        self.threads = set_threads(settings.threads)
        self.dtype = choose_precision(settings.precision, self.device)
        if settings.compile:
            need_tools()
        self.folder = Path(settings.checkpoints) / settings.name
        saved = load_trainer(resume) if resume else None
        if not resume and self.folder.exists() and any(self.folder.glob("step-*")):
            raise ValueError(
                f"{self.folder} already holds a run. Go on with --resume {self.folder / LAST}, "
                "or choose another --name"
            )
        table, prompt_tokenizer = None, None
        if config.model.prompt_encoder != "learned":
            pretrained = load_pretrained_prompts(config.model.prompt_encoder)
            table, prompt_tokenizer = pretrained.table, TextTokenizer(pretrained.tokenizer)
        source = open_source(config.corpus, settings.seed)
        self.prepared: Prepared = prepare(source, config, prompt_tokenizer=prompt_tokenizer)
        self.process = build_process(config.process)
        self.model = Transformer(config.model, table).initialise(
            generator_of("initialisation", settings.seed)
        )
        self.model.to(self.device)
        self.model.activation_checkpointing = settings.activation_checkpointing
        self.model.regularise(settings.dropout)
        self.objective = objective
        if settings.teacher:
            self.objective = Distillation.start(Path(settings.teacher), self.model, self.prepared.tokenizer)
        self.optimizers = build_optimizers(self.model, settings, config.model.n_embd, self.dtype)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        if settings.compile:
            self.model.compile_layers()
        self.step, self.tokens, self.seconds, self.best = 0, 0, 0.0, math.inf
        if saved:
            self._restore(saved)
        end = self.prepared.tokenizer.end
        self.batches = Batches(self.prepared.split("train"), settings.batch_size, end, settings.seed)
        self.held_out = Batches(self.prepared.split("validation"), settings.batch_size, end, settings.seed)
        self._stop: int | None = None

    def _restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.seconds, self.best = saved["step"], saved["seconds"], saved["best"]
        self.tokens = saved["tokens"]

    def state(self) -> dict[str, Any]:
        """All that a resumed run cannot work out again. Noise and data order follow from (seed, step)."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def progress(self) -> float:
        """Share of the run that is over, by whichever limit comes first; 0 without any limit."""
        settings = self.config.training
        by_steps = self.step / settings.max_steps if settings.max_steps else 0.0
        by_time = self.seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def only_reads(self) -> bool:
        """Whether the next step is one of those at the start that learn the next token alone."""
        settings = self.config.training
        limited = bool(settings.max_steps or settings.max_minutes)
        return limited and self.progress() < settings.read_first

    def train_step(self) -> tuple[Losses, Batch]:
        """One update of the weights. Noise is seeded by (seed, step). Raises :class:`NotFinite`."""
        settings = self.config.training
        generator = generator_of("step", settings.seed, self.step)
        batch = self.batches.batch(self.step).to(self.device)
        block_length = settings.block_lengths[self.step % len(settings.block_lengths)]
        if self.only_reads():
            settings = replace(settings, next_token_weight=1.0)
        if settings.dropout:
            torch.manual_seed(seed_of("dropout", settings.seed, self.step))
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            losses = self.objective(self.model, self.process, batch, generator, block_length, settings)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.gradient_clip or math.inf)
        if not math.isfinite(float(norm)) or not math.isfinite(losses.total.item()):
            rows = self.batches.row_numbers(self.step)
            good = self.folder / LAST
            raise NotFinite(
                f"step {self.step}: loss {losses.total.item()}, gradient norm {float(norm)}; the batch was rows "
                f"{rows} of {self.prepared.folder}. "
                + (f"The last good checkpoint is {good}. " if good.exists() else "No checkpoint exists yet. ")
                + "Try a lower --learning_rate and --matrix_learning_rate, or --precision float32"
            )
        factor = learning_rate_factor(settings, self.step, self.progress())
        for optimizer, rate in zip(
            self.optimizers, (settings.matrix_learning_rate, settings.learning_rate), strict=True
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        update_average(self.average, self.model, settings.ema_decay, self.step)
        self.step += 1
        self.tokens += int(batch.lengths.sum())
        return losses, batch

    def validate(self) -> Validation:
        """The held-out figures of the averaged weights."""
        settings = self.config.training
        return validate(
            self.average, self.process, self.held_out, settings.eval_texts, settings.batch_size,
            settings.block_lengths, self.dtype, settings.seed,
        )  # fmt: skip

    def sample(self) -> list[tuple[str, str]]:
        """Two held-out prompts (none in a model without them) and no prompt, with what the averaged weights write."""
        split = self.prepared.split("validation")
        tokenizer, prompt_tokenizer = self.prepared.tokenizer, self.prepared.prompt_tokenizer
        limit = self.config.model.prompt_length
        shown = min(2, len(split)) if limit else 0
        prompts = [_readable(prompt_tokenizer, split.prompt(i).tolist(), limit) for i in range(shown)]
        pipeline = Pipeline(self.average, self.process, tokenizer, prompt_tokenizer)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            texts = pipeline.generate([*prompts, ""], settings=SamplingSettings(), seed=self.step)
        return [(text.prompt, text.text + ("" if text.finished else " …")) for text in texts]

    def save(self, best: bool = False) -> Path:
        """Write a checkpoint, point ``last.ckpt`` (and ``best.ckpt``) to it, thin the older ones."""
        card = model_card(self.config, self.step, self.seconds, self.prepared.manifest)
        own = self.config.model.prompt_encoder != "learned"
        prompt_tokenizer = self.prepared.prompt_tokenizer if own else None
        folder = save_checkpoint(
            self.folder / f"step-{self.step:07d}", self.config, self.average, self.prepared.tokenizer,
            prompt_tokenizer, self.state(), card,
        )  # fmt: skip
        point(self.folder / LAST, folder)
        point(self.folder.parent / LAST, folder)
        if best:
            point(self.folder / BEST, folder)
        keep = {folder, (self.folder / BEST).resolve()} | {
            folder.parent / (self.folder / BEST).resolve().name
        }
        thin(self.folder, keep, self.config.training.save_every)
        return folder

    def run(self) -> Path:
        """Train to the limit. Returns the last checkpoint. Raises :class:`Interrupted` after a signal."""
        settings = self.config.training
        monitor = Monitor(self.folder, settings.trackers, self.config.to_dict())
        before = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            monitor.say(report(self.prepared))
            monitor.say(
                f"training {settings.name}: {sum(p.numel() for p in self.model.parameters()):,} parameters on "
                f"{self.device} ({self.threads} threads, {str(self.dtype).removeprefix('torch.')}), from step {self.step}"
            )
            if self.only_reads():
                monitor.say(
                    f"the first {settings.read_first:.0%} of the run only read: train_loss, and the bound of the canvas, "
                    "begin to fall after that"
                )
            meter = Meter()
            saved_at = self.step if self.step else -1  # a resumed run begins with what is saved
            before_step, both_at = time.perf_counter(), self.seconds
            while self.progress() < 1 and self._stop is None:
                begin = time.perf_counter()
                losses, batch = self.train_step()
                now = time.perf_counter()
                meter.add(losses, batch, now - begin)
                # Wall clock, so that max_minutes keeps its word; validation, samples and saving count too.
                self.seconds += now - before_step
                before_step = now
                finished = self.progress() >= 1
                if self.step % settings.log_every == 0 or finished:
                    values = meter.flush() | {
                        "epoch": self.batches.epoch(self.step),
                        "minutes": self.seconds / 60,
                        "tokens": self.tokens,
                    }
                    monitor.metrics(self.step, values)
                    monitor.progress(self.step, self.progress(), values, self._time_left())
                improved, due = False, 0 < 60 * settings.save_minutes <= self.seconds - both_at
                if self.step % settings.eval_every == 0 or finished:
                    validation = self.validate()
                    improved = validation.bound < self.best
                    self.best = min(self.best, validation.bound)
                    monitor.metrics(
                        self.step, {f"validation/{k}": v for k, v in validation._asdict().items()}
                    )
                    monitor.say(describe(self.step, validation, self.config.model.prompt_length > 0))
                saves = self.step % settings.save_every == 0 or finished or improved or due
                shows = self.step % settings.sample_every == 0 or finished or due
                if saves:
                    self.save(improved)
                    saved_at = self.step
                if shows:
                    monitor.samples(self.step, self.sample())
                if saves and shows:  # one of them alone, by steps, must not put off the other
                    both_at = self.seconds
            folder = (self.folder / LAST).resolve() if saved_at == self.step else self.save()
            if self._stop is not None and self.progress() < 1:
                raise Interrupted(self._stop, self.folder / LAST)
            monitor.say(
                f"done after {self.step} steps and {format_duration(self.seconds)}: {self.folder / LAST}"
            )
            return folder
        finally:
            monitor.close()
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _on_signal(self, signum: int, frame: object) -> None:
        if self._stop is not None:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        self._stop = signum
        log(f"{signal.Signals(signum).name}: saving after this step …")

    def _time_left(self) -> str:
        progress = self.progress()
        return format_duration(self.seconds * (1 - progress) / progress) if progress > 0 else "no limit"


def _readable(tokenizer: TextTokenizer, ids: list[int], limit: int) -> str:
    """The prompt as text, cut until it has at most ``limit`` tokens again: a cut letter reads back as more tokens."""
    text = tokenizer.decode(ids)
    while len(tokenizer.encode(text)) > limit:
        text = text[:-1]
    return text


def train(config: Config, resume: Path | None = None) -> Path:
    """Train ``config`` from the start, or go on from the checkpoint folder ``resume``; returns the last checkpoint.

    Raises ``ValueError`` for bad settings or data and :class:`NotFinite`, :class:`Interrupted` as they say.
    """
    if resume is not None:
        read_about(resume)
    return Trainer(config, resume.resolve() if resume else None).run()
