"""Tiny runs on a corpus of short texts, which is prepared once."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sunfish.hardware.device as device_module
import sunfish.sampling.editing as editing_module
import sunfish.sampling.infilling as infilling_module
from sunfish.config import Config, GenerationConfig
from sunfish.config.presets import preset
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.sampling.editing import Span
from sunfish.sampling.generated import Generated
from sunfish.sampling.generation_config import write_generation_config
from sunfish.sampling.infilling import Infilled
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.trainer import Trainer
from tests.runs import SHAPE

WORDS = ("a", "the", "dog", "cat", "ran", "home", "sea", "sun", "and", "tree")
Settings = Callable[..., Config]
Make = Callable[..., Trainer]
Record = dict[str, Any]


def tiny(path: Path) -> dict[str, object]:
    """The fields of a tiny run on the corpus ``path``."""
    return {key: value for key, value in SHAPE.items() if key != "stories"} | dict(
        data=str(path),
        data_folder=str(path.parent / "data"),
        prompt_field="prompt",
        tokenizer="bytes",
        validation_fraction=0.2,
        context_length=32,
        prompt_length=12,
        max_steps=100,
        warmup_steps=0,
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 records of a prompt and a text of 4 to 30 letters; the run's prepared data lies next to it."""
    path, dice = tmp_path_factory.mktemp("corpus") / "texts.jsonl", random.Random(0)
    with path.open("w") as file:
        for number in range(150):
            text = " ".join(dice.choices(WORDS, k=dice.randint(2, 7)))[:26]
            record = {"prompt": f"about {dice.choice(WORDS)}", "text": f"{number} {text}"}
            file.write(json.dumps(record) + "\n")
    config = preset("nano", **tiny(path))
    prepare(open_source(config.corpus, 0), config, lambda *_: None, workers=1)
    return path


@pytest.fixture
def settings(corpus: Path, tmp_path: Path) -> Settings:
    """The configuration of a tiny run, with some fields changed."""
    fields = {**tiny(corpus), "checkpoints": str(tmp_path)}
    return lambda **values: preset("nano").with_fields(**{**fields, **values})


@pytest.fixture
def make(settings: Settings) -> Make:
    """A trainer of a tiny run, with some fields changed; each has a folder of its own."""
    numbers = itertools.count()
    return lambda **values: Trainer(settings(**{"name": f"run{next(numbers)}", **values}))


@pytest.fixture(scope="session")
def checkpoint(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that has not begun, with settings of sampling by the name ``fast``."""
    fields = {**tiny(corpus), "checkpoints": str(tmp_path_factory.mktemp("run")), "name": "run"}
    path = Trainer(preset("nano", **fields)).save()
    write_generation_config(path, {"best": GenerationConfig(), "fast": GenerationConfig(block_length=12)})
    return path


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Record:
    """What a pipeline is asked for, in place of its work."""
    record: Record = {}

    def write(how: str, **asked: Any) -> list[Generated]:
        record.update(asked, how=how)
        return [Generated("text", "", True, 1, [1])]

    def load(path: Path, device: str, precision: str, compile: bool) -> Any:
        record.update(path=path, device=device, precision=precision, compile=compile)
        return SimpleNamespace(
            process=SimpleNamespace(default_sampler="leftmost"),
            model=SimpleNamespace(config=SimpleNamespace(context_length=32)),
            generate=lambda rows, config, **options: write("generate", rows=rows, config=config, **options),
            stream=lambda row, config, **options: iter(write("stream", rows=[row], config=config, **options)),
        )

    def filled(how: str, **asked: Any) -> list[Infilled]:
        record.update(asked, how=how)
        return [Infilled("text", "", ["t"], 1, [1], -2.5, 9.0)]

    def fill(_: Any, text: str, config: GenerationConfig, **options: Any) -> list[Infilled]:
        return filled("infill", text=text, config=config, **options)

    def edit(
        _: Any, text: str, spans: list[Span], prompt: str, config: GenerationConfig, **options: Any
    ) -> list[Infilled]:
        return filled("edit", text=text, spans=spans, prompt=prompt, config=config, **options)

    monkeypatch.setattr(Pipeline, "from_checkpoint", load)
    monkeypatch.setattr(infilling_module, "infill", fill)
    monkeypatch.setattr(editing_module, "rewrite", edit)
    monkeypatch.setattr(device_module, "choose_device", lambda name: name)
    return record
