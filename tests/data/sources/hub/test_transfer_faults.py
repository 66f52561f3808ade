"""What goes wrong between here and a data set: waited for, resumed, or one line that names it; nothing else is read."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx2 as httpx
import pytest
from huggingface_hub import HfFileSystem

from sunfish.config import DataConfig
from sunfish.data.sources import open_source
from sunfish.data.sources.base import Source
from sunfish.data.sources.hub.transfer import (
    RATE_LIMIT_WAITS,
    TRIES,
    TransferError,
    Transfers,
    _Exchange,
)
from tests.data.sources.hub.corpora import NAME, TABLE
from tests.sharing.hub_server import Hub

Patch = pytest.MonkeyPatch
JSONL, PARQUET = f"hf:{NAME}:short", f"hf:{TABLE}"
FILES = {JSONL: "GET .*train-1.jsonl", PARQUET: "GET /cdn/"}
INFO, TREE, SIZES = r"GET /api/datasets/user/\w+$", "GET .*/tree/", "POST .*/paths-info/"


def read(data: str) -> list[str]:
    """The texts, with nothing left of earlier listings."""
    HfFileSystem.clear_instance_cache()
    return [example.text for example in open_source(DataConfig(data=data), 0).examples("train")]


@pytest.fixture
def slept(monkeypatch: Patch) -> list[float]:
    """The seconds of all pauses."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize(
    ("data", "line"),
    [
        pytest.param(JSONL, INFO, marks=pytest.mark.slow),
        pytest.param(PARQUET, TREE, marks=pytest.mark.slow),
        pytest.param(JSONL, SIZES, marks=pytest.mark.slow),
        (PARQUET, FILES[PARQUET]),
    ],
)
def test_a_rate_limit_is_waited_out_in_sight(
    hub: Hub, slept: list[float], capsys: Any, data: str, line: str
) -> None:
    expected = read(data)
    hub.fail(line, 429, {"Retry-After": "7"}, times=2)
    hub.fail(line, 429, {"RateLimit": '"api";r=0;t=120'}, times=1)
    hub.fail(line, 429, times=1)
    assert read(data) == expected
    waits = [seconds for seconds in slept if seconds >= 1]
    assert waits == [7, 7, 120, 60]
    assert capsys.readouterr().err.splitlines() == [
        f"{data}: the hub has had too many requests; waiting {words}"
        for words in ("7 s", "7 s", "2 min", "60 s")
    ]


def test_the_count_of_downloads_on_another_host_is_asked_once(
    hub: Hub, monkeypatch: Patch, capsys: Any
) -> None:
    expected = read(PARQUET)
    counter = hub.url.replace("127.0.0.1", "localhost") + "/counter/datasets"
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", True)
    monkeypatch.setattr("datasets.config.S3_DATASETS_BUCKET_PREFIX", counter)
    hub.fail("HEAD /counter/", 500)
    assert read(PARQUET) == expected
    counted = [line for line in hub.requests if "/counter/" in line]
    assert set(counted) == {f"HEAD /counter/datasets/{TABLE}/{TABLE}.py"}
    assert len(counted) < TRIES and capsys.readouterr().err == ""


def test_a_rate_limit_without_an_end_is_an_error(hub: Hub, slept: list[float]) -> None:
    hub.fail(INFO, 429)
    with pytest.raises(
        ValueError, match=f"^{PARQUET}: the hub's rate limit did not end in {RATE_LIMIT_WAITS} waits"
    ):
        read(PARQUET)
    assert len(slept) == RATE_LIMIT_WAITS


@pytest.mark.parametrize(
    ("data", "line", "status"),
    [
        pytest.param(PARQUET, INFO, 500, marks=pytest.mark.slow),
        pytest.param(JSONL, TREE, 503, marks=pytest.mark.slow),
        pytest.param(PARQUET, SIZES, 504, marks=pytest.mark.slow),
        (JSONL, FILES[JSONL], 500),
    ],
)
def test_a_failing_hub_is_tried_so_many_times(
    hub: Hub, capsys: Any, data: str, line: str, status: int
) -> None:
    expected = read(data)
    hub.fail(line, status, times=TRIES - 1)
    assert read(data) == expected
    notes = capsys.readouterr().err.splitlines()
    assert (
        notes[0] == f"{data}: HTTP status {status}; trying again in 1 s (1 of 4)" and len(notes) == TRIES - 1
    )
    hub.fail(line, status)
    asked = len(hub.requests)
    with pytest.raises(ValueError, match=f"^{data}: the hub fails; try again later .HTTP status {status}.$"):
        read(data)
    assert sum(bool(re.search(line, request)) for request in hub.requests[asked:]) <= TRIES + 1


