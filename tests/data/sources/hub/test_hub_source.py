"""Data sets of the hub as a corpus: which records, which split is held out, and what names a preparation."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from sunfish.config import DataConfig
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.data.sources.base import SPLITS, Source
from sunfish.hub import Unreachable
from sunfish.training.resume import Resumed, corpus_record, find_data
from sunfish.utils import UsageError
from tests.data.corpora import quiet, small
from tests.data.sources.hub.corpora import NAME, TABLE, as_jsonl, tales, two_configurations
from tests.sharing.hub_server import Hub


def opened(words: str, **fields: Any) -> Source:
    return open_source(DataConfig(data=f"hf:{words}", **fields), 0)


def numbers(source: Source, split: str) -> list[int]:
    """The numbers of the tales of a split."""
    return [int(re.findall(r"\d+", example.text)[0]) for example in source.examples(split)]


@pytest.mark.parametrize(
    "words", [pytest.param("user/tales:short", marks=pytest.mark.slow), "user/tales:short:train"]
)
def test_a_validation_split_is_held_out(hub: Hub, words: str) -> None:
    source = opened(words, prompt_field="about")
    assert [numbers(source, split) for split in SPLITS] == [[*range(60)], [*range(60, 70)]]
    assert next(source.examples("train")) == ("number 0", "The tale of number 0.")
    locations = [document.location for chunk in source.chunks("validation", 4) for document in chunk()]
    assert locations == [f"validation:{i}" for i in range(1, 11)]


def test_without_one_a_share_is_held_out_as_with_files(hub: Hub, tmp_path: Path) -> None:
    source = opened(TABLE, validation_fraction=0.1, prompt_template="Tell {about}")
    (tmp_path / "tales.jsonl").write_bytes(as_jsonl(tales(0, 100)))
    path = str(tmp_path / "tales.jsonl")
    files = open_source(DataConfig(data=path, validation_fraction=0.1, prompt_template="Tell {about}"), 0)
    for split in SPLITS:
        assert list(source.examples(split)) == list(files.examples(split))
    assert len(list(source.examples("validation"))) == 10
    assert next(source.examples("train")).prompt.startswith("Tell number")


def test_a_split_may_be_named(hub: Hub) -> None:
    source = opened("user/tales:long:test", validation_fraction=0.5)
    assert sorted(numbers(source, "train") + numbers(source, "validation")) == [*range(200, 210)]
    assert numbers(opened(f"{TABLE}:train"), "train") == numbers(opened(f"{TABLE}:default"), "train")
    validation = opened("user/tales:short:validation", validation_fraction=0.5)
    assert sorted(numbers(validation, "train") + numbers(validation, "validation")) == [*range(60, 70)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (NAME, "has several configurations; name one of them after a colon: short, long"),
        ("user/tales:shrt:train", "no configuration 'shrt'; there are short, long"),
        ("user/tales:long:valid", "no 'valid'; configurations short, long; splits of long: train, test"),
        ("user/table:tran", "no 'tran'; configurations default; splits of default: train"),
        ("user/table:default:train:x", "write hf:OWNER/NAME:CONFIG:SPLIT"),
        ("tales", "name it as the hub does: USER/NAME"),
        ("", "name it as the hub does: USER/NAME"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(hub: Hub, words: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as raised:
        opened(words)
    assert "\n" not in str(raised.value)


def test_fields_that_no_record_has_and_delimiters_are_wrong_use(hub: Hub) -> None:
    with pytest.raises(UsageError, match=r"no record of hf:user/table has it; fields found: text, about, n"):
        list(opened(TABLE, text_field="body").examples("train"))
    with pytest.raises(UsageError, match=r"hf:user/table has records, and --delimiter is for .txt"):
        opened(TABLE, delimiter="none")
    hub.add("datasets/user/empty", {"a.jsonl": as_jsonl([{"text": " "}, {"text": ""}])})
    with pytest.raises(
        ValueError, match=r"hf:user/empty has no usable document in its split train: 2 x text"
    ):
        list(opened("user/empty").examples("train"))
    hub.add("datasets/user/one", {"a.jsonl": as_jsonl([{"text": "a"}])})
    with pytest.raises(ValueError, match=r"hf:user/one has only one document, so none can be held out"):
        list(opened("user/one").examples("train"))


def test_a_commit_is_another_corpus(hub: Hub, tmp_path: Path) -> None:
    config = small(tmp_path, data=f"hf:{NAME}:short")
    first = prepare(open_source(config.corpus, 0), config, quiet, 1)
    assert (
        first.folder.name.startswith("user-tales-") and first.manifest["splits"]["train"]["documents"] == 60
    )
    commit = hub.repositories[f"datasets/{NAME}"].branches["main"]
    assert first.manifest["recipe"]["source"]["revision"] == commit
    asked = len(hub.requests)
    assert prepare(open_source(config.corpus, 0), config, quiet, 1).folder == first.folder
    assert not [line for line in hub.requests[asked:] if line.endswith(".jsonl")]
    hub.add(f"datasets/{NAME}", {**two_configurations(), "short/train-1.jsonl": as_jsonl(tales(30, 40))})
    second = prepare(open_source(config.corpus, 0), config, quiet, 1)
    assert second.folder != first.folder and second.manifest["splits"]["train"]["documents"] == 40


def test_a_resumed_run_finds_it_by_its_address(hub: Hub, tmp_path: Path) -> None:
    config = small(tmp_path, data=f"hf:{TABLE}")
    prepared = prepare(open_source(config.corpus, 0), config, quiet, 1)
    record = corpus_record(config, prepared)
    assert record["path"] == ""
    resumed = Resumed(tmp_path, {"corpus": record}, prepared.tokenizer, None)
    assert find_data(config.corpus, resumed) == config.corpus


def test_a_commit_in_the_middle_does_not_mix_in(hub: Hub) -> None:
    source = opened("user/tales:short")
    documents = source.examples("train")
    assert next(documents).text == "The tale of number 0."
    hub.add(f"datasets/{NAME}", {**two_configurations(), "short/train-1.jsonl": as_jsonl(tales(700, 800))})
    assert len(list(documents)) == 59 and numbers(source, "train") == [*range(60)]


@pytest.mark.parametrize("offline", [True, False])
def test_without_the_hub_what_was_prepared_is_used(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, offline: bool
) -> None:
    config = small(tmp_path, data=f"hf:{NAME}:short")
    first = prepare(open_source(config.corpus, 0), config, quiet, 1)
    if offline:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        reason = "HF_HUB_OFFLINE is set; unset it to reach the hub"
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        reason = "http://127.0.0.1:9 cannot be reached"
    commit = hub.repositories[f"datasets/{NAME}"].branches["main"]
    assert prepare(open_source(config.corpus, 0), config, quiet, 1).folder == first.folder
    noted = capsys.readouterr().err.splitlines()[-1]
    assert reason in noted and f"What was prepared of hf:{NAME}:short is used, commit {commit[:8]}" in noted
    other = small(tmp_path, data=f"hf:{NAME}:short", context_length=16)
    with pytest.raises(
        Unreachable, match=rf"{commit[:8]} is prepared with other lengths or another tokenizer"
    ):
        prepare(open_source(other.corpus, 0), other, quiet, 1)
    for absent in (f"hf:{NAME}:long", f"hf:{TABLE}"):
        with pytest.raises(Unreachable, match=f"{reason}.*, and nothing of {absent} is prepared in .*/data"):
            open_source(small(tmp_path, data=absent).corpus, 0)


def test_a_token_opens_what_is_private(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[f"datasets/{TABLE}"].private = True
    assert len(numbers(opened(TABLE), "train")) == 95
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match="shows no datasets/user/table; check the name, or set HF_TOKEN"):
        opened(TABLE)


def test_a_path_of_this_name_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hf:user").mkdir()
    (tmp_path / "hf:user" / "table").mkdir()
    with pytest.raises(
        UsageError, match=r"a data set on the hub, but also a folder .* --data \./hf:user/table"
    ):
        opened(TABLE)
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "tales").mkdir()  # `datasets` would prefer this folder
    (tmp_path / "user" / "tales" / "train.jsonl").write_bytes(as_jsonl(tales(0, 3)))
    assert len(numbers(opened("user/tales:short"), "train")) == 60


def test_without_the_extra_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "datasets" else find(name)
    )
    with pytest.raises(ImportError, match=r"^reading data sets of the hub needs an extra: .*-e '\.\[hf\]'$"):
        opened(TABLE)
