"""Settings that have no effect next to others: refused when given, never ignored in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from sunfish.config.data import STORIES, DataConfig
from sunfish.config.generation import GenerationConfig
from sunfish.config.model import ModelConfig
from sunfish.config.process import ProcessConfig
from sunfish.config.rules import shown
from sunfish.config.training import TrainingConfig
from sunfish.utils import UsageError


class Groups(Protocol):
    """The groups of a run's settings, as :class:`sunfish.config.Config` has them."""

    @property
    def model(self) -> ModelConfig: ...

    @property
    def process(self) -> ProcessConfig: ...

    @property
    def corpus(self) -> DataConfig: ...

    @property
    def training(self) -> TrainingConfig: ...


class Rule(NamedTuple):
    """Fields without an effect wherever ``applies``; ``reason`` is a format of the same settings."""

    fields: tuple[str, ...]
    applies: Callable[[Any], bool]
    reason: str


TRAINING_RULES: tuple[Rule, ...] = (
    Rule(("stories",), lambda c: c.corpus.data != STORIES, "data is {0.corpus.data!r}"),
    Rule(
        ("text_field", "prompt_field", "prompt_template", "delimiter", "validation_fraction"),
        lambda c: c.corpus.data == STORIES,
        "data is {0.corpus.data}, the built-in corpus",
    ),
    Rule(
        ("mask_rate_min", "mask_rate_max"),
        lambda c: c.training.next_token_weight == 1,
        "next_token_weight is 1, pure autoregression",
    ),
    Rule(
        ("mask_rate_min", "mask_rate_max"),
        lambda c: (
            c.process.process == "masked"
            and not c.training.complementary
            and all(0 < length < c.model.context_length for length in c.training.block_lengths)
        ),
        "block_lengths is {0.training.block_lengths}, whose blocks have their own mask rates",
    ),
    Rule(
        ("n_prompt_layer", "prompt_dropout"),
        lambda c: c.model.prompt_length == 0,
        "prompt_length is 0, a model without prompts",
    ),
    Rule(
        ("decay_fraction",),
        lambda c: not c.training.is_limited and c.training.decay_fraction > 0,
        "max_steps and max_minutes are 0, a run without an end",
    ),
)
CUTS = ("top_p", "top_k", "min_p")  # settings that at their default keep every token
GENERATION_RULES: tuple[Rule, ...] = (
    Rule(("num_steps",), lambda g: g.is_verified, "sampler is {0.sampler}, which has no denoising steps"),
    Rule(CUTS, lambda g: g.temperature == 0, "temperature is 0, which takes the likeliest token"),
    Rule(("plausibility",), lambda g: g.guidance_scale <= 1, "guidance_scale is {0.guidance_scale:g}"),
)


def refuse_ineffective(config: Groups, given: Iterable[str]) -> None:
    """Refuse a field in ``given`` that has no effect in ``config``.

    A value at its default is let through: programs pass it on without meaning it.

    Raises:
        UsageError: names the field, its value and the setting that makes it useless.
    """
    groups = (config.model, config.process, config.corpus, config.training)
    values = {name: value for group in groups for name, value in vars(group).items()}
    defaults = {name: getattr(type(group), name) for group in groups for name in vars(group)}
    _refuse(TRAINING_RULES, config, {n: values[n] for n in given if values[n] != defaults[n]})


def refuse_ineffective_generation(config: GenerationConfig, given: Iterable[str]) -> None:
    """Refuse a sampling setting in ``given`` that has no effect in ``config``.

    Raises:
        UsageError: names the field, its value and the setting that makes it useless.
    """
    values = {name: getattr(config, name) for name in given}
    idle = {name for name in CUTS if values.get(name) == getattr(GenerationConfig, name)}
    _refuse(GENERATION_RULES, config, {name: value for name, value in values.items() if name not in idle})


def _refuse(rules: tuple[Rule, ...], config: object, given: dict[str, Any]) -> None:
    for rule in rules:
        for name in rule.fields:
            if name in given and rule.applies(config):
                raise UsageError(
                    f"{name} is {shown(given[name])}, which has no effect where {rule.reason.format(config)}; "
                    "leave it out"
                )