@pytest.mark.parametrize("failures", [1, TRIES - 1, TRIES])
def test_a_network_that_fails_is_tried_so_many_times(slept: list[float], capsys: Any, failures: int) -> None:
    asked: list[httpx.Request] = []

    def send(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) <= failures:
            raise httpx.ConnectError("no route\nto the host")
        return httpx.Response(200)

    request = httpx.Request("GET", "https://hub.test:444/api/datasets/user/tales")
    exchange = _Exchange(Transfers("hf:user/tales", "user/tales"), send, request)
    if failures < TRIES:
        assert exchange.answer().status_code == 200 and len(asked) == failures + 1
    else:
        with pytest.raises(
            TransferError, match=r"^https://hub.test:444 cannot be reached \(no route\); check the network"
        ):
            exchange.answer()
        assert len(asked) == TRIES
    pauses = min(failures, TRIES - 1)
    assert slept == [2.0**i for i in range(pauses)]
    assert capsys.readouterr().err.splitlines() == [
        f"hf:user/tales: no route; trying again in {2**i} s ({i + 1} of {TRIES - 1})" for i in range(pauses)
    ]


@pytest.mark.parametrize("data", [JSONL, PARQUET])
def test_a_cut_connection_is_resumed_and_a_lost_one_is_an_error(hub: Hub, capsys: Any, data: str) -> None:
    expected = read(data)
    hub.fail(FILES[data], body=lambda body: body[: len(body) // 2], times=3)
    assert read(data) == expected
    assert len(re.findall("trying again in", capsys.readouterr().err)) == 3
    hub.fail(FILES[data], body=lambda body: b"")
    with pytest.raises(ValueError, match=f"^{data}: the connection was cut {TRIES} times; try again later$"):
        read(data)


@pytest.mark.parametrize(
    ("data", "change"),
    [
        (JSONL, "cut short"),
        pytest.param(JSONL, "other content", marks=pytest.mark.slow),
        pytest.param(PARQUET, "cut short", marks=pytest.mark.slow),
        (PARQUET, "other content"),
    ],
)
def test_a_file_that_is_not_the_listed_one_is_refused(hub: Hub, data: str, change: str) -> None:
    source = listed(data)
    repository = hub.repositories["datasets/" + data.split(":")[1]]
    files = next(iter(repository.commits.values()))
    path = next(path for path in files if "train-" in path and "1" in path)
    content = files[path][:-10] if change == "cut short" else files[path][::-1]
    hub.add("x/y", {path: content})
    files[path] = content
    sent = f"{len(content):,} bytes" if change == "cut short" else "other content"
    with pytest.raises(
        ValueError, match=f"^{data}: {path} has {sent} where the listing says .* bytes: it was cut"
    ):
        list(source.examples("train"))


def test_a_large_file_that_the_store_cuts_short_is_refused(hub: Hub) -> None:
    source = listed(PARQUET)
    for name, content in list(hub.objects.items()):
        if content[:4] == b"PAR1":
            hub.objects[name] = content[:-10]
    with pytest.raises(ValueError, match=f"^{PARQUET}: data/train-.*parquet has .* where the listing says"):
        list(source.examples("train"))


def listed(data: str) -> Source:
    """A source whose files were asked for."""
    source = open_source(DataConfig(data=data), 0)
    next(source.examples("train"))
    return source


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "", "does not accept the token; set HF_TOKEN to a token that is valid (HTTP status 401)"),
        (403, "", "does not permit this"),
        (403, "GatedRepo", "datasets/user/table is gated; accept its conditions at "),
        (404, "RepoNotFound", "shows no datasets/user/table; check the name, or set HF_TOKEN"),
        (404, "EntryNotFound", "datasets/user/table has changed while it was read; try again"),
    ],
)
@pytest.mark.parametrize("line", [INFO, pytest.param("GET /datasets/.*parquet", marks=pytest.mark.slow)])
def test_what_the_hub_refuses_is_one_line(hub: Hub, line: str, status: int, code: str, said: str) -> None:
    headers = (
        {"X-Error-Code": code} if code else {"X-Error-Message": "Invalid credentials in Authorization header"}
    )
    hub.fail(line, status, headers)
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        read(PARQUET)
    assert "user/table" in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_broken_on_the_hub_is_named_with_its_place(hub: Hub) -> None:
    hub.add("datasets/user/broken", {"train.jsonl": b'{"text": "a"}\n{"text": \n'})
    with pytest.raises(
        ValueError, match=r"^hf:user/broken: record \d of split train cannot be read \("
    ) as raised:
        read("hf:user/broken")
    assert "\n" not in str(raised.value)


def test_a_copy_in_the_cache_of_the_library_is_not_taken_instead(hub: Hub) -> None:
    read(JSONL)
    hub.fail("GET .*/tree/", 404, {"X-Error-Code": "RevisionNotFound"})
    with pytest.raises(ValueError, match=r"user/tales"):
        read(JSONL)
