"""The public API: what ``import sunfish`` offers, and what it does not load."""

from __future__ import annotations

import pytest

import sunfish
from tests.conftest import python

WITHOUT_TORCH = (
    "import sys, sunfish\nassert 'torch' not in sys.modules\nassert 'Pipeline' in dir(sunfish)\n"
    "from sunfish import Config\nassert 'torch' not in sys.modules\nprint(Config.__name__)"
)
WITH_TORCH = (
    "import sys\nfrom sunfish import Pipeline\nassert 'torch' in sys.modules\nprint(Pipeline.__name__)"
)


@pytest.mark.parametrize(
    ("code", "name"),
    [(WITHOUT_TORCH, "Config"), pytest.param(WITH_TORCH, "Pipeline", marks=pytest.mark.slow)],
)
def test_import_loads_no_torch_and_the_first_use_does(code: str, name: str) -> None:
    result = python("-c", code)
    assert result.returncode == 0 and result.stdout == f"{name}\n", result.stderr


@pytest.mark.parametrize("name", sunfish.__all__)
def test_every_name_leads_somewhere(name: str) -> None:
    assert getattr(sunfish, name).__module__.startswith("sunfish.")


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Pipline'"):
        sunfish.Pipline  # noqa: B018
