"""``sunfish data`` and ``sunfish tokenizer``: the examples and figures that they print, computed another way."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.commands import tokenizer as command
from sunfish.config import DataConfig
from sunfish.data.sources import Source, open_source
from sunfish.tokenizers import TextTokenizer, build_tokenizer
from sunfish.types import Example


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    records = [{"text": f"né {i} " + "garden storm " * (1 + i % 7), "label": f"p{i}"} for i in range(60)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def examples(corpus: Path, split: str, count: int) -> list[Example]:
    source = open_source(DataConfig(data=str(corpus), prompt_field="label", validation_fraction=0.2), 0)
    return list(islice(source.examples(split), count))


def words(command: str, corpus: Path) -> list[str]:
    fields = ["--prompt-field", "label", "--validation-fraction", "0.2", "--vocab-size", "300"]
    return [command, "--data", str(corpus), *fields]


def test_the_first_training_texts_are_shown_with_their_prompts(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*words("data", corpus), "--data-folder", str(corpus.parent / "data")]
    first = examples(corpus, "train", 3)
    assert main([*given, "--show", "3"]) == 0
    shown = capsys.readouterr().out
    report, *texts = shown.split("\n\n> ")
    assert texts == [f"{prompt}\n{text}" + "\n" * (i == 2) for i, (prompt, text) in enumerate(first)]
    assert main(given) == 0
    assert capsys.readouterr().out.rstrip("\n") == report
    assert main([*given, "--show", "1000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    whole = examples(corpus, "train", 1000)
    assert (
        found["examples"] == [{"prompt": prompt, "text": text} for prompt, text in whole] and len(whole) == 48
    )
    assert found["folder"] == report.partition(":")[0]


def test_compression_is_of_the_first_held_out_texts_and_learning_from_the_first_of_training(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "HELD_OUT", 5)
    monkeypatch.setattr(command, "TRAINING_TEXTS", 4)
    out = corpus.parent / "new" / "tokenizer.json"
    given = words("tokenizer", corpus)
    assert main([*given, "--out", str(out)]) == 0
    line = capsys.readouterr().out
    parts = [part for prompt, text in examples(corpus, "train", 4) for part in (prompt, text)]
    learned, written = build_tokenizer("bpe", 300, parts), TextTokenizer.load(out)
    assert written.engine.to_str() == learned.engine.to_str()
    held_out = [text for _, text in examples(corpus, "validation", 5)]
    rate = sum(len(text.encode()) for text in held_out) / sum(len(learned.encode(text)) for text in held_out)
    assert line == f"{learned.size} ids, {rate:.2f} bytes/token on held-out text\n"
    text = "né garden"
    ids = learned.encode(text)
    assert main([*given, "--encode", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "size": learned.size,
        "end": learned.end,
        "bytes_per_token": rate,
        "ids": ids,
        "tokens": [learned.decode([i]) for i in ids],
    }
    assert main([*given, "--encode", text]) == 0
    pieces = "|".join(learned.decode([i]) for i in ids)
    assert capsys.readouterr().out.splitlines()[1:] == [f"{len(ids)} tokens: {ids}", pieces]


def test_an_alphabet_is_learned_from_all_training_texts(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "TRAINING_TEXTS", 1)
    assert main([*words("tokenizer", corpus), "--tokenizer", "characters", "--json"]) == 0
    letters = {letter for example in examples(corpus, "train", 1000) for part in example for letter in part}
    assert json.loads(capsys.readouterr().out)["size"] == len(letters) + 1


@pytest.mark.parametrize("command_name", ["data", "tokenizer"])
def test_the_seed_reaches_the_source(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, command_name: str
) -> None:
    seeds: list[int] = []

    def opened(config: DataConfig, seed: int) -> Source:
        seeds.append(seed)
        return open_source(config, seed)

    monkeypatch.setattr("sunfish.data.sources.open_source", opened)
    folder = ["--data-folder", str(corpus.parent / "data")] if command_name == "data" else []
    assert main([*words(command_name, corpus), *folder, "--seed", "7"]) == 0
    assert seeds == [7]
