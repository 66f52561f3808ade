"""Random numbers: seeds by name, one generator a row, categorical draws without loss of entropy."""

from __future__ import annotations

import pytest
import torch

from sunfish.rng import RowGenerators, derive_seed, make_generator, sample_categorical, sample_logits, softmax
from tests.helpers import row_generators


def test_categorical_draws_have_full_entropy() -> None:
    """float64 inversion neither truncates the tail nor sharpens; by chi-square."""
    logits = torch.linspace(0, -9, 12).expand(200_000, 12)
    ids, probability = sample_logits(logits, row_generators("draw").uniform(200_000))
    p = torch.softmax(logits[0].double(), 0)
    counts, expected = torch.bincount(ids, minlength=12).double(), 200_000 * p
    assert float(((counts - expected) ** 2 / expected).sum()) < 40  # 11 degrees of freedom, 99.99%: 37
    torch.testing.assert_close(probability, p[ids].float())


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.full((10_000, 5), -torch.inf)
    logits[:, 2] = 0.0
    assert bool((sample_logits(logits, row_generators("never").uniform(10_000))[0] == 2).all())


def test_the_largest_and_the_smallest_uniform_number_draw_what_has_probability() -> None:
    probabilities = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).expand(2, -1)
    uniform = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert sample_categorical(probabilities, uniform).tolist() == [1, 3]
    assert sample_categorical(7 * probabilities, uniform).tolist() == [1, 3]  # need not be normalized
    rare = torch.tensor([1 - 1e-9, 1e-9], dtype=torch.float64)
    assert sample_categorical(rare, torch.tensor(1 - 2**-40, dtype=torch.float64)).item() == 1


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_probabilities_are_at_least_float32(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert softmax(torch.zeros(3, dtype=dtype)).dtype == expected


def test_a_row_does_not_depend_on_the_others() -> None:
    together = RowGenerators.for_rows(7, 2, 3)
    uniform, normal = together.uniform(3, 4), together.normal(3, 4)
    for row in range(3):
        alone = RowGenerators.for_rows(7, 2 + row, 1)
        assert torch.equal(alone.uniform(1, 4)[0], uniform[row])
        assert torch.equal(alone.normal(1, 4)[0], normal[row])


def test_a_fork_is_a_stream_of_its_own_and_moves_nothing() -> None:
    rng, untouched = RowGenerators.for_rows(7, 0, 2), RowGenerators.for_rows(7, 0, 2)
    first, again, other = rng.fork("block", 1), rng.fork("block", 1), rng.fork("block", 2)
    numbers = first.uniform(2, 8)
    assert torch.equal(numbers, again.uniform(2, 8))
    assert not torch.equal(numbers, other.uniform(2, 8))
    assert torch.equal(rng.uniform(2, 8), untouched.uniform(2, 8))


def test_every_seed_row_and_name_has_numbers_of_its_own() -> None:
    """Also where a seed and a row have the same sum; forks keep the rows of their origin apart."""
    origins = [RowGenerators.for_rows(seed, first, 2) for seed, first in ((7, 0), (8, 0), (7, 2), (9, 1))]
    streams = [*origins, *(rng.fork(*name) for rng in origins for name in (("block", 1), ("block", 2), (1,)))]
    rows = [tuple(row) for rng in streams for row in rng.uniform(2, 4).tolist()]
    assert len(set(rows)) == len(rows) == 2 * 4 * 4


def test_seeds_have_63_bits() -> None:
    """Each bit is set in about half of them."""
    seeds = [derive_seed("bits", number) for number in range(400)]
    for bit in range(63):
        assert 140 < sum(seed >> bit & 1 for seed in seeds) < 260


def test_seeds_depend_on_every_part_and_its_place() -> None:
    seeds = {derive_seed(*parts) for parts in (("a",), ("a", 1), (1, "a"), ("a1",), ("a", 11), ("a", 1, 1))}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed("a", 1) == derive_seed("a", "1") == make_generator("a", 1).initial_seed()


def test_rows_and_generators_must_agree() -> None:
    with pytest.raises(ValueError, match="3 rows need 3 generators or one, but there are 2"):
        RowGenerators.for_rows(0, 0, 2).uniform(3)
