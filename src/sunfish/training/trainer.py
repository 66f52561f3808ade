"""The whole training story, top to bottom: prepare, build or resume, step, report, save.

sunfish train --config tiny --max_minutes 20
sunfish train --resume checkpoints/last.ckpt
"""

from __future__ import annotations

import copy
import dataclasses
import math
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from sunfish.checkpoint.folder import LAST, load_trainer, read_metadata, save_checkpoint
from sunfish.checkpoint.links import STATE, resolve_checkpoint
from sunfish.checkpoint.model_card import model_card
from sunfish.checkpoint.run_folder import check_room, opened_run, publish
from sunfish.checkpoint.trainer_state import restore
from sunfish.config import Config, GenerationConfig
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedCorpus, report
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.disk.writing import WriteError
from sunfish.hardware.device import autocast, choose_device, choose_precision, set_threads
from sunfish.model.compiled import require_compiler
from sunfish.model.pretrained_prompts import load_pretrained_prompts
from sunfish.model.transformer import build_model
from sunfish.processes import build_process
from sunfish.rng import derive_seed, make_generator
from sunfish.sampling.pipeline import Pipeline
from sunfish.signals import Interrupted, handled
from sunfish.tokenizers.base import TextTokenizer
from sunfish.training.distillation import Distillation
from sunfish.training.evaluation import Validation, validate
from sunfish.training.logger import Logger
from sunfish.training.loss import Losses, training_loss
from sunfish.training.metrics import Metrics, describe
from sunfish.training.optimizer import learning_rate_factor, update_average
from sunfish.training.resume import (
    Resumed,
    check_folder,
    compare_corpus,
    compare_environment,
    corpus_record,
    environment,
    find_data,
    load_resumed,
)
from sunfish.training.step import NonFiniteLoss, Objective, TrainingStep
from sunfish.training.time_sampling import check_noise_settings
from sunfish.training.trackers import check_trackers
from sunfish.types import Batch
from sunfish.utils import Stderr, format_duration, log

SHOWN_PROMPTS = 2  # held-out prompts among the samples
MAX_ROLLBACKS = 3  # in a row, before the next checkpoint that the run reaches by itself
SIGPIPE = getattr(signal, "SIGPIPE", signal.SIGTERM)  # Windows has none


class TrainingInterrupted(Exception):
    """A signal asked for the end, and the run was saved. ``signum`` gives the exit code."""

    def __init__(self, signum: int, folder: Path) -> None:
        why = " (nobody reads the log)" if signum == SIGPIPE else ""
        super().__init__(f"stopped by {signal.Signals(signum).name}{why}; resume with --resume {folder}")
        self.signum = signum


