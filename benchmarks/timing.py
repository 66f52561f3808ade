"""Owns timing: alternatives take turns in one run, and medians are compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")
Clock = Callable[[], float]


@dataclass
class Timed(Generic[T]):
    """What one alternative took, and what it returned, round by round."""

    seconds: list[float] = field(default_factory=list)
    values: list[T] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return median(self.seconds)


def interleave(
    arms: Mapping[str, Callable[[int], T]],
    rounds: int,
    *,
    warmup: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, Timed[T]]:
    """Run every arm in turn, A B A B ..., so that a slow minute of the machine falls on all of them.

    Args:
        arms: What is timed, by name; each is called with the number of the round.
        rounds: Timed calls of each arm.
        warmup: Rounds before those, with the numbers 0 to ``warmup`` - 1, that are neither timed nor kept.
        clock: Seconds; :func:`time.process_time` for processor seconds.

    Returns:
        Seconds and values of each arm, in the order of ``arms``.

    Raises:
        ValueError: There is no round to take a median of.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}, but a median needs at least 1 round")
    for number in range(warmup):
        for run in arms.values():
            run(number)
    timed: dict[str, Timed[T]] = {name: Timed() for name in arms}
    for number in range(rounds):
        for name, run in arms.items():
            begin = clock()
            value = run(number)
            timed[name].seconds.append(clock() - begin)
            timed[name].values.append(value)
    return timed


def ratio(figure: float, peer: float) -> float | None:
    """``figure / peer``; None where the peer is 0."""
    return figure / peer if peer else None
