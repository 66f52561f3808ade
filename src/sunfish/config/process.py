"""The forward corruption."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessConfig:
    """Which forward corruption the model learns to undo."""

    process: str = "masked"
    """masked: absorbing-state diffusion (MDLM, LLaDA). uniform: noise is random tokens (UDLM). mixed: masks and random
    tokens (GIDD). Their bounds are proven. gaussian: noise on the embeddings (Diffusion-LM, CDCD), which has none."""
    schedule: str = "log-linear"
    """alpha(t), the share of tokens still clean at time t: log-linear (1 - t), cosine, polynomial (1 - t^2)."""
    uniform_share: float = 0.1
    """Share of random tokens in the noise of the process mixed; the rest are masks."""

    def __post_init__(self) -> None:
        if not 0 < self.uniform_share <= 1:
            raise ValueError(
                f"uniform_share is {self.uniform_share}: give a share above 0, up to 1; without any random tokens the "
                "process is masked"
            )
        if self.process != "mixed" and self.uniform_share != 0.1:
            raise ValueError(
                f"uniform_share is {self.uniform_share}, but process is {self.process}; it is for mixed only"
            )
