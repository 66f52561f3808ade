"""The forward corruption that the model learns to undo."""

from __future__ import annotations

from dataclasses import dataclass

from sunfish.config.rules import check_types
from sunfish.utils import UsageError


@dataclass(frozen=True)
class ProcessConfig:
    """Which forward corruption the model learns to undo."""

    process: str = "masked"
    """masked: tokens become masks (MDLM, LLaDA). uniform: they become random tokens (UDLM). mixed: both
    (GIDD). gaussian: noise on the embeddings (Diffusion-LM, CDCD). All but gaussian have a proven likelihood
    bound."""
    uniform_share: float = 0.1
    """Share of random tokens in the noise of the process mixed; the rest are masks."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.uniform_share <= 1:
            raise UsageError(
                f"uniform_share is {self.uniform_share}: give a share above 0, up to 1; without any random "
                "tokens the process is masked"
            )
        if self.process != "mixed" and self.uniform_share != ProcessConfig.uniform_share:
            raise UsageError(
                f"uniform_share is {self.uniform_share}, but process is {self.process}; it is for mixed only"
            )
