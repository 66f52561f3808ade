"""Every setting of a run as frozen dataclasses, one module for each group. Imports no torch.

The field names are the flag names: ``--n_layer 4`` sets ``ModelConfig.n_layer``. The string below each field
is its help. A value that cannot be right raises ``UsageError`` where its rule stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sunfish.config.data import DataConfig
from sunfish.config.effects import refuse_ineffective
from sunfish.config.generation import GenerationConfig
from sunfish.config.model import ModelConfig
from sunfish.config.process import ProcessConfig
from sunfish.config.rules import check_types, did_you_mean, shown
from sunfish.config.training import TrainingConfig
from sunfish.utils import UsageError

__all__ = ["Config", "DataConfig", "GenerationConfig", "ModelConfig", "ProcessConfig", "TrainingConfig"]


@dataclass(frozen=True)
class Config:
    """A whole run. No two groups share a field name, so each field is one flag."""

    model: ModelConfig = field(default_factory=ModelConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    corpus: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_types(self)
        if not self.model.prompt_length:
            for name in ("prompt_field", "prompt_template"):
                if value := getattr(self.corpus, name):
                    raise UsageError(
                        f"{name} is {value!r}, but prompt_length is 0, a model without prompts; give one of "
                        "the two"
                    )
        if self.training.complementary:
            self._check_complementary()

    def _check_complementary(self) -> None:
        weight = self.training.next_token_weight
        reason = ""
        if not 0 < weight < 1:
            reason = f"next_token_weight is {weight}"
        elif self.training.distills:
            reason = "distillation has an objective of its own"
        if reason:
            raise UsageError(f"complementary is True, but {reason}; leave complementary out")

    def with_fields(self, **values: Any) -> Config:
        """The same run with some fields changed, each named as its flag.

        Raises:
            UsageError: for a name that no group has, a wrong value, or one without effect in this run.
        """
        groups: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            groups.setdefault(group_of(name), {})[name] = value
        changed = replace(self, **{g: replace(getattr(self, g), **v) for g, v in groups.items()})
        refuse_ineffective(changed, values)
        return changed

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionary for ``config.json``; :meth:`from_dict` reads it back."""
        return asdict(self)

    @staticmethod
    def from_dict(groups: Mapping[str, Mapping[str, Any]]) -> Config:
        """Read :meth:`to_dict` back.

        Raises:
            ValueError: for an unknown group or field, or a wrong value; no ``UsageError``, since it is the
                file that is wrong.
        """
        config, changed = Config(), {}
        if not isinstance(groups, Mapping):
            raise ValueError(
                f"the stored configuration is {shown(groups)}, but it must be groups of settings"
            )
        for group, values in groups.items():
            if group not in {f.name for f in fields(config)}:
                raise ValueError(f"the configuration has no group {shown(group)}")
            if not isinstance(values, Mapping):
                raise ValueError(f"the stored configuration is damaged: group {group} is {shown(values)}")
            known = {f.name for f in fields(getattr(config, group))}
            if unknown := set(values) - known:
                raise ValueError(
                    f"configuration group {group!r} has unknown fields: {', '.join(sorted(map(str, unknown)))}"
                )
            changed[group] = values
        try:
            return Config(**{group: replace(getattr(config, group), **v) for group, v in changed.items()})
        except UsageError as why:
            raise ValueError(f"the stored configuration says that {why}") from why


FIELD_GROUPS: dict[str, str] = {
    f.name: group.name for group in fields(Config) for f in fields(getattr(Config(), group.name))
}


def group_of(name: str) -> str:
    """The group of the configuration that the field ``name`` belongs to.

    Raises:
        UsageError: for a name that no group has, with the nearest one.
    """
    if name not in FIELD_GROUPS:
        hint = did_you_mean(name, FIELD_GROUPS) or f"; known fields: {', '.join(sorted(FIELD_GROUPS))}"
        raise UsageError(f"the configuration has no field {name!r}{hint}")
    return FIELD_GROUPS[name]
