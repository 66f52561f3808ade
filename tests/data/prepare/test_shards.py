"""Shards: what was encoded before a kill is not encoded again, machines share the work, and the corpus is the same."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sunfish.cli import main
from sunfish.config import Config
from sunfish.data.dataset import PreparedCorpus
from sunfish.data.prepare import shard_files, shards
from sunfish.data.prepare.encode import DocumentEncoder, EncodedRows
from sunfish.data.prepare.machine import prepare_shards
from sunfish.data.prepare.prepare import prepare, prepared_folder
from sunfish.data.prepare.shard_files import ShardFolder, ShardWriter, load_shard
from sunfish.data.prepare.shards import all_shards
from sunfish.data.sources import open_source
from sunfish.disk.writing import WriteError
from tests.data.corpora import quiet, records, small
from tests.limits import largest_file

CHUNK = 32
DOCUMENTS = 375  # about 300 for training: ten chunks, five shards of two; and two shards for validation


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_CHUNKS", 2)
    monkeypatch.setattr(shards, "CHUNK_DOCUMENTS", CHUNK)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many documents each chunk had that was encoded."""
    counts: list[int] = []
    encode = DocumentEncoder.__call__

    def counting(self: DocumentEncoder, chunk: Any) -> EncodedRows:
        rows = encode(self, chunk)
        counts.append(rows.counts["documents"])
        return rows

    monkeypatch.setattr(DocumentEncoder, "__call__", counting)
    return counts


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in [*records(DOCUMENTS), {"text": ""}]))
    return path


@pytest.fixture(scope="module")
def undisturbed(corpus: Path) -> dict[str, Any]:
    """The manifest of a preparation in one go."""
    config = small(corpus.parent, data=str(corpus))
    return prepare(open_source(config.corpus, 0), config, quiet, 1).manifest


def run(config: Config, workers: int = 1) -> PreparedCorpus:
    return prepare(open_source(config.corpus, 0), config, quiet, workers)


def stored(config: Config) -> list[Path]:
    folder = prepared_folder(open_source(config.corpus, 0), config)
    return sorted(all_shards(folder).glob("*/*.rows"))


def killed(config: Config, at_shards: int) -> None:
    """Prepare in a process that is killed when so many shards are stored."""
    child = os.fork()
    if child == 0:
        store = ShardWriter.store

        def stored_or_killed(self: ShardWriter) -> None:
            store(self)
            if len(stored(config)) == at_shards:
                os.kill(os.getpid(), signal.SIGKILL)

        ShardWriter.store = stored_or_killed  # type: ignore[method-assign]
        run(config)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_after_a_kill_the_rest_is_encoded_and_nothing_twice(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, Any], encoded: list[int], workers: int
) -> None:
    config = small(tmp_path, data=str(corpus))
    killed(config, 2)
    killed(config, 4)
    assert [path.name[:12] for path in stored(config)] == [f"train-{i:06}" for i in range(4)]
    done = run(config, workers)
    assert done.manifest == undisturbed
    if workers == 1:
        documents = undisturbed["splits"]["train"]["documents"]
        assert sum(encoded) == documents - 4 * 2 * CHUNK + undisturbed["splits"]["validation"]["documents"]
    assert list((tmp_path / "data").iterdir()) == [done.folder]


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_machines_share_the_work_and_the_corpus_is_the_same(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, Any], encoded: list[int], count: int
) -> None:
    config = small(tmp_path, data=str(corpus))
    total = sum(split["documents"] for split in undisturbed["splits"].values())
    written = [
        prepare_shards(open_source(config.corpus, 0), config, (number, count), quiet, 1).documents
        for number in reversed(range(count))
    ]
    assert sum(written) == sum(encoded) == total and min(written) > 0
    assert prepare_shards(open_source(config.corpus, 0), config, (0, count), quiet, 1).documents == 0
    encoded.clear()
    assert run(config).manifest == undisturbed and encoded == []


def test_what_a_lost_machine_lacks_is_encoded_at_the_end(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, Any], encoded: list[int]
) -> None:
    config = small(tmp_path, data=str(corpus))
    prepare_shards(open_source(config.corpus, 0), config, (1, 2), quiet, 1)
    before = sum(encoded)
    assert run(config).manifest == undisturbed
    assert 0 < before < sum(encoded) == sum(split["documents"] for split in undisturbed["splits"].values())


