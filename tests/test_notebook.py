"""The notebook: committed without outputs, and run cell by cell on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.runs import SHAPE

NOTEBOOK = ROOT / "notebooks" / "nano.ipynb"
STEPS = 4


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_it_is_committed_without_outputs() -> None:
    assert len(cells()) == 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells())


@pytest.mark.slow
def test_its_cells_train_and_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the notebook draws with the extra eval")
    pyplot.switch_backend("agg")
    monkeypatch.setattr(pyplot, "show", lambda: None)
    monkeypatch.chdir(tmp_path)
    data = str(tmp_path.parent / "prepared-stories")
    monkeypatch.setenv("SUNFISH_NOTEBOOK", json.dumps({**SHAPE, "max_steps": STEPS, "data_folder": data}))
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path / "checkpoints"))
    names: dict[str, Any] = {}
    try:
        for cell in cells():
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
        curve, denoising = (pyplot.figure(number) for number in pyplot.get_fignums())
    finally:
        pyplot.close("all")
    canvas, causal, uniform = (line.get_ydata() for line in curve.axes[0].get_lines())
    assert len(canvas) == len(causal) == STEPS and set(uniform) == {math.log(SHAPE["vocab_size"])}
    for axes in denoising.axes:
        image = np.asarray(axes.images[0].get_array(), dtype=float)
        masks = np.isnan(image).sum(axis=1)
        assert masks[0] > len(image[0]) / 2 and masks[-1] == 0 and (np.diff(masks) < 0).all()
        assert all(np.isnan(column[: int(column[-1])]).all() for column in image.T)
    assert [axes.get_title() for axes in denoising.axes] == ["nano", "demo"]
    nano, _, demo = capsys.readouterr().out.rpartition("\ndemo: ")
    assert "nano: " in nano and len(demo.split()) > 20
