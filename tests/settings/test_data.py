"""What a run reads: each field of the corpus, of preparation, of the batches and of the validation on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sunfish.training.evaluation as evaluation_module
from sunfish.config import DataConfig
from sunfish.config.presets import preset
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedCorpus
from sunfish.data.prepare.prepare import prepare, prepared_folder
from sunfish.data.sources import open_source
from sunfish.data.sources.stories import StoriesSource
from sunfish.tokenizers import build_tokenizer
from sunfish.training.evaluation import validate
from sunfish.training.trainer import Trainer
from tests.settings.table import covers, spy

Make = Callable[..., Trainer]
Prepare = Callable[..., PreparedCorpus]
Patch = pytest.MonkeyPatch
FIELDS = dict(
    vocab_size=320, context_length=24, prompt_length=12, tokenizer="bytes", n_layer=1, n_head=1, n_embd=16
)


def quiet(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """40 records with two texts, a prompt and a label each."""
    path = tmp_path / "records.jsonl"
    lines = [
        json.dumps({"text": f"text {n}", "body": f"body {n}", "ask": f"ask {n}", "label": "good"})
        for n in range(40)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def read(tmp_path: Path) -> Prepare:
    """Prepare what the fields of a corpus name."""

    def run(**fields: Any) -> PreparedCorpus:
        folders = {"data_folder": str(tmp_path / "data")}
        config = preset("nano", **{**FIELDS, **folders, **fields})
        return prepare(open_source(config.corpus, 0), config, quiet, 1)

    return run


def texts(corpus: PreparedCorpus, split: str = "train") -> list[str]:
    rows = corpus.split(split)
    return [corpus.tokenizer.decode(rows.row(i).tolist()[1:-1]) for i in range(len(rows))]


def prompts(corpus: PreparedCorpus) -> list[str]:
    rows = corpus.split("train")
    return [corpus.prompt_tokenizer.decode(rows.prompt(i).tolist()) for i in range(len(rows))]


@covers(DataConfig, "data", "text_field", "prompt_field", "prompt_template", "validation_fraction")
def test_fields_of_records(records: Path, read: Prepare) -> None:
    corpus = read(data=str(records), prompt_field="ask", validation_fraction=0.25)
    kept = texts(corpus)
    assert len(kept) == 30 and sorted(kept + texts(corpus, "validation")) == sorted(
        f"text {n}" for n in range(40)
    )
    assert prompts(corpus) == [text.replace("text", "ask") for text in kept]
    bodies = read(
        data=str(records), text_field="body", prompt_template="a {label} {ask}", validation_fraction=0.5
    )
    assert len(texts(bodies)) == 20 and all(text.startswith("body ") for text in texts(bodies))
    assert prompts(bodies) == [f"a good {text.replace('body', 'ask')}"[:12] for text in texts(bodies)]
    derived = read(data=str(records))
    assert derived.manifest["splits"]["train"]["derived_prompts"] == 38
    other = records.with_name("other.jsonl")
    other.write_text(records.read_text().replace("text ", "word "))
    assert all(text.startswith("word ") for text in texts(read(data=str(other))))


@covers(DataConfig, "delimiter")
@pytest.mark.parametrize(("delimiter", "documents"), [("", 10), ("---", 11), ("none", 1)])
def test_delimiter_of_documents(tmp_path: Path, read: Prepare, delimiter: str, documents: int) -> None:
    """Ten paragraphs of two parts each: a delimiter takes the place of the blank lines."""
    path = tmp_path / "tales.txt"
    path.write_text("\n\n".join(f"first {n}\n---\nsecond {n}" for n in range(10)))
    counts = read(data=str(path), delimiter=delimiter, validation_fraction=0.1).manifest["splits"]
    total = sum(split["documents"] for split in counts.values())
    assert total == (2 if delimiter == "none" else documents)  # one text has a part on each side


@covers(DataConfig, "stories")
@covers(open_source, "config", "seed")
def test_number_and_seed_of_stories() -> None:
    source = open_source(DataConfig(stories=1230), 7)
    assert isinstance(source, StoriesSource) and source.seed == 7
    assert (source.total("train"), source.total("validation")) == (1230, 123)
    first = [next(iter(open_source(DataConfig(), seed).examples("train"))).text for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]


@covers(DataConfig, "data_folder", "tokenizer")
def test_tokenizer_and_folder(records: Path, read: Prepare, tmp_path: Path) -> None:
    sizes = {}
    for kind in ("bytes", "characters", "bpe"):
        corpus = read(data=str(records), tokenizer=kind, data_folder=str(tmp_path / kind))
        assert corpus.folder.parent == tmp_path / kind
        sizes[kind] = corpus.tokenizer.size
    assert sizes["characters"] < sizes["bytes"] == 257 < sizes["bpe"] <= 320
    path = tmp_path / "tokenizer.json"
    build_tokenizer("characters", 320, ["text 0123456789 ask good Write about the"]).save(path)
    assert read(data=str(records), tokenizer=str(path)).tokenizer.size < sizes["characters"] + 20


@covers(prepare, "source", "config", "on_progress", "workers", "prompt_tokenizer", "tokenizer")
def test_each_argument_of_preparation(records: Path, tmp_path: Path) -> None:
    fields = {**FIELDS, "data": str(records), "prompt_field": "ask", "data_folder": str(tmp_path / "data")}
    config, stages = preset("nano", **fields), list[str]()
    source = open_source(config.corpus, 0)
    plain = prepare(source, config, lambda stage, done, total: stages.append(stage), workers=1)
    assert "train rows" in stages and plain.folder == prepared_folder(source, config)
    letters = build_tokenizer("characters", 320, ["text body ask good 0123456789 Write about the"])
    given = prepare(source, config, quiet, 1, tokenizer=letters)
    assert (
        given.tokenizer.size == given.prompt_tokenizer.size == letters.size and given.folder != plain.folder
    )
    asked = prepare(source, config.with_fields(prompt_length=11), quiet, 1, prompt_tokenizer=letters)
    assert (asked.tokenizer.size, asked.prompt_tokenizer.size) == (257, letters.size)
    assert sorted(prompts(asked)) == sorted(prompts(plain))
    for name, value in {"context_length": 4, "prompt_length": 4}.items():
        rows = prepare(source, config.with_fields(**{name: value}), quiet, 1).split("train")
        lengths = (
            rows.lengths if name == "context_length" else [len(rows.prompt(i)) for i in range(len(rows))]
        )
        assert max(lengths) == value
    with pytest.raises(ValueError, match="vocab_size"):
        prepare(source, config.with_fields(vocab_size=200), quiet, 1)


def test_number_of_processes(records: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    used: list[int] = []

    def here(function: Callable[[Any], Any], jobs: Any, workers: int) -> Any:
        used.append(workers)
        return (function(job) for job in jobs)

    monkeypatch.setattr("sunfish.data.prepare.shards.ordered_map", here)
    monkeypatch.setattr("sunfish.data.prepare.learn.ordered_map", here)
    config = preset("nano", **FIELDS, data=str(records), data_folder=str(tmp_path / "data"))
    prepare(open_source(config.corpus, 0), config, quiet, workers=3)
    assert used and set(used) == {3}


@pytest.fixture
def loader(make: Make) -> Callable[..., BatchLoader]:
    split, end = make().prepared.split("train"), 256
    arguments: dict[str, Any] = {"split": split, "batch_size": 4, "end": end, "seed": 0}
    return lambda **changed: BatchLoader(**{**arguments, **changed})


@covers(BatchLoader, "split", "batch_size", "end", "seed", "rank", "world_size")
def test_each_argument_of_the_loader(loader: Callable[..., BatchLoader], make: Make) -> None:
    numbers = loader().row_numbers(5)
    assert len(loader().batch(5).x0) == len(numbers) == 4 and len(loader(batch_size=7).batch(0).x0) == 7
    assert loader(seed=1).row_numbers(5) != numbers == loader(seed=0).row_numbers(5)
    ranks = [loader(batch_size=2, rank=rank, world_size=2).row_numbers(5) for rank in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == sorted(numbers) and ranks[0] == numbers[::2]
    held_out = make().prepared.split("validation")
    assert loader(split=held_out).epoch(10) == 40 / len(held_out) == 40 / 30
    (padded,) = loader(end=17).in_order(13, 13)
    places = torch.arange(padded.x0.shape[1]) >= padded.lengths[:, None]
    assert bool(places.any()) and bool((padded.x0[places] == 17).all())


@covers(BatchLoader.in_order, "limit", "batch_size", "wrong_prompts")
@covers(BatchLoader.spread_rows, "limit")
@covers(BatchLoader.batch, "step")
def test_each_argument_of_an_order(loader: Callable[..., BatchLoader]) -> None:
    right = list(loader().in_order(13, 5))
    assert [len(batch.x0) for batch in right] == [5, 5, 3]
    lengths = torch.cat([batch.lengths for batch in right])
    assert torch.equal(lengths, torch.from_numpy(np.sort(loader().split.lengths[loader().spread_rows(13)])))
    assert sum(len(batch.x0) for batch in loader().in_order(0, 50)) == len(loader().split)
    wrong = list(loader().in_order(13, 5, wrong_prompts=True))
    for one, other in zip(right, wrong, strict=True):
        assert torch.equal(one.x0, other.x0)
        pairs = zip(one.prompt, one.prompt_mask, other.prompt, other.prompt_mask, strict=True)
        assert all(p[m].tolist() != q[n].tolist() for p, m, q, n in pairs)
    assert loader().row_numbers(3) != loader().row_numbers(4)
    row, batch = loader().row_numbers(3)[0], loader().batch(3)
    assert batch.x0[0, : int(batch.lengths[0])].tolist() == loader().split.row(row).tolist()


@covers(validate, "model", "process", "batches", "texts", "batch_size", "block_lengths", "dtype", "seed")
def test_each_argument_of_the_validation(make: Make, monkeypatch: Patch) -> None:
    trainer = make()
    arguments: dict[str, Any] = dict(
        model=trainer.average,
        process=trainer.process,
        batches=trainer.held_out,
        texts=9,
        batch_size=5,
        block_lengths=(16, 5, 0),
        dtype=torch.float32,
        seed=0,
    )
    scored = spy(monkeypatch, evaluation_module, "losses_at")
    base = validate(**arguments)
    assert base.texts == 9 and base.block_length == 5 and len(scored) == 3 * 2
    assert [call["block_length"] for call in scored] == [32, 32, 5] * 2
    assert [len(call["batch"].x0) for call in scored[::3]] == [5, 4]
    assert all(call["evaluating"] for call in scored)
    uniform = make(process="uniform")
    for name, value in {
        "model": make(seed=1).average,
        "batches": trainer.batches,
        "texts": 8,
        "dtype": torch.bfloat16,
    }.items():
        other = validate(**{**arguments, name: value})
        assert other.next_token != base.next_token and other.bound != base.bound, name
    reseeded = validate(**{**arguments, "seed": 1})
    assert reseeded.next_token == base.next_token and reseeded.bound != base.bound
    other = validate(**{**arguments, "process": uniform.process, "model": uniform.average})
    assert other.proven and other.bound != base.bound


def test_embeddings_of_the_network_that_is_validated(make: Make) -> None:
    """The process of vectors has those of the average, whichever network it came with."""
    one, other = make(process="gaussian"), make(process="gaussian", seed=1)
    seen = [validate(one.average, t.process, one.held_out, 8, 4, (0,), torch.float32) for t in (one, other)]
    assert seen[0] == seen[1] and not seen[0].proven
