"""Unmasking policies against enumeration: which reproduce the data exactly, and what each unmasks."""

from __future__ import annotations

import pytest
import torch

from sunfish.rng import make_generator
from sunfish.sampling.unmasking import get_policy, policies_for
from sunfish.types import StepInfo
from tests.helpers import row_generators
from tests.laws.enumeration import sample, sample_whole
from tests.laws.masked_oracle import DATA, PROCESS, MaskedOracle, N, V


@pytest.mark.parametrize(
    "sampler,steps",
    [
        ("ancestral", 45),  # two of four tokens sometimes fall together
        pytest.param("ancestral", 400, marks=pytest.mark.slow),
        ("first-hitting", 4),
        ("leftmost", 4),
        ("prefix:1", 4),
        ("entropy:0", 4),
        pytest.param("remask:0.02", 400, marks=pytest.mark.slow),  # each token is reopened several times
    ],
)
def test_exact_policies_reproduce_the_data(sampler: str, steps: int) -> None:
    """One token a step is exact in any order that ignores the drawn value; many small steps nearly so."""
    ids = sample_whole(MaskedOracle(), PROCESS, 2000, N, sampler, steps)
    assert DATA.chi_square(ids) < 135  # 80 degrees of freedom, 99.99%


@pytest.mark.parametrize("sampler", ["ancestral", "entropy:10", "prefix:0", "threshold:0"])
def test_all_at_once_is_wrong_and_the_test_above_would_see_it(sampler: str) -> None:
    steps = 1 if sampler == "ancestral" else 4
    assert DATA.chi_square(sample_whole(MaskedOracle(), PROCESS, 2000, N, sampler, steps)) > 150


def test_remasked_tokens_are_drawn_again() -> None:
    """Starting from committed tokens, remasking at its largest rate forgets them."""
    policy, mask_id = get_policy("remask:1"), PROCESS.mask_id
    x, logits = torch.zeros(1, 4000, dtype=torch.long), torch.zeros(1, 4000, V)
    remasked = PROCESS.step(logits, x, 0.6, 0.5, row_generators("remask"), policy)
    # sigma = min(1, (1 - alpha_s) / alpha_t) = 0.5 / 0.4, so all of them
    assert bool((remasked == mask_id).all())
    masks = torch.full_like(x, mask_id)
    drawn = PROCESS.step(logits, masks, 0.6, 0.5, row_generators("remask"), policy)
    # Nothing is masked again in the step that draws it; (0.5 - (1 - 1) * 0.4) / 0.6 are drawn.
    assert float((drawn != mask_id).double().mean()) == pytest.approx(0.5 / 0.6, abs=0.03)
    half = PROCESS.step(logits, x, 0.4, 0.3, row_generators("remask"), policy)
    assert float((half == mask_id).double().mean()) == pytest.approx(0.5, abs=0.04)  # 0.3 / 0.6


@pytest.mark.parametrize(
    "sampler,expected",
    [
        ("threshold:0.9", [1, 0, 0, 1, 0]),
        ("threshold:1", [1, 0, 0, 0, 0]),  # none is sure enough, so the surest
        ("prefix:0.5", [1, 1, 0, 0, 0]),  # 0.99, 0.594, then below
        ("prefix:1", [1, 0, 0, 0, 0]),
        ("entropy:0", [1, 0, 0, 0, 0]),
        ("entropy:0.06", [1, 0, 0, 1, 0]),  # entropies 0.056 (0.99), 0.199 (0.95), 0.673 (0.6)
        ("entropy:0.26", [1, 1, 0, 1, 0]),
        ("leftmost", [1, 1, 0, 0, 0]),  # ceil(4 masked / 3)
        ("confidence", [1, 0, 0, 1, 0]),
    ],
)
def test_what_each_policy_unmasks(sampler: str, expected: list[int]) -> None:
    """Binary tokens, each drawn with the given probability; the last one is committed."""
    p = torch.tensor([[0.99, 0.6, 0.55, 0.95, 1.0]], dtype=torch.float64)
    masked = torch.tensor([[True, True, True, True, False]])
    info = StepInfo(torch.stack([p, 1 - p], -1).log(), p, masked, 0.4, 0.6, row_generators("none"))
    unmasked = get_policy(sampler).unmask(info) & masked
    assert unmasked.int().tolist() == [expected]


@pytest.mark.parametrize("sampler", policies_for(PROCESS))
def test_known_tokens_never_change(sampler: str) -> None:
    ids = torch.randint(0, V, (50, N), generator=make_generator("ids"))
    free = torch.rand(50, N, generator=make_generator("free")) < 0.5
    texts = sample(MaskedOracle(), PROCESS, ids, free, sampler, 3, temperature=0.5)
    assert bool((texts[~free] == ids[~free]).all())
    assert int(texts.max()) < V
