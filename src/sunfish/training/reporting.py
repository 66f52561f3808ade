"""What a run reports: where it begins, its training figures, its validations."""

from __future__ import annotations

from sunfish.data.dataset import report
from sunfish.training.evaluation import Validation
from sunfish.training.logger import Logger
from sunfish.training.metrics import describe
from sunfish.training.run_state import RunState
from sunfish.utils import format_duration


def announce(run: RunState, logger: Logger) -> None:
    """The corpus, what has changed since the checkpoint, and where the run begins."""
    settings = run.config.training
    processes = f", {run.ranks.size} processes" if run.ranks.size > 1 else ""
    logger.log(report(run.prepared))
    for note in filter(None, run.notes):
        logger.log(note)
        logger.note(run.step, note)
    logger.log(
        f"training {settings.name}: {sum(p.numel() for p in run.model.parameters()):,} parameters "
        f"on {run.device} ({run.threads} threads, {str(run.dtype).removeprefix('torch.')}{processes}), "
        f"from step {run.step}"
    )
    if run.progress() >= 1:
        logger.log(
            f"nothing is left to do: the run has {run.step} steps and {run.seconds / 60:.1f} minutes; "
            f"its limits are --max_steps {settings.max_steps} and --max_minutes {settings.max_minutes:g} "
            "(0: none)"
        )


def log_metrics(run: RunState, logger: Logger, values: dict[str, float]) -> None:
    """The figures of the steps since the last report, and how much of the run is left."""
    minutes = run.seconds / 60
    values |= {"epoch": run.batches.epoch(run.step), "minutes": minutes, "tokens": run.tokens}
    progress = run.progress()
    remaining = "no limit"
    if progress > 0:
        remaining = format_duration(run.seconds * (1 - progress) / progress)
    logger.metrics(run.step, values)
    logger.progress(run.step, progress, values, remaining)


def log_validation(run: RunState, logger: Logger, validation: Validation) -> None:
    """The held-out figures, as a line and as curves."""
    logger.metrics(run.step, {f"validation/{k}": v for k, v in validation._asdict().items()})
    logger.log(describe(run.step, validation, run.config.model.prompt_length > 0))
