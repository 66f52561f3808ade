"""The whole training story, top to bottom: prepare, build or resume, step, report, save.

sunfish train --config tiny --max_minutes 20
sunfish train --resume checkpoints/last.ckpt
"""

from __future__ import annotations

import copy
import math
import signal
import time
from pathlib import Path
from typing import Any

import torch

from sunfish.checkpoint.folder import (
    BEST,
    LAST,
    load_trainer,
    prune_checkpoints,
    read_metadata,
    save_checkpoint,
    update_symlink,
)
from sunfish.checkpoint.model_card import model_card
from sunfish.config import Config, GenerationConfig
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedCorpus, report
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.hardware.device import autocast, choose_device, choose_precision, set_threads
from sunfish.model.compiled import require_compiler
from sunfish.model.pretrained_prompts import load_pretrained_prompts
from sunfish.model.transformer import build_model
from sunfish.processes import build_process
from sunfish.rng import derive_seed, make_generator
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers.base import TextTokenizer
from sunfish.training.distillation import Distillation
from sunfish.training.evaluation import Validation, validate
from sunfish.training.logger import Logger
from sunfish.training.loss import Losses, training_loss
from sunfish.training.metrics import Metrics, describe
from sunfish.training.optimizer import learning_rate_factor, update_average
from sunfish.training.step import NonFiniteLoss, Objective, TrainingStep
from sunfish.training.time_sampling import check_noise_settings
from sunfish.types import Batch
from sunfish.utils import format_duration, log

SHOWN_PROMPTS = 2  # held-out prompts among the samples


