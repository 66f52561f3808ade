"""Owns the random order of an epoch's rows: a permutation that is computed for any positions, and stored nowhere."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

# A row moves to a random place with probability 1/2 a round, so its last place is uniform to 2**-ROUNDS.
ROUNDS = 32
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of SplitMix64
SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(63))


def rows_at(positions: NDArray[np.int64], rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows at some positions of the order of an epoch.

    The order is the swap-or-not shuffle (Hoang, Morris and Rogaway 2012, "An enciphering scheme based on a card
    shuffle"): each round pairs the rows x and k - x (mod ``rows``) for a random k, and swaps a pair or does not, by
    a hash of its larger row. It is a permutation for every number of rows, takes integers alone, and so is the same on
    every platform.

    Args:
        positions: Places in the order, 0 to ``rows`` - 1, ``[n]``.
        rows: Rows of an epoch.
        seed: Of the run.
        epoch: The number of the epoch.

    Returns:
        ``[n]``, the numbers of the rows.
    """
    material = hashlib.shake_256(f"row order {seed} {epoch}".encode()).digest(16 * ROUNDS)
    pivots, keys = np.frombuffer(material, "<u8").reshape(2, ROUNDS).astype(np.uint64)
    size = np.uint64(rows)
    order = positions.astype(np.uint64)
    for pivot, key in zip(pivots % size, keys, strict=True):
        partners = np.where(order <= pivot, pivot - order, pivot + size - order)
        order = np.where(_coins(np.maximum(order, partners), key), partners, order)
    return order.astype(np.int64)


def _coins(numbers: NDArray[np.uint64], key: np.uint64) -> NDArray[np.bool_]:
    """One random bit for each number: the highest one of SplitMix64's finalizer (Steele, Lea and Flood 2014)."""
    mixed = numbers + key
    mixed = (mixed ^ (mixed >> SHIFTS[0])) * MIX[0]
    mixed = (mixed ^ (mixed >> SHIFTS[1])) * MIX[1]
    return np.asarray(mixed >> SHIFTS[2], np.bool_)
