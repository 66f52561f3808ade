"""The whole training story, top to bottom: step, report, validate, save, stop or roll back.

sunfish train --config tiny --max_minutes 20
sunfish train --resume checkpoints/last.ckpt

``run_state.py`` prepares the corpus and builds the network, or restores them from a checkpoint.
"""

from __future__ import annotations

import signal
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import torch

from sunfish.checkpoint.folder import LAST, read_metadata
from sunfish.checkpoint.links import resolve_checkpoint
from sunfish.checkpoint.run_folder import complete, opened_run
from sunfish.config import Config, GenerationConfig
from sunfish.disk.writing import WriteError
from sunfish.hardware.device import autocast
from sunfish.rng import derive_seed, make_generator
from sunfish.sampling.pipeline import Pipeline
from sunfish.signals import Interrupted, handled
from sunfish.training.evaluation import Validation, validate
from sunfish.training.logger import Logger, SilentLogger
from sunfish.training.loss import Losses
from sunfish.training.metrics import Metrics
from sunfish.training.optimizer import learning_rate_factor, update_average
from sunfish.training.ranks import Ranks
from sunfish.training.reporting import announce, log_metrics, log_validation
from sunfish.training.rollback import check_weights, non_finite, roll_back
from sunfish.training.run_state import RunState
from sunfish.training.step import NonFiniteLoss
from sunfish.types import Batch
from sunfish.utils import Stderr, format_duration, log

SIGPIPE = getattr(signal, "SIGPIPE", signal.SIGTERM)  # Windows has none


class TrainingInterrupted(Exception):
    """A signal asked for the end, and the run was saved. ``signum`` gives the exit code."""

    def __init__(self, signum: int, folder: Path) -> None:
        why = " (nobody reads the log)" if signum == SIGPIPE else ""
        super().__init__(f"stopped by {signal.Signals(signum).name}{why}; resume with --resume {folder}")
        self.signum = signum


