"""First hitting: random positions, as many as the schedule says."""

from __future__ import annotations

from torch import Tensor

from sunfish.sampling.unmasking.base import plain, top_k_by, uniform
from sunfish.types import StepInfo


def first_hitting(info: StepInfo) -> Tensor:
    """ceil(masked * unmask_rate) random positions of each row: with a step for each position exactly one at a time.

    The order, not the times, decides the distribution (Zheng et al. 2024, arXiv:2409.02908, section 4.1).
    """
    return top_k_by(uniform(info), info)


POLICY = plain(first_hitting)
