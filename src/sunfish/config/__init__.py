"""Every setting of a run as frozen dataclasses, one module for each group. Imports no torch.

The field names are the flag names: ``--n_layer 4`` sets ``ModelConfig.n_layer``. Each field's help is the
string below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sunfish.config.data import DataConfig
from sunfish.config.generation import GenerationConfig
from sunfish.config.model import ModelConfig
from sunfish.config.process import ProcessConfig
from sunfish.config.training import TrainingConfig

__all__ = ["Config", "DataConfig", "GenerationConfig", "ModelConfig", "ProcessConfig", "TrainingConfig"]


@dataclass(frozen=True)
class Config:
    """A whole run. The four groups never share a field name, so each field is one flag."""

    model: ModelConfig = field(default_factory=ModelConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    corpus: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if (self.process.process, self.process.schedule) != ("masked", "log-linear"):
            object.__setattr__(self, "training", replace(self.training, exact_count=False))
        if self.process.process != "masked":  # a mask shows by itself what is noise; a random token does not
            vectors = self.process.process == "gaussian"
            object.__setattr__(self, "model", replace(self.model, time_input=True, vector_input=vectors))
        elif self.model.time_input or self.model.vector_input:
            raise ValueError(
                "time_input and vector_input are for other processes than masked; leave them out"
            )
        if not self.model.prompt_length:
            for name in ("prompt_field", "prompt_template"):
                if getattr(self.corpus, name):
                    raise ValueError(
                        f"{name} is {getattr(self.corpus, name)!r}, but prompt_length is 0, a model without "
                        "prompts; give one of the two"
                    )
        self._check_objective()
        if bool(self.training.teacher) != self.model.guidance_input:
            raise ValueError(
                f"teacher is {self.training.teacher!r} and guidance_input is {self.model.guidance_input}: both or none "
                "are set, which sunfish distill-guidance does"
            )

    def _check_objective(self) -> None:
        training, weight = self.training, self.training.next_token_weight
        if training.complementary:
            reasons = {
                "exact_count is off, or the process has no exact counts": not training.exact_count,
                f"next_token_weight is {weight}": not 0 < weight < 1,
                f"n_decoder_layer is {self.model.n_decoder_layer}": self.model.n_decoder_layer > 0,
                "distillation has an objective of its own": bool(training.teacher),
            }
            if reason := next((reason for reason, applies in reasons.items() if applies), ""):
                raise ValueError(f"complementary is True, but {reason}; leave complementary out")

    def with_fields(self, **values: Any) -> Config:
        """The same run with some fields changed, each named as its flag.

        Raises ``ValueError`` for a name that no group has.
        """
        groups: dict[str, dict[str, Any]] = {group.name: {} for group in fields(self)}
        for name, value in values.items():
            home = [group for group in groups if name in {f.name for f in fields(getattr(self, group))}]
            if not home:
                known = sorted(f.name for group in groups for f in fields(getattr(self, group)))
                raise ValueError(f"the configuration has no field {name!r}; known fields: {', '.join(known)}")
            groups[home[0]][name] = value
        return replace(self, **{g: replace(getattr(self, g), **v) for g, v in groups.items() if v})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionary for ``config.json``; :meth:`from_dict` reads it back."""
        return asdict(self)

    @staticmethod
    def from_dict(groups: Mapping[str, Mapping[str, Any]]) -> Config:
        """Read :meth:`to_dict` back; an unknown group or field is a ``ValueError``."""
        config, found = Config(), {}
        for group, values in groups.items():
            if group not in {f.name for f in fields(config)}:
                raise ValueError(f"the configuration has no group {group!r}")
            known = {f.name for f in fields(getattr(config, group))}
            if unknown := set(values) - known:
                raise ValueError(
                    f"configuration group {group!r} has unknown fields: {', '.join(sorted(unknown))}"
                )
            plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            found[group] = replace(getattr(config, group), **plain)
        return replace(config, **found)
