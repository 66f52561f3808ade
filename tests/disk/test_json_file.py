"""JSON files that anybody may have written: what is no small plain document is refused, and changes show."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from sunfish.disk.json_file import MAX_BYTES, is_sealed, read_json, seal


def test_a_document_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    document = {"a": [1, -2.5, None, True, "é\u2028"], "b": {}}
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=2)):
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        assert read_json(tmp_path / "a.json") == document


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "one key twice"),
        ("[NaN]", "NaN, which JSON does not allow"),
        ('{"a": -Infinity}', "-Infinity, which JSON does not allow"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "Expecting property name"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_is_no_plain_document_is_named(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=why) as error:
        read_json(tmp_path / "a.json")
    assert len(str(error.value)) < 200


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]" + " " * 7)
    assert read_json(path, 10) == [1]
    with pytest.raises(ValueError, match="more than 9 bytes"):
        read_json(path, 9)
    os.truncate(path, 2**40)  # takes no room on disk
    with pytest.raises(ValueError, match=f"more than {MAX_BYTES:,} bytes"):
        read_json(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/zero")
def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_BYTES:,} bytes"):
        read_json(Path("/dev/zero"))


def test_any_change_of_a_sealed_document_shows() -> None:
    sealed = seal({"a": 1, "b": {"c": [1, 2.5]}})
    assert is_sealed(json.loads(json.dumps(sealed, indent=3)))
    changes = [{**sealed, "a": 2}, {**sealed, "a": 1.5}, {**sealed, "b": {"c": [2.5, 1]}}, {**sealed, "d": 1}]
    without = [{key: value for key, value in sealed.items() if key != name} for name in sealed]
    assert not any(is_sealed(change) for change in [*changes, *without, {**sealed, "sha256": None}])
