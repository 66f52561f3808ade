"""Owns what the canvas, which sees both sides, says of a gap: tokens that may stand in it, and doubts about a fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache
from sunfish.sampling.causal_mode import CausalMode

GAP_LENGTHS = (1, 2, 3, 5, 8, 12)  # at which the canvas is asked what stands in a gap
IDS_ON_RIGHT = 32  # that it sees then
DOUBT_LENGTHS = (1, 3, 8)  # of a gap, at which it is asked how likely the text on the right is
LIKELIHOOD_LENGTH = 8  # of a gap, at which it is asked how likely the right side can become
LIKELIHOOD_IDS = 16  # on the right that it sees then
UNLIKELY = -5.0  # log-likelihood of a given id, in nats, below which it is a surprise


class OpenGap(NamedTuple):
    """A gap after a known text, which the canvas is asked about."""

    mode: CausalMode
    newest: int  # the id before the gap
    cache: KVCache | None  # of the text before ``newest``, one row a branch; None: there is none
    known: int  # ids that the cache has
    lengths: range  # ids that the gap may have

    def ask(self, rows: Sequence[Sequence[int]], hidden: Sequence[Sequence[bool]]) -> Tensor:
        """What the canvas says of ``rows``, which begin with ``newest``: see :func:`_ask`."""
        return _ask(self.mode, rows, hidden, self.cache, self.known)


def hints_of(gap: OpenGap, right: Sequence[int]) -> Tensor:
    """What the canvas says of the first places of a gap, a mean over some of the lengths that the gap may have.

    Args:
        gap: The gap.
        right: The ids after it.

    Returns:
        Probabilities ``[M, V]``.
    """
    asked = [length for length in GAP_LENGTHS if length in gap.lengths] or [gap.lengths[0]]
    right = right[:IDS_ON_RIGHT]
    rows = [[gap.newest, *[gap.newest] * length, *right] for length in asked]
    hidden = [[False, *[True] * length, *[False] * len(right)] for length in asked]
    told = gap.ask(rows, hidden)[:, 1 : 1 + asked[-1]]
    places = torch.arange(1, asked[-1] + 1, device=told.device)
    inside = places <= torch.tensor(asked, device=told.device)[:, None]
    return (told * inside[..., None]).sum(0) / inside.sum(0)[:, None]


def best_log_likelihood(gap: OpenGap, right: Sequence[int], count: int) -> float:
    """How likely the first ids after a gap can become, by the canvas, which knows what follows but not the gap.

    Each id is asked for given those before it (the chain rule). A bad fill makes all of them unlikely, so that its own
    likelihoods do not tell how far it falls short.

    Args:
        gap: The gap.
        right: The ids after it.
        count: How many of them are to be likely.

    Returns:
        A log-likelihood in nats; 0 where nothing follows.
    """
    first, after = right[:count], right[count:LIKELIHOOD_IDS]
    if not first:
        return 0.0
    length = LIKELIHOOD_LENGTH if LIKELIHOOD_LENGTH in gap.lengths else gap.lengths[0]
    number = len(first)
    row = [gap.newest, *[gap.newest] * length, *first, *after]
    hidden = [
        [False, *[True] * length, *[False] * given, *[True] * (number - given), *[False] * len(after)]
        for given in range(number)
    ]
    told = gap.ask([row] * number, hidden)
    place = torch.arange(number, device=told.device)
    tokens = torch.tensor(first, device=told.device)
    return float(told[place, 1 + length + place, tokens].double().log().sum())


def surprises(
    rights: Sequence[Sequence[int]], log_likelihoods: Sequence[Sequence[float]]
) -> list[tuple[int, float]]:
    """The ids after all gaps that the fills leave unlikely, and their log-likelihoods."""
    return [
        (token, value)
        for right, values in zip(rights, log_likelihoods, strict=True)
        for token, value in zip(right, values, strict=True)
        if value < UNLIKELY
    ]


def doubt(
    mode: CausalMode,
    left: Sequence[int],
    lengths: Sequence[range],
    rights: Sequence[Sequence[int]],
    log_likelihoods: Sequence[Sequence[float]],
) -> float:
    """By how many nats the canvas, which does not see the fills, finds some given id likelier than they make it.

    Where no fill could make it likely, the canvas does not expect it either. Where it does, a better fill was missed.
    The canvas sees no other copy of an id that it is asked about, which would give that away.

    Args:
        mode: The network.
        left: The ids before the first gap, which begin with the start mark.
        lengths: Ids that each gap may have.
        rights: The ids after each gap, up to the next one.
        log_likelihoods: Of all these ids, given the fills.

    Returns:
        The greatest such difference; 0 if every id is likely enough.
    """
    pairs = surprises(rights, log_likelihoods)
    if not pairs:
        return 0.0
    asked = {token for token, _ in pairs}
    rows, hidden, places = [], [], []
    for most in DOUBT_LENGTHS:
        row, noisy, unlikely = list(left), [False] * len(left), list[int]()
        for span, right, values in zip(lengths, rights, log_likelihoods, strict=True):
            length = min(most, span[-1])
            row += [*[left[0]] * length, *right]
            noisy += [*[True] * length, *(token in asked for token in right)]
            first = len(row) - len(right)
            unlikely += [first + i for i, value in enumerate(values) if value < UNLIKELY]
        rows.append(row)
        hidden.append(noisy)
        places.append(unlikely)
    told = _ask(mode, rows, hidden, None, 0)
    which = torch.arange(len(rows), device=mode.device)[:, None]
    tokens = torch.tensor([token for token, _ in pairs], device=mode.device)
    likeliest = told[which, torch.tensor(places, device=mode.device), tokens].double().log().amax(0)
    given = torch.tensor([value for _, value in pairs], dtype=torch.float64, device=mode.device)
    return float((likeliest - given).max())


def _ask(
    mode: CausalMode,
    rows: Sequence[Sequence[int]],
    hidden: Sequence[Sequence[bool]],
    cache: KVCache | None,
    known: int,
) -> Tensor:
    """Probabilities ``[K, N, V]`` for K rows of up to N ids, of which the ``hidden`` ones are noise."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[row[0]] * (width - len(row))] for row in rows], device=mode.device)
    noisy = torch.tensor([[*row, *[True] * (width - len(row))] for row in hidden], device=mode.device)
    return mode.canvas(ids, noisy, cache, known)
