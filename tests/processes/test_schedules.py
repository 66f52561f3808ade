"""The noise schedule against its closed form."""

from __future__ import annotations

import pytest
import torch

from sunfish.processes.schedules import LOG_LINEAR


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mask_rate_is_the_time_and_the_weight_its_inverse(dtype: torch.dtype) -> None:
    """Also at times that 1 - t rounds away in float32; a known token has no weight."""
    t = torch.tensor([1e-12, 1e-6, 0.25, 1.0], dtype=dtype)
    assert LOG_LINEAR.weight(t).dtype == dtype
    torch.testing.assert_close(LOG_LINEAR.weight(t), 1 / t, rtol=2e-4, atol=0)
    assert not LOG_LINEAR.weight(torch.zeros(3, dtype=dtype)).any()
    assert [LOG_LINEAR.at(time) for time in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]
