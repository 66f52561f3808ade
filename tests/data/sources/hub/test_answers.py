"""What the headers of an answer say, and what an address without a configuration means."""

from __future__ import annotations

import datasets
import httpx2 as httpx
import pytest

from sunfish.data.sources.hub.address import parse_address
from sunfish.data.sources.hub.answers import file_etag
from sunfish.data.sources.hub.listing import _find_config

OURS, THEIRS = "a" * 40, "b" * 64


@pytest.mark.parametrize(
    ("before", "headers", "expected"),
    [
        (None, {}, None),
        (None, {"ETag": f'"{OURS}"'}, OURS),
        (None, {"ETag": f'W/"{OURS}"', "X-Linked-Etag": f'"{THEIRS}"'}, THEIRS),
        (None, {"ETag": '"1-2"'}, None),
        ({"ETag": f'"{OURS}"'}, {"ETag": f'"{THEIRS}"'}, None),
        ({"X-Linked-Etag": f'"{OURS}"'}, {"ETag": f'"{THEIRS}"'}, OURS),
    ],
)
def test_the_hash_of_a_file_is_the_hubs_own(
    before: dict[str, str] | None, headers: dict[str, str], expected: str | None
) -> None:
    answer = httpx.Response(200, headers=headers)
    answer.history = [] if before is None else [httpx.Response(302, headers=before)]
    assert file_etag(answer) == expected


def test_the_default_is_that_of_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def default_of(path: str, revision: str | None = None) -> str:
        asked.append((path, revision))
        return "long"

    monkeypatch.setattr(datasets, "get_dataset_default_config_name", default_of)
    found = _find_config(parse_address("hf:user/tales"), "hf://x", ["short", "long"], "c0ffee")
    assert (found, asked) == ("long", [("hf://x", "c0ffee")])
