"""The presets: each bears its name, and what a user gives goes before what it says."""

from __future__ import annotations

import pytest

from sunfish.config.presets import PRESETS, preset
from sunfish.utils import UsageError


@pytest.mark.parametrize("name", PRESETS)
def test_a_run_is_named_by_its_preset_unless_it_is_given_a_name(name: str) -> None:
    assert preset(name).training.name == name
    given = preset(name, name="mine", n_layer=1, max_minutes=0.5)
    assert (given.training.name, given.model.n_layer, given.training.max_minutes) == ("mine", 1, 0.5)
    assert given.with_fields(
        name=name, n_layer=preset(name).model.n_layer, max_minutes=preset(name).training.max_minutes
    ) == preset(name)


def test_the_presets_grow_in_every_dimension() -> None:
    shapes = [preset(name).model for name in PRESETS]
    for field in ("n_embd", "n_layer", "n_head", "vocab_size", "context_length", "prompt_length"):
        sizes = [getattr(shape, field) for shape in shapes]
        assert sizes == sorted(sizes), field
    minutes = [preset(name).training.max_minutes for name in PRESETS]
    assert minutes == sorted(minutes)


def test_an_unknown_preset_names_the_near_one() -> None:
    with pytest.raises(
        UsageError, match=r"config is 'tinny'; the presets are: nano, .*full; did you mean tiny"
    ):
        preset("tinny")
