"""Every process through the whole program: it trains, validates, generates and fills gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.config import GenerationConfig
from sunfish.processes import process_builders
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.trainer import Trainer
from tests.runs import config


@pytest.mark.parametrize("name", process_builders())
def test_it_trains_and_generates(name: str, tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, name=name, process=name, max_steps=2))
    pipeline = Pipeline.from_checkpoint(trainer.run())
    assert trainer.validate().proven == (name != "gaussian")
    verified = pipeline.generate(["Write about dogs", ""], seq_len=12)
    assert all(0 < text.tokens < 12 for text in verified)
    sampler = pipeline.process.default_sampler
    in_steps = GenerationConfig(sampler=sampler, num_steps=3, block_length=0)
    text = pipeline.generate(["Write about dogs"], in_steps, seq_len=12)
    assert [*pipeline.stream("Write about dogs", in_steps, seq_len=12)][-1] == text[0]
    assert pipeline("Write about dogs", steps=3, block_length=0, seq_len=12) == text[0].text
    gap = "The robot went to the [MASK:2] and fell asleep."
    filled = infill(pipeline, gap)[0].text
    assert filled.startswith("The robot went to the ") and filled.endswith(" and fell asleep.")
    assert "[MASK" not in filled
    refused = "ddim" if name == "masked" else "leftmost"
    with pytest.raises(ValueError, match=r"samplers of this model's process are: .*ancestral"):
        pipeline.generate([""], GenerationConfig(sampler=refused), seq_len=12)
