"""What every request is held to: prompts that the model can read, settings that have an effect, amounts within limits."""

from __future__ import annotations

from typing import Any

from sunfish.config import GenerationConfig
from sunfish.config.generation import NUM_PARTICLES
from sunfish.config.rules import shown
from sunfish.sampling.generation_config import settings_for
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import check_text, encode_prompt
from sunfish.sampling.stop import StopStrings
from sunfish.serving.errors import ApiError
from sunfish.serving.limits import Limits
from sunfish.serving.schemas import DrawingRequest, TextRequest
from sunfish.utils import UsageError


class Checks:
    """Checks of requests to one model. Amounts are checked first: what is too much is not looked at."""

    def __init__(self, pipeline: Pipeline, limits: Limits) -> None:
        self.pipeline, self.limits = pipeline, limits

    def prompts(self, name: str, prompts: list[str]) -> list[str]:
        """The same prompts, which the model can read; ``name`` is the field that they came in.

        Raises:
            ApiError: It cannot read one of them.
        """
        for prompt in prompts:
            try:
                check_text(name, prompt)
                encode_prompt(
                    self.pipeline.prompt_tokenizer, prompt, self.pipeline.model.config.prompt_length
                )
            except UsageError as why:
                raise ApiError(400, str(why), param=name) from why
        return prompts

    def settings(self, request: DrawingRequest, *, prompted: bool, fills: bool = False) -> GenerationConfig:
        """The checkpoint's settings, or of gaps those that suit them, with those of the request in their place.

        Raises:
            ApiError: The request asks for too much, or guides by no prompt.
            UsageError: A setting is wrong.
        """
        given = request.given()
        negative, further = given.get("negative_prompt", ""), given.get("composed_prompts", [])
        at_most("num_steps", given.get("num_steps", 1), self.limits.steps, "steps")
        at_most("composed_prompts", len(further), self.limits.prompts, "prompts")
        self.prompts("negative_prompt", [negative])
        self.prompts("composed_prompts", [text for text, _ in further])
        if not prompted and further:
            raise wrong(
                "composed_prompts", [list(pair) for pair in further], "they add to a prompt; give one"
            )
        if not prompted and given.get("guidance_scale", 0) not in (0, 1) and not negative:
            raise wrong("guidance_scale", given["guidance_scale"], "it needs a prompt to guide by; give one")
        return settings_for(
            self.pipeline.generation_config,
            given,
            prompted=prompted,
            fills=fills,
            default_sampler=self.pipeline.process.default_sampler,
        )

    def stops(self, request: TextRequest) -> tuple[str, ...]:
        """The stop strings."""
        at_most("stop", len(request.stops), self.limits.stops, "strings")
        return StopStrings(request.stops).stops

    def particles(self, count: int | None) -> int:
        """How many fills of gaps are compared."""
        return at_most("num_particles", count or NUM_PARTICLES, self.limits.particles, "particles")


def at_most(name: str, value: int, most: int, of_what: str) -> int:
    """``value``, of which ``most`` are allowed.

    Raises:
        ApiError: It is more.
    """
    if value > most:
        message = f"{name} asks for {value:,} {of_what}, but at most {most:,} are allowed; ask for less"
        raise ApiError(400, message, param=name)
    return value


def wrong(param: str, value: Any, why: str) -> ApiError:
    """The error of a field that does not go with the rest of its request."""
    return ApiError(400, f"{param} is {shown(value)}, but {why}", param=param)