class Trainer:
    """One run. :meth:`state` is all that resuming needs; the rest follows from the configuration."""

    def __init__(self, config: Config, resume: Path | None = None, other_data: bool = False) -> None:
        """Prepare the corpus and build the network.

        Args:
            config: the run.
            resume: the checkpoint folder to resume from.
            other_data: whether a resumed run may continue on other text than it has learned from.

        Raises:
            ValueError: for settings or data that are wrong.
        """
        settings = config.training
        self.config = config
        check_trackers(settings.trackers)
        self.device = choose_device(settings.device)
        self.threads = set_threads(settings.threads)
        self.dtype = choose_precision(settings.precision, self.device)
        if settings.compile:
            require_compiler()
        self.folder = settings.folder
        resumed = load_resumed(resume) if resume else None
        check_folder(self.folder, resumed)
        if resumed and not other_data:
            self.config = dataclasses.replace(config, corpus=find_data(config.corpus, resumed))
        self.notes: list[str] = []
        self._build(resumed)
        check_room(self.folder, sum(p.numel() * p.element_size() for p in self.model.parameters()))
        self.corpus = corpus_record(self.config, self.prepared)
        self.environment = environment(self.device, self.threads, self.dtype)
        self.step, self.tokens, self.seconds, self.best = 0, 0, 0.0, math.inf
        self.rollbacks = 0
        self._good: Path | None = None
        if resumed:
            self._resume(resumed, other_data)
        is_saved = resumed and resumed.path.resolve().parent == self.folder.resolve()
        self._saved_step = self.step if is_saved else None
        self._stop: int | None = None

    def _build(self, resumed: Resumed | None) -> None:
        """The corpus, the network, its average, and what a step needs."""
        config, settings = self.config, self.config.training
        process = build_process(config.process, config.model.vocab_size)
        check_noise_settings(config, process)
        table, tokenizer, prompt_tokenizer = None, None, None
        if settings.distills:
            tokenizer = TextTokenizer.load(Path(settings.teacher) / "tokenizer.json")
        if resumed:
            table = resumed.prompt_table
            tokenizer, prompt_tokenizer = resumed.tokenizer, resumed.prompt_tokenizer
        elif config.model.prompt_encoder != "learned":
            pretrained = load_pretrained_prompts(config.model.prompt_encoder)
            table, prompt_tokenizer = pretrained.table, TextTokenizer(pretrained.tokenizer)
        source = open_source(config.corpus, settings.seed)
        self.prepared: PreparedCorpus = prepare(
            source, config, prompt_tokenizer=prompt_tokenizer, tokenizer=tokenizer
        )
        end = self.prepared.tokenizer.end
        self.batches = BatchLoader(self.prepared.split("train"), settings.batch_size, end, settings.seed)
        self.held_out = BatchLoader(
            self.prepared.split("validation"), settings.batch_size, end, settings.seed
        )
        self.shown_prompts = self._shown_prompts()  # one that cannot be written again is found before the run
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

    def _resume(self, resumed: Resumed, other_data: bool) -> None:
        """Take over a checkpoint, and note what has changed since it was written."""
        saved = resumed.state
        self._good = resumed.path
        self._restore(saved, resumed.path)
        self.notes.append(compare_corpus(saved["corpus"], self.corpus, self.config, other_data))
        self.notes.append(compare_environment(saved["environment"], self.environment))
        if saved["corpus"]["digest"] != self.corpus["digest"]:
            self.best = math.inf  # of other held-out texts

    def _restore(self, saved: dict[str, Any], checkpoint: Path) -> None:
        restore(saved, self.model, self.average, self.training_step.optimizers, checkpoint / STATE)
        self.step, self.seconds, self.best = saved["step"], saved["seconds"], saved["best"]
        self.tokens, self.rollbacks = saved["tokens"], saved["rollbacks"]

    def state(self) -> dict[str, Any]:
        """All that a resumed run cannot derive. Noise and data order follow from (seed, step)."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "best": self.best,
            "rollbacks": self.rollbacks,
            "corpus": self.corpus,
            "environment": self.environment,
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
            raise self._non_finite(
                f"{why}; the batch was rows {self.batches.row_numbers(self.step)} of {self.prepared.folder}"
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
        tokenizers = (self.prepared.tokenizer, self.prepared.prompt_tokenizer)
        pipeline = Pipeline(self.average, self.process, *tokenizers)
        with autocast(self.device, self.dtype):
            texts = pipeline.generate([*self.shown_prompts, ""], GenerationConfig(), seed=self.step)
        return [(text.prompt, text.text + ("" if text.finished else " …")) for text in texts]

    def _shown_prompts(self) -> list[str]:
        """The first held-out prompts, for samples."""
        split, tokenizer = self.prepared.split("validation"), self.prepared.prompt_tokenizer
        limit = self.config.model.prompt_length
        shown = min(SHOWN_PROMPTS, len(split)) if limit else 0
        return [decode_prompt(tokenizer, split.prompt(i).tolist(), limit) for i in range(shown)]

    def save(self, best: bool = False) -> Path:
        """Write a checkpoint, let ``last.ckpt`` (and ``best.ckpt``) name it, prune the older ones.

        Raises:
            WriteError: a file cannot be written; the last good checkpoint is as it was.
        """
        card = model_card(self.config, self.step, self.seconds, self.prepared.manifest)
        learned = self.config.model.prompt_encoder == "learned"  # prompts then have the tokenizer of texts
        tokenizers = (self.prepared.tokenizer, None if learned else self.prepared.prompt_tokenizer)
        name = f"step-{self.step:07d}"
        folder = save_checkpoint(
            self.folder / name, self.config, self.average, *tokenizers, self.state(), card
        )
        publish(folder, best, self.config.training.eval_every)
        self._saved_step, self._good = self.step, folder
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
        try:
            with handled(self._on_signal) as is_main:
                if not is_main:
                    self.notes.append(
                        "note: this is not the main thread, so no signal can stop and save the run"
                    )
                self._announce(logger)
                if settings.on_nan == "rollback" and self._good is None:
                    self.save()  # a first checkpoint to return to
                try:
                    self._loop(logger)
                except WriteError:
                    if self._saved_step != self.step:  # what failed may be a log, or there is room again
                        with suppress(WriteError, NonFiniteLoss):
                            self._check_weights()
                            self.save()
                    raise
                return self._finish(logger)
        finally:
            logger.close()
            Stderr.reader_left = False

    def _announce(self, logger: Logger) -> None:
        """The corpus, what has changed since the checkpoint, and where the run begins."""
        settings = self.config.training
        logger.log(report(self.prepared))
        for note in filter(None, self.notes):
            logger.log(note)
            logger.note(self.step, note)
        logger.log(
            f"training {settings.name}: {sum(p.numel() for p in self.model.parameters()):,} parameters "
            f"on {self.device} ({self.threads} threads, {str(self.dtype).removeprefix('torch.')}), "
            f"from step {self.step}"
        )
        if self.progress() >= 1:
            logger.log(
                f"nothing is left to do: the run has {self.step} steps and {self.seconds / 60:.1f} minutes, "
                f"its limits are --max_steps {settings.max_steps} and --max_minutes {settings.max_minutes:g} "
                "(0: none)"
            )

    def _finish(self, logger: Logger) -> Path:
        """Save what is not saved yet; say how the run has ended."""
        last = self.folder / LAST
        if self._saved_step == self.step and self._good is not None:
            folder = self._good
        else:
            self._check_weights()
            folder = self.save()
        if self._stop is not None and self.progress() < 1:
            stop = TrainingInterrupted(self._stop, last)
            logger.note(self.step, str(stop))
            raise stop
        logger.log(f"done after {self.step} steps and {format_duration(self.seconds)}: {last}")
        return folder

    def _loop(self, logger: Logger) -> None:
        """Step until the limit or a signal; report, validate, save and sample by the two clocks."""
        settings = self.config.training
        metrics, previous = Metrics(), time.perf_counter()
        saved_seconds = self.seconds
        while self.progress() < 1 and self._stop is None:
            begin = time.perf_counter()
            try:
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
                if evaluates or 0 < 60 * settings.save_minutes <= self.seconds - saved_seconds:
                    self._save_and_show(logger, evaluates)
                    saved_seconds = self.seconds
            except NonFiniteLoss as why:
                self._roll_back(why, logger)
            if Stderr.reader_left and self._stop is None:
                self._stop = SIGPIPE

    def _save_and_show(self, logger: Logger, evaluates: bool) -> None:
        self._check_weights()
        self.rollbacks = 0
        self.save(best=evaluates and self._validate(logger))
        if self._stop is None:  # whoever ends the run may not wait for samples
            logger.samples(self.step, self.sample())

    def _check_weights(self) -> None:
        """Refuse to save weights that an update has ruined.

        Raises:
            NonFiniteLoss: a weight is NaN or infinite; the last step counts as failed.
        """
        weights = (*self.model.parameters(), *self.average.parameters())
        if not all(bool(torch.isfinite(parameter).all()) for parameter in weights):
            self.step -= 1
            raise self._non_finite("the weights after it are not finite")

    def _non_finite(self, fault: str) -> NonFiniteLoss:
        """What a person can do about a step that failed by ``fault``."""
        last = self.folder / LAST
        good = f"The last good checkpoint is {last}" if last.exists() else "No checkpoint exists yet"
        remedies = ["a lower --learning_rate and --matrix_learning_rate", "--precision float32"]
        if self.config.training.on_nan == "stop":
            remedies.append("--on_nan rollback")
        return NonFiniteLoss(
            f"step {self.step}: {fault}", f"{good}. Try {', '.join(remedies[:-1])}, or {remedies[-1]}"
        )

    def _roll_back(self, why: NonFiniteLoss, logger: Logger) -> None:
        """Return to the last good checkpoint, and leave out the batches from there to the one that failed.

        The result is saved at once, so that a resumed run leaves out the same batches.

        Raises:
            NonFiniteLoss: the run is to stop instead, or has rolled back too often.
        """
        if self.config.training.on_nan == "stop" or self._good is None:
            raise why
        if self.rollbacks == MAX_ROLLBACKS:
            raise self._non_finite(f"{why.fault}, after {MAX_ROLLBACKS} rollbacks in a row")
        failed, seconds, rollbacks = self.step, self.seconds, self.rollbacks + 1
        self._restore(load_trainer(self._good), self._good)
        logger.log(
            f"{why.fault}; back to the weights of {self._good}, without the batches of the steps {self.step} "
            f"to {failed} (rollback {rollbacks} of {MAX_ROLLBACKS})"
        )
        logger.metrics(failed + 1, {"rollback/failed_step": failed, "rollback/restored_step": self.step})
        self.step, self.seconds, self.rollbacks = failed + 1, seconds, rollbacks
        self.save()

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
            name, last = signal.Signals(signum).name, self._good
            since = f"the last checkpoint is {last}" if last else "nothing was saved"
            raise Interrupted(signum, f"stopped by {name} at once; {since}")
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


def train(config: Config, resume: Path | None = None, other_data: bool = False) -> Path:
    """Train ``config`` from the start, or resume it from the checkpoint folder ``resume``.

    A resumed run has the tokenizer of its checkpoint, and its text, wherever that lies now.

    Args:
        config: the run.
        resume: the checkpoint folder.
        other_data: whether a resumed run may continue on other text than it has learned from.

    Returns:
        The folder of the last checkpoint.

    Raises:
        ValueError: for settings or data that are wrong, or where another process trains in the run's folder.
        OSError: a file cannot be written; names the last good checkpoint.
        NonFiniteLoss, TrainingInterrupted: as :meth:`Trainer.run`.
        Interrupted: a second signal did not wait for the first one's checkpoint.
    """
    if resume is not None:
        read_metadata(resume)
        resume = resolve_checkpoint(resume)
    with opened_run(config.training.folder):
        return Trainer(config, resume, other_data).run()
