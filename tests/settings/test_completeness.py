"""No field and no argument without a row: a new one fails here until a test says where it arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sunfish.config import Config, DataConfig, GenerationConfig, ModelConfig, ProcessConfig, TrainingConfig
from sunfish.data.dataloader import BatchLoader
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.model.transformer import Transformer, build_model, count_parameters
from sunfish.processes import build_process
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.sampling.corrected import corrected_decoding
from sunfish.sampling.editing import rewrite
from sunfish.sampling.guidance import ClassifierFreeGuidance, DistilledGuidance
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.sliding_window import sliding_window
from sunfish.sampling.speculative import speculative_accept, speculative_decoding
from sunfish.sampling.text_generator import TextGenerator
from sunfish.training.distillation import Distillation
from sunfish.training.evaluation import validate
from sunfish.training.loss import training_loss
from sunfish.training.optimizer import build_optimizers, learning_rate_factor, update_average
from sunfish.training.trainer import Trainer, train
from tests.settings.table import covers, names_of, rows

OWNERS: dict[str, Callable[..., Any]] = {
    owner.__qualname__: owner
    for owner in (
        *(ModelConfig, ProcessConfig, DataConfig, TrainingConfig, GenerationConfig),
        *(Transformer, build_model, count_parameters, build_process),
        *(
            open_source,
            prepare,
            BatchLoader,
            BatchLoader.batch,
            BatchLoader.in_order,
            BatchLoader.spread_rows,
        ),
        *(training_loss, Distillation.__call__, validate, Trainer, train),
        *(build_optimizers, learning_rate_factor, update_average),
        *(ClassifierFreeGuidance, DistilledGuidance),
        *(block_diffusion, corrected_decoding, speculative_decoding, speculative_accept, sliding_window),
        *(Pipeline, TextGenerator.from_checkpoint, TextGenerator.guided, TextGenerator.generate),
        *(
            TextGenerator.stream,
            TextGenerator.states,
            TextGenerator.__call__,
            TextGenerator.log_likelihood,
            infill,
            rewrite,
        ),
    )
}


@pytest.mark.parametrize("owner", OWNERS)
def test_no_name_without_a_row(owner: str) -> None:
    covered = rows(Path(__file__).parent).get(owner, set())
    missing = names_of(OWNERS[owner]) - covered
    assert not missing, (
        f"{owner}: no test in tests/settings is marked @covers({owner}, {', '.join(map(repr, sorted(missing)))})"
    )


def test_no_group_and_no_owner_is_left_out() -> None:
    assert {type(getattr(Config(), field.name)).__name__ for field in fields(Config)} <= set(OWNERS)
    assert set(rows(Path(__file__).parent)) == set(OWNERS)


def test_a_row_of_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match="TrainingConfig has no dropuot; rename the row"):
        covers(TrainingConfig, "dropuot")


def test_a_new_field_fails(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text('@covers(train, "config")\ndef test_it() -> None: ...\n')
    assert rows(tmp_path) == {"train": {"config"}}
    assert names_of(train) - rows(tmp_path)["train"] == {"resume", "other_data"}