def test_a_damaged_shard_is_written_again(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(tmp_path, data=str(corpus))
    killed(config, 3)
    path = stored(config)[1]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert run(config).manifest == undisturbed
    assert capsys.readouterr().err == f"note: {path} is damaged; it is written again\n"


def test_shards_of_another_tokenizer_do_not_mix_in(corpus: Path, tmp_path: Path, encoded: list[int]) -> None:
    config = small(tmp_path, data=str(corpus))
    killed(config, 4)
    tokenizer = run(small(tmp_path / "other", data=str(corpus), vocab_size=300)).tokenizer
    folder = stored(config)[0].parent
    recipe = prepared_folder(open_source(config.corpus, 0), config)
    encoder = DocumentEncoder(tokenizer, tokenizer, None, 32, 8)  # type: ignore[arg-type]
    assert shards.shard_folder(recipe, encoder).folder != folder
    assert shards.shard_folder(recipe, encoder).folder.parent == folder.parent


def rows_of(number: int) -> EncodedRows:
    rows = EncodedRows()
    rows.append([1, 2**31, number], "a\u00e9", [7])
    rows.append([4], "b", [])
    rows.hashes.extend([2**64 - 1, number])
    rows.counts["documents"] = 2
    rows.report.skips.add("empty\nline", f"a:{number}")
    rows.report.notes.add("odd", f"b:{number}")
    return rows


@pytest.mark.parametrize("record_ids", [1, 8, 10**6])
def test_a_shard_gives_back_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_ids: int
) -> None:
    """In records of one chunk, of two, and of all of them."""
    monkeypatch.setattr(shard_files, "RECORD_IDS", record_ids)
    folder, expected = ShardFolder(tmp_path / "shards" / "x"), EncodedRows()
    assert folder.find("train", 3) is None
    writer = folder.begin("train", 3)
    for number in range(5):
        writer.append(rows_of(number))
        expected.merge(rows_of(number))
        assert folder.find("train", 3) is None
    writer.store()
    path = folder.find("train", 3)
    assert path is not None and list(folder.folder.iterdir()) == [path]
    assert folder.find("train", 4) is None and folder.find("validation", 3) is None
    records = list(load_shard(path))
    assert len(records) == {1: 6, 8: 3, 10**6: 1}[record_ids]  # the last one has what is left
    whole = EncodedRows()
    for rows in records:
        whole.merge(rows)
    assert whole == expected and whole.counts["documents"] == 10
    assert whole.report.skips.to_dict()["empty\nline"] == {"count": 5, "places": [f"a:{i}" for i in range(5)]}


@pytest.mark.parametrize("record_ids", [1, 10**6])
def test_a_shard_that_is_given_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_ids: int
) -> None:
    monkeypatch.setattr(shard_files, "RECORD_IDS", record_ids)
    kept, folder = ShardFolder(tmp_path / "shards" / "x"), ShardFolder(tmp_path / "shards" / "y")
    for one in (kept, folder):
        writer = one.begin("train", 0)
        writer.append(rows_of(0))
        writer.store() if one is kept else writer.discard()
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["x"]
    assert kept.find("train", 0) is not None


def test_a_full_disk_leaves_whole_shards_only(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    config = small(tmp_path, data=str(corpus))
    killed(config, 1)
    size = stored(config)[0].stat().st_size
    with pytest.raises(WriteError, match="could not be written: file too large"), largest_file(size + 2_000):
        run(config)
    left = sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert left == stored(config) and len(left) >= 1
    assert run(config).manifest == undisturbed


def test_the_command_says_what_is_next(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "data",
        "--config",
        "nano",
        "--data",
        str(corpus),
        "--data_folder",
        str(tmp_path),
        "--tokenizer",
        "bytes",
    ]
    assert main([*words, "--shard", "0/2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "documents encoded as machine 0/2" in said[0]
    assert said[1] == "when every machine is done, the same command without --shard writes the corpus"
    assert main([*words, "--shard", "1/2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] > 0
    assert main(words) == 0
    assert "train: " in capsys.readouterr().out and not list(tmp_path.glob("*.shards"))


@pytest.mark.parametrize("shard", ["2/2", "1", "-1/2", "a/b", "1/2/3", ""])
def test_a_machine_that_cannot_be_is_wrong_use(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", f"--shard={shard}"]) == 2
    assert f"shard is {shard!r}; give I/N with I from 0 to N - 1, such as 0/4" in capsys.readouterr().err
    assert main(["data", "--shard", "0/2", "--show", "3"]) == 2
    assert "show has no effect with shard" in capsys.readouterr().err
