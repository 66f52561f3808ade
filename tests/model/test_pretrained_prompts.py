"""Prompt encoders from Hugging Face models: a tiny one, and a name that cannot be loaded."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sunfish.config.presets import preset
from sunfish.model.pretrained_prompts import load_pretrained_prompts
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers import build_tokenizer
from sunfish.training.trainer import train

pytestmark = pytest.mark.skipif(find_spec("transformers") is None, reason="the hf extra is not installed")


def hub_model(folder: Path) -> Path:
    """A GPT-2 of a few thousand weights in the hub's format."""
    import transformers

    texts = ["Write a story about a robot", "Write about dogs"]
    tokenizer = build_tokenizer("bpe", 300, texts)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.engine, eos_token="<|endoftext|>")
    fast.save_pretrained(folder)
    vocab_size = tokenizer.size + 10
    shape = transformers.GPT2Config(vocab_size=vocab_size, n_embd=12, n_layer=1, n_head=2, n_positions=32)
    transformers.GPT2Model(shape).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_frozen_embeddings_train_and_later_sample_offline(tmp_path: Path) -> None:
    name = f"hf:{hub_model(tmp_path / 'hub')}"
    table = load_pretrained_prompts(name).table
    config = preset(
        "nano",
        n_layer=1,
        n_head=1,
        n_embd=16,
        vocab_size=320,
        stories=120,
        batch_size=4,
        max_minutes=0.0,
        max_steps=3,
        prompt_encoder=name,
        checkpoints=str(tmp_path / "checkpoints"),
        data_folder=str(tmp_path / "data"),
        eval_texts=8,
        threads=1,
    )
    last = train(config)
    for path in (tmp_path / "hub").iterdir():
        path.unlink()  # the checkpoint alone must be enough
    pipeline = Pipeline.from_checkpoint(last)
    frozen = pipeline.model.prompt_encoder.frozen_table
    assert frozen is not None and torch.equal(frozen, table)
    assert pipeline.model.prompt_encoder.adapter is not None
    assert pipeline.prompt_tokenizer.size != pipeline.tokenizer.size
    assert pipeline.generate(["Write about dogs"], seq_len=24)[0].tokens >= 0
    shutil.rmtree(tmp_path / "data")
    assert train(config.with_fields(max_steps=4), last).name == "step-0000004"


def test_an_error_is_the_first_line_of_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def fail(name: str, **_: object) -> None:
        raise OSError(f"no {name}\nsee https://example.com")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(
        ValueError, match=r"^prompt_encoder is 'hf:x', but 'x' could not be loaded: no x Check"
    ):
        load_pretrained_prompts("hf:x")


@pytest.mark.slow
def test_an_error_names_the_choice_that_works_offline(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"could not be loaded.*--prompt_encoder learned"):
        load_pretrained_prompts(f"hf:{tmp_path / 'nothing'}")
