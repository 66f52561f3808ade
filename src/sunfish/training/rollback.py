"""A NaN or an infinity in a run: it stops with advice, or returns to its last good checkpoint."""

from __future__ import annotations

import torch

from sunfish.checkpoint.folder import LAST
from sunfish.checkpoint.resuming import read_trainer
from sunfish.training.logger import Logger
from sunfish.training.run_state import RunState
from sunfish.training.sharding import local
from sunfish.training.step import NonFiniteLoss

MAX_ROLLBACKS = 3  # in a row, before the next checkpoint that the run reaches by itself


def check_weights(run: RunState) -> None:
    """Refuse to save weights that an update has ruined.

    Raises:
        NonFiniteLoss: a weight is NaN or infinite; the last step counts as failed.
    """
    weights = [local(parameter) for network in (run.model, run.average) for parameter in network.parameters()]
    ruined = not all(bool(torch.isfinite(rows).all()) for rows in weights)
    if any(run.ranks.maximum(ruined)):
        run.step -= 1
        raise non_finite(run, "the weights after it are not finite")


def non_finite(run: RunState, fault: str) -> NonFiniteLoss:
    """The error of a step that failed by ``fault``: the last good checkpoint, and what to try."""
    last = run.folder / LAST
    good = f"The last good checkpoint is {last}" if last.exists() else "No checkpoint exists yet"
    remedies = ["a lower --learning_rate and --matrix_learning_rate", "--precision float32"]
    if run.config.training.on_nan == "stop":
        remedies.append("--on_nan rollback")
    return NonFiniteLoss(
        f"step {run.step}: {fault}", f"{good}. Try {', '.join(remedies[:-1])}, or {remedies[-1]}"
    )


def roll_back(run: RunState, why: NonFiniteLoss, logger: Logger) -> None:
    """Return to the last good checkpoint, and leave out the batches from it to the one that failed.

    The result is saved at once, so that a resumed run leaves out the same batches.

    Raises:
        NonFiniteLoss: the run is to stop instead, or has rolled back too often.
    """
    run.settle()
    if run.config.training.on_nan == "stop" or run.good is None:
        raise why
    if run.rollbacks == MAX_ROLLBACKS:
        raise non_finite(run, f"{why.fault}, after {MAX_ROLLBACKS} rollbacks in a row")
    failed, seconds, rollbacks = run.step, run.seconds, run.rollbacks + 1
    run.restore(read_trainer(run.good), run.good)
    logger.log(
        f"{why.fault}; back to the weights of {run.good}, skipping the batches of steps {run.step} "
        f"to {failed} (rollback {rollbacks} of {MAX_ROLLBACKS})"
    )
    logger.metrics(failed + 1, {"rollback/failed_step": failed, "rollback/restored_step": run.step})
    run.step, run.seconds, run.rollbacks = failed + 1, seconds, rollbacks
    run.save()
