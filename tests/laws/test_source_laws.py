"""What every corpus must obey: a fixed order, resuming by ``start``, ranks sharing it, disjoint splits."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest

from sunfish.config import DataConfig
from sunfish.data.sources import open_source, source_names
from sunfish.data.sources.base import SPLITS, Source


@pytest.fixture(params=[*source_names(), "files", "one long text"], scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    if request.param in source_names():
        return open_source(DataConfig(data=request.param, stories=100), seed=3)
    path: Path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(f"Document {i} speaks of the number {i * i}." for i in range(80)))
    delimiter = "none" if request.param == "one long text" else ""
    return open_source(DataConfig(data=str(path), validation_fraction=0.25, delimiter=delimiter), seed=3)


def test_the_name_begins_the_name_of_a_folder(source: Source) -> None:
    assert re.fullmatch(r"[\w-]+", source.name)


@pytest.mark.parametrize("split", SPLITS)
def test_the_total_is_the_number_of_documents_or_unknown(source: Source, split: str) -> None:
    assert source.total(split) in (None, len(list(source.examples(split))))


@pytest.mark.parametrize("split", SPLITS)
def test_the_order_is_fixed(source: Source, split: str) -> None:
    first = list(source.examples(split))
    assert first and first == list(source.examples(split))


def test_texts_are_never_empty(source: Source) -> None:
    assert all(e.text.strip() and isinstance(e.prompt, str) for s in SPLITS for e in source.examples(s))


def test_splits_share_no_text(source: Source) -> None:
    train, validation = ({e.text for e in source.examples(s)} for s in SPLITS)
    assert not train & validation


@pytest.mark.parametrize("start", [0, 1, 7])
def test_resuming_is_a_larger_start(source: Source, start: int) -> None:
    assert list(source.examples("train", start)) == list(source.examples("train"))[start:]


@pytest.mark.parametrize("start, world_size", [(0, 2), (0, 3), (5, 4)])
def test_ranks_share_out_every_example(source: Source, start: int, world_size: int) -> None:
    whole = list(source.examples("train", start))
    for rank in range(world_size):
        assert list(source.examples("train", start, rank, world_size)) == whole[rank::world_size]


@pytest.mark.parametrize("split", SPLITS)
def test_jobs_hold_the_same_examples_and_can_be_pickled(source: Source, split: str) -> None:
    jobs = [pickle.loads(pickle.dumps(job)) for job in source.chunks(split, 7)]
    located = [pair for job in jobs for pair in job()]
    assert [e for _, e in located] == list(source.examples(split))
    assert len({location for location, _ in located}) == len(located)
    assert all(len(job()) <= 7 for job in jobs)


def test_an_unknown_split_is_an_error(source: Source) -> None:
    with pytest.raises(ValueError, match=r"'test'.*train, validation"):
        list(source.examples("test"))


def test_fingerprints_are_stable_and_plain(source: Source) -> None:
    assert json.loads(json.dumps(source.fingerprint())) == source.fingerprint()