class Trainer(RunState):
    """One run, from its first step or from a checkpoint to its limit."""

    _stop: int | None = None  # the signal that asked this process for the end
    _ending: int | None = None  # the one that asked any process, by which all of them end

    def run(self) -> Path:
        """Train to the limit.

        Returns:
            The folder of the last checkpoint.

        Raises:
            TrainingInterrupted: after a signal, when the run is saved.
            NonFiniteLoss: as :meth:`train_step`.
        """
        settings = self.config.training
        kind = Logger if self.ranks.is_main else SilentLogger
        logger = kind(self.folder, settings.trackers, self.config.to_dict())
        try:
            with handled(self._on_signal) as is_main:
                if not is_main:
                    self.notes.append(
                        "note: this is not the main thread, so no signal can stop and save the run"
                    )
                announce(self, logger)
                if settings.on_nan == "rollback" and self.good is None:
                    self.save()  # a first checkpoint to return to
                try:
                    self._loop(logger)
                except WriteError:
                    # What failed may be a log, or there is room again; other processes know nothing of it.
                    if self.saved_step != self.step and self.ranks.size == 1:
                        with suppress(WriteError, NonFiniteLoss):
                            check_weights(self)
                            self.save()
                            self.settle()
                    raise
                return self._finish(logger)
        finally:
            logger.close()
            Stderr.reader_left = False

    def _loop(self, logger: Logger) -> None:
        """Step until the limit or a signal; report, validate, save and sample by the two clocks."""
        settings = self.config.training
        metrics, previous = Metrics(), time.perf_counter()
        saved_seconds = self.seconds
        while self._continues():
            begin = time.perf_counter()
            try:
                losses, batch = self.train_step()
                now = time.perf_counter()
                metrics.add(losses, batch, now - begin)
                # Wall clock, so that max_minutes holds: validation, samples and saving count too.
                self.seconds = self.ranks.of_main(self.seconds + now - previous)
                previous = now
                finished = self.progress() >= 1
                if finished or self.step % settings.log_every == 0:
                    log_metrics(self, logger, metrics.flush())
                evaluates = finished or self.step % settings.eval_every == 0
                if evaluates or 0 < 60 * settings.save_minutes <= self.seconds - saved_seconds:
                    self._save_and_show(logger, evaluates)
                    saved_seconds = self.seconds
            except NonFiniteLoss as why:
                roll_back(self, why, logger)
            if Stderr.reader_left and self._stop is None:
                self._stop = SIGPIPE

    def _continues(self) -> bool:
        """Whether no limit is reached and no process was asked to stop, which all of them learn here."""
        failed = self.background is not None and self.background.failed
        signum, failed_anywhere = self.ranks.maximum(self._stop or 0, failed)
        if failed_anywhere:
            self.settle()
        self._ending = int(signum) or None
        return self.progress() < 1 and self._ending is None

    def train_step(self) -> tuple[Losses, Batch]:
        """One update of the weights and of their average. Noise is seeded by (seed, step).

        Raises:
            NonFiniteLoss: with the step, the rows of the batch and the last good checkpoint.
        """
        settings = self.config.training
        generator = make_generator("step", settings.seed, self.step)
        batch = self.batches.batch(self.step).to(self.device)
        if settings.dropout:
            place = [self.ranks.rank] if self.ranks.size > 1 else []
            torch.manual_seed(derive_seed("dropout", settings.seed, self.step, *place))
        factor = learning_rate_factor(settings, self.step, self.progress())
        try:
            losses = self.training_step(batch, generator, self.step, factor)
        except NonFiniteLoss as why:
            raise non_finite(
                self,
                f"{why}; the batch was rows {self.batches.row_numbers(self.step)} of {self.prepared.folder}",
            ) from None
        update_average(self.average, self.model, settings.ema_decay, self.step)
        self.step += 1
        self.tokens += batch.tokens + batch.rows  # with start marks
        return losses, batch

    def _save_and_show(self, logger: Logger, evaluates: bool) -> None:
        check_weights(self)
        self.rollbacks = 0
        if evaluates:
            self.gather()
            if self.ranks.is_main:
                self._validate(logger)
        self.save()
        if self._stop is None and self.ranks.is_main:  # whoever ends the run may not wait for samples
            logger.samples(self.step, self.sample())

    def _validate(self, logger: Logger) -> None:
        """Validate, report, and note whether the bound is the best so far."""
        validation = self.validate()
        log_validation(self, logger, validation)
        self.improved = validation.bound < self.best
        self.best = min(self.best, validation.bound)

    def validate(self) -> Validation:
        """The held-out figures of the averaged weights."""
        settings = self.config.training
        sizes = (settings.eval_texts, settings.batch_size, settings.block_lengths)
        return validate(self.shown, self.process, self.held_out, *sizes, self.dtype, settings.seed)

    def sample(self) -> list[tuple[str, str]]:
        """Pairs of (prompt, text) from the averaged weights: held-out prompts, if it has any, and none."""
        tokenizers = (self.prepared.tokenizer, self.prepared.prompt_tokenizer)
        pipeline = Pipeline(self.shown, self.process, *tokenizers)
        with autocast(self.device, self.dtype):
            texts = pipeline.generate([*self.shown_prompts, ""], GenerationConfig(), seed=self.step)
        return [(text.prompt, text.text + ("" if text.finished else " …")) for text in texts]

    def _finish(self, logger: Logger) -> Path:
        """Save what is not saved yet; say how the run has ended."""
        last = self.folder / LAST
        self.settle()
        if self.saved_step == self.step and self.good is not None:
            folder = self.good
            if self.ranks.is_main:
                complete(folder, self.config.training.eval_every)
        else:
            check_weights(self)
            folder = self.save()
            self.settle()
        if self._ending is not None and self.progress() < 1:
            stop = TrainingInterrupted(self._ending, last)
            logger.note(self.step, str(stop))
            raise stop
        logger.log(f"done after {self.step} steps and {format_duration(self.seconds)}: {last}")
        return folder

    def _on_signal(self, signum: int, frame: object) -> None:
        if self._stop is not None:  # asked twice: do not wait for the step
            name, last = signal.Signals(signum).name, self.good
            since = f"the last checkpoint is {last}" if last else "nothing was saved"
            raise Interrupted(signum, f"stopped by {name} at once; {since}")
        self._stop = signum
        log(f"{signal.Signals(signum).name}: saving after this step …")


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
    # The main process alone writes there.
    with opened_run(config.training.folder) if Ranks.current().is_main else nullcontext():
        return Trainer(config, resume, other_data).run()
