"""A model without prompts: no part of it pays for them, it learns and generates, and it refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sunfish.config import Config, GenerationConfig, ModelConfig
from sunfish.config.presets import preset
from sunfish.data.dataset import report
from sunfish.model.transformer import count_parameters
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.distillation import Distillation
from sunfish.training.trainer import Trainer
from tests.helpers import CONFIG, WITHOUT_PROMPTS, batch, model


def run_of(folder: Path, **values: object) -> Trainer:
    """A run of two steps on a corpus without prompts, not yet started."""
    path = folder / "lines.jsonl"
    path.write_text("".join(json.dumps({"text": f"Day {i} begins."}) + "\n" for i in range(60)))
    small = dict(
        data=str(path),
        data_folder=str(folder / "data"),
        checkpoints=str(folder / "runs"),
        tokenizer="bytes",
        vocab_size=300,
        context_length=20,
        n_layer=1,
        n_embd=16,
        batch_size=4,
        max_steps=2,
        prompt_length=0,
        eval_texts=4,
        threads=1,
        device="cpu",
        precision="float32",
        trackers=(),
        block_lengths=(4, 0),
    )
    return Trainer(preset("nano", **small | values))


def test_the_blocks_have_nothing_for_prompts() -> None:
    names = [name for name, _ in model(config=WITHOUT_PROMPTS).named_parameters()]
    assert not [name for name in names if "cross" in name]
    assert [name for name in names if "prompt" in name] == ["prompt_encoder.null_token"]
    width = CONFIG.n_embd
    encoder = 4 * width**2 + 3 * width * CONFIG.n_hidden + CONFIG.n_head + CONFIG.prompt_length * width
    blocks = CONFIG.n_layer * (2 * width**2 + CONFIG.n_head + 2 * width**2)
    assert count_parameters(CONFIG) - count_parameters(WITHOUT_PROMPTS) == encoder + blocks


def test_a_prompt_is_refused() -> None:
    network, texts = model(config=WITHOUT_PROMPTS), batch()
    with pytest.raises(ValueError, match=r"built without prompts"):
        network.encode(texts.prompt, texts.prompt_mask)


def test_dropping_a_prompt_changes_nothing() -> None:
    network, texts = model(config=WITHOUT_PROMPTS), batch()
    condition = network.encode(texts.prompt, torch.zeros_like(texts.prompt_mask))
    logits, _ = network.prefill(texts.x0, condition)
    assert torch.equal(network.prefill(texts.x0, condition.without_prompts())[0], logits)


def test_it_trains_and_generates(tmp_path: Path) -> None:
    trainer = run_of(tmp_path)
    assert "prompt" not in report(trainer.prepared)
    assert [prompt for prompt, _ in trainer.sample()] == [""]
    checkpoint = trainer.run()
    pipeline = Pipeline.from_checkpoint(checkpoint)
    first, second = pipeline.generate(["", ""], seed=1)
    assert first.text != second.text
    unguided = GenerationConfig(guidance_scale=1.0)
    assert pipeline.generate(["", ""], unguided, seed=1) == [first, second]
    with pytest.raises(ValueError, match=r"'A robot'.*was trained without prompts; leave it out"):
        pipeline.generate(["A robot"])
    with pytest.raises(ValueError, match=r"without prompts, so there is nothing to guide by"):
        Distillation.start(checkpoint, trainer.model, trainer.prepared.tokenizer)


@pytest.mark.slow
def test_prompts_of_the_data_are_counted_when_they_are_left_out(tmp_path: Path) -> None:
    prepared = run_of(tmp_path, data="stories", stories=120).prepared
    assert "prompts cut to prompt_length 0" in report(prepared)


def test_a_contradiction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompt_field is 'label', but prompt_length is 0"):
        preset("nano", prompt_length=0, prompt_field="label")
    with pytest.raises(ValueError, match=r"prompt_encoder is 'hf:gpt2', but prompt_length is 0"):
        ModelConfig(prompt_length=0, prompt_encoder="hf:gpt2")
    with pytest.raises(ValueError, match=r"prompt_length is -1; give the most tokens"):
        ModelConfig(prompt_length=-1)


def test_the_configuration_is_read_back() -> None:
    config = preset("nano", prompt_length=0)
    assert Config.from_dict(config.to_dict()) == config