class TrainingInterrupted(Exception):
    """A signal asked for the end, and the run was saved. ``signum`` gives the exit code."""

    def __init__(self, signum: int, folder: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; resume with --resume {folder}")
        self.signum = signum


class Trainer:
    """One run. :meth:`state` is all that resuming needs; the rest follows from the configuration."""

    def __init__(self, config: Config, resume: Path | None = None) -> None:
        settings = config.training
        self.config = config
        self.device = choose_device(settings.device)
        self.threads = set_threads(settings.threads)
        self.dtype = choose_precision(settings.precision, self.device)
        if settings.compile:
            require_compiler()
        self.folder = Path(settings.checkpoints) / settings.name
        saved = load_trainer(resume) if resume else None
        if not resume and self.folder.exists() and any(self.folder.glob("step-*")):
            raise ValueError(
                f"{self.folder} already holds a run. Resume it with --resume {self.folder / LAST}, "
                "or choose another --name"
            )
        self._build()
        self.step, self.tokens, self.seconds, self.best = 0, 0, 0.0, math.inf
        if saved:
            self._restore(saved)
        self._saved_step = self.step if saved else None
        self._stop: int | None = None

    def _build(self) -> None:
        """The corpus, the network, its average, and what a step needs."""
        config, settings = self.config, self.config.training
        process = build_process(config.process, config.model.vocab_size)
        check_noise_settings(config, process)
        table, prompt_tokenizer = None, None
        if config.model.prompt_encoder != "learned":
            pretrained = load_pretrained_prompts(config.model.prompt_encoder)
            table, prompt_tokenizer = pretrained.table, TextTokenizer(pretrained.tokenizer)
        source = open_source(config.corpus, settings.seed)
        self.prepared: PreparedCorpus = prepare(source, config, prompt_tokenizer=prompt_tokenizer)
        end = self.prepared.tokenizer.end
        self.batches = BatchLoader(self.prepared.split("train"), settings.batch_size, end, settings.seed)
        self.held_out = BatchLoader(
            self.prepared.split("validation"), settings.batch_size, end, settings.seed
        )
        self.model = build_model(config, process, table)
        self.model.init_weights(make_generator("initialisation", settings.seed)).to(self.device)
        self.process = process.with_embeddings(self.model.token_embedding)
        self.model.activation_checkpointing = settings.activation_checkpointing
        self.model.set_dropout(settings.dropout)
        loss: Objective = training_loss
        if settings.distills:
            loss = Distillation.start(Path(settings.teacher), self.model, self.prepared.tokenizer)
        self.training_step = TrainingStep.build(config, self.model, self.process, self.dtype, loss)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        if settings.compile:
            self.model.compile_blocks()

    def _restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        for optimizer, state in zip(self.training_step.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.seconds, self.best = saved["step"], saved["seconds"], saved["best"]
        self.tokens = saved["tokens"]

    def state(self) -> dict[str, Any]:
        """All that a resumed run cannot derive. Noise and data order follow from (seed, step)."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.training_step.optimizers],
        }

    def progress(self) -> float:
        """Share of the run that is over, by whichever limit comes first; 0 without any limit."""
        settings = self.config.training
        by_steps = self.step / settings.max_steps if settings.max_steps else 0.0
        by_time = self.seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def train_step(self) -> tuple[Losses, Batch]:
        """One update of the weights and of their average. Noise is seeded by (seed, step).

        Raises:
            NonFiniteLoss: with the step, the rows of the batch and the last good checkpoint.
        """
        settings = self.config.training
        generator = make_generator("step", settings.seed, self.step)
        batch = self.batches.batch(self.step).to(self.device)
        if settings.dropout:
            torch.manual_seed(derive_seed("dropout", settings.seed, self.step))
        factor = learning_rate_factor(settings, self.step, self.progress())
        try:
            losses = self.training_step(batch, generator, self.step, factor)
        except NonFiniteLoss as why:
            last = self.folder / LAST
            good = f"The last good checkpoint is {last}" if last.exists() else "No checkpoint exists yet"
            raise NonFiniteLoss(
                f"step {self.step}: {why}; the batch was rows {self.batches.row_numbers(self.step)} of "
                f"{self.prepared.folder}. {good}. Try a lower --learning_rate and --matrix_learning_rate, or "
                "--precision float32"
            ) from None
        update_average(self.average, self.model, settings.ema_decay, self.step)
        self.step += 1
        self.tokens += int(batch.lengths.sum())
        return losses, batch

    def validate(self) -> Validation:
        """The held-out figures of the averaged weights."""
        settings = self.config.training
        sizes = (settings.eval_texts, settings.batch_size, settings.block_lengths)
        return validate(self.average, self.process, self.held_out, *sizes, self.dtype, settings.seed)

    def sample(self) -> list[tuple[str, str]]:
        """Pairs of (prompt, text) from the averaged weights: held-out prompts, if it has any, and none."""
        split = self.prepared.split("validation")
        tokenizer, prompt_tokenizer = self.prepared.tokenizer, self.prepared.prompt_tokenizer
        limit = self.config.model.prompt_length
        shown = min(SHOWN_PROMPTS, len(split)) if limit else 0
        prompts = [decode_prompt(prompt_tokenizer, split.prompt(i).tolist(), limit) for i in range(shown)]
        pipeline = Pipeline(self.average, self.process, tokenizer, prompt_tokenizer)
        with autocast(self.device, self.dtype):
            texts = pipeline.generate([*prompts, ""], GenerationConfig(), seed=self.step)
        return [(text.prompt, text.text + ("" if text.finished else " …")) for text in texts]

    def save(self, best: bool = False) -> Path:
        """Write a checkpoint, point ``last.ckpt`` (and ``best.ckpt``) to it, prune the older ones."""
        card = model_card(self.config, self.step, self.seconds, self.prepared.manifest)
        learned = self.config.model.prompt_encoder == "learned"  # prompts then have the tokenizer of texts
        tokenizers = (self.prepared.tokenizer, None if learned else self.prepared.prompt_tokenizer)
        name = f"step-{self.step:07d}"
        folder = save_checkpoint(
            self.folder / name, self.config, self.average, *tokenizers, self.state(), card
        )
        update_symlink(self.folder / LAST, folder)
        update_symlink(self.folder.parent / LAST, folder)
        if best:
            update_symlink(self.folder / BEST, folder)
        best_folder = folder.parent / (self.folder / BEST).resolve().name
        prune_checkpoints(self.folder, {folder, best_folder}, self.config.training.eval_every)
        self._saved_step = self.step
        return folder

    def run(self) -> Path:
        """Train to the limit.

        Returns:
            The folder of the last checkpoint.

        Raises:
            TrainingInterrupted: after a signal, when the run is saved.
            NonFiniteLoss: as :meth:`train_step`.
        """
        settings = self.config.training
        logger = Logger(self.folder, settings.trackers, self.config.to_dict())
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            logger.log(report(self.prepared))
            logger.log(
                f"training {settings.name}: {sum(p.numel() for p in self.model.parameters()):,} parameters "
                f"on {self.device} ({self.threads} threads, {str(self.dtype).removeprefix('torch.')}), "
                f"from step {self.step}"
            )
            self._loop(logger)
            folder = (self.folder / LAST).resolve() if self._saved_step == self.step else self.save()
            if self._stop is not None and self.progress() < 1:
                raise TrainingInterrupted(self._stop, self.folder / LAST)
            logger.log(
                f"done after {self.step} steps and {format_duration(self.seconds)}: {self.folder / LAST}"
            )
            return folder
        finally:
            logger.close()
            for signum, handler in handlers.items():
                signal.signal(signum, handler)

    def _loop(self, logger: Logger) -> None:
        """Step until the limit or a signal; report, validate, save and sample by the two clocks."""
        settings = self.config.training
        metrics, previous = Metrics(), time.perf_counter()
        saved_seconds = self.seconds
        while self.progress() < 1 and self._stop is None:
            begin = time.perf_counter()
            losses, batch = self.train_step()
            now = time.perf_counter()
            metrics.add(losses, batch, now - begin)
            # Wall clock, so that max_minutes holds: validation, samples and saving count too.
            self.seconds += now - previous
            previous = now
            finished = self.progress() >= 1
            if finished or self.step % settings.log_every == 0:
                self._log_metrics(logger, metrics.flush())
            evaluates = finished or self.step % settings.eval_every == 0
            overdue = 0 < 60 * settings.save_minutes <= self.seconds - saved_seconds
            if evaluates or overdue:
                self.save(best=evaluates and self._validate(logger))
                logger.samples(self.step, self.sample())
                saved_seconds = self.seconds

    def _log_metrics(self, logger: Logger, values: dict[str, float]) -> None:
        values |= {
            "epoch": self.batches.epoch(self.step),
            "minutes": self.seconds / 60,
            "tokens": self.tokens,
        }
        progress = self.progress()
        remaining = "no limit"
        if progress > 0:
            remaining = format_duration(self.seconds * (1 - progress) / progress)
        logger.metrics(self.step, values)
        logger.progress(self.step, progress, values, remaining)

    def _validate(self, logger: Logger) -> bool:
        """Validate and report; returns whether the bound is the best so far."""
        validation = self.validate()
        logger.metrics(self.step, {f"validation/{k}": v for k, v in validation._asdict().items()})
        logger.log(describe(self.step, validation, self.config.model.prompt_length > 0))
        improved = validation.bound < self.best
        self.best = min(self.best, validation.bound)
        return improved

    def _on_signal(self, signum: int, frame: object) -> None:
        if self._stop is not None:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        self._stop = signum
        log(f"{signal.Signals(signum).name}: saving after this step …")


def decode_prompt(tokenizer: TextTokenizer, ids: list[int], limit: int) -> str:
    """The prompt as text of at most ``limit`` tokens.

    It is shortened until it encodes to that many: half a letter decodes to a replacement mark of more tokens.
    """
    text = tokenizer.decode(ids)
    while len(tokenizer.encode(text)) > limit:
        text = text[:-1]
    return text


def train(config: Config, resume: Path | None = None) -> Path:
    """Train ``config`` from the start, or resume it from the checkpoint folder ``resume``.

    Returns:
        The folder of the last checkpoint.

    Raises:
        ValueError: for settings or data that are wrong.
        NonFiniteLoss, TrainingInterrupted: as :meth:`Trainer.run`.
    """
    if resume is not None:
        read_metadata(resume)
    return Trainer(config, resume.resolve() if resume else None).run()
