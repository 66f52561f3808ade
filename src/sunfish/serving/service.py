"""What the routes share: the model, the engine that runs it, the limits, the counters."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from sunfish.config.generation import LOOPS
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.unmasking import policies_for
from sunfish.serving.engine import Engine
from sunfish.serving.limits import Limits
from sunfish.serving.metrics import Metrics
from sunfish.serving.planning import Planner
from sunfish.serving.responses import Model


class Service:
    """One model that is served."""

    def __init__(
        self,
        pipeline: Pipeline,
        name: str,
        *,
        token: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        max_running: int = 16,
        max_waiting: int = 64,
        run: Path | None = None,
    ) -> None:
        """Serve ``pipeline``.

        Args:
            pipeline: The model.
            name: What clients call it.
            token: What they must know; None: nothing.
            limits: What a request may ask for.
            max_running: Texts that are written at the same time.
            max_waiting: Texts that wait for it.
            run: The folder of the training run that is shown; None: none is.
        """
        self.pipeline, self.token, self.limits, self.run = pipeline, token, limits, run
        self.engine = Engine(pipeline, max_running=max_running, max_waiting=max_waiting)
        self.metrics = Metrics(self.engine)
        self.planner = Planner(pipeline, name, limits, max_running + max_waiting)
        self.card = Model(
            id=name,
            object="model",
            created=int(time.time()),
            owned_by="sunfish",
            context_length=pipeline.model.config.context_length,
            prompt_length=pipeline.model.config.prompt_length,
            samplers=[*LOOPS, *policies_for(pipeline.process)],
            settings=asdict(pipeline.generation_config),
        )
