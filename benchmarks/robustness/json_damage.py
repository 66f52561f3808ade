"""Owns hostile JSON: a value of a document replaced by one that its reader does not expect."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.robustness.byte_damage import Damage

DEPTH = 100_000  # nested lists
PLACE = "@@PLACE@@"  # stands for the new value while the document is written

# As JSON text: some of them are no JSON, some no Python.
VALUES = (
    *("null", "true", "false", "0", "-1", "1.5", "1e400", "-1e400", "NaN", "Infinity", "1e308", "0.1"),
    *("9223372036854775808", "1" + "0" * 30, "9" * 5000, "1000000000", '""', '"x"', '"NaN"', '"-1"'),
    *('"../../../etc/passwd"', '"/etc/passwd"', '"\\u0000"', '"\\ud800"', '"a\\nb"', '"{x.__class__}"'),
    *("[]", "{}", "[null]", "[[[]]]", '{"a": {}}', '["a", 1]'),
    "[" * DEPTH + "]" * DEPTH,
    '{"a":' * DEPTH + "1" + "}" * DEPTH,
    '"' + "x" * 5_000_000 + '"',
    "[" + "0," * 1_000_000 + "0]",
)
PATHS = ("../outside", "../../ck/tiny/metrics.jsonl", "/etc/passwd", "", ".", "trainer", "a\0b", "x" * 300)


def replace_value(path: Path, dice: random.Random) -> str:
    """One value, anywhere in the tree."""
    document = json.loads(path.read_text(encoding="utf-8"))
    keys, parent = _random_place(document, dice)
    value = dice.choice(VALUES)
    parent[keys[-1]] = PLACE
    path.write_text(json.dumps(document).replace(json.dumps(PLACE), value), encoding="utf-8")
    return f"{'.'.join(map(str, keys))} is {value[:24]}{'…' * (len(value) > 24)}"


def replace_document(path: Path, dice: random.Random) -> str:
    """The whole document."""
    value = dice.choice(VALUES)
    path.write_text(value, encoding="utf-8")
    return f"the document is {value[:24]}{'…' * (len(value) > 24)}"


def remove_key(path: Path, dice: random.Random) -> str:
    """One entry of an object or of a list."""
    document = json.loads(path.read_text(encoding="utf-8"))
    keys, parent = _random_place(document, dice)
    del parent[keys[-1]]
    path.write_text(json.dumps(document), encoding="utf-8")
    return f"without {'.'.join(map(str, keys))}"


def add_key(path: Path, dice: random.Random) -> str:
    """An entry that no version knows."""
    document = json.loads(path.read_text(encoding="utf-8"))
    objects = [document, *(value for value in document.values() if isinstance(value, dict))]
    dice.choice(objects)["unknown"] = 1
    path.write_text(json.dumps(document), encoding="utf-8")
    return "with an unknown entry"


def repeat_key(path: Path, dice: random.Random) -> str:
    """One key of the document twice, the second time with another value."""
    text = path.read_text(encoding="utf-8").rstrip()
    key, value = dice.choice(sorted(json.loads(text))), dice.choice(VALUES[:12])
    path.write_text(f"{text[:-1]}, {json.dumps(key)}: {value}}}", encoding="utf-8")
    return f"{key} a second time: {value}"


def scale_number(path: Path, dice: random.Random) -> str:
    """A number that is too large by a little or by a lot."""
    document = json.loads(path.read_text(encoding="utf-8"))
    places = [(keys, parent) for keys, parent in _places(document) if type(parent[keys[-1]]) in (int, float)]
    keys, parent = dice.choice(places)
    factor = dice.choice((-1, 2, 1000, 10**9))
    parent[keys[-1]] *= factor
    path.write_text(json.dumps(document), encoding="utf-8")
    return f"{'.'.join(map(str, keys))} times {factor}"


def name_other_file(path: Path, dice: random.Random) -> str:
    """An entry of ``files`` has another name: outside the folder, absolute, empty."""
    document = json.loads(path.read_text(encoding="utf-8"))
    files, name = document["files"], dice.choice(PATHS)
    old = dice.choice(sorted(files))
    files[name] = files.pop(old) if dice.random() < 0.5 else files[old]
    path.write_text(json.dumps(document), encoding="utf-8")
    return f"files has {name[:40]!r} from {old}"


def other_encoding(path: Path, dice: random.Random) -> str:
    """The same document in another encoding."""
    encoding = dice.choice(("utf-16", "utf-8-sig", "utf-32"))
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    return f"in {encoding}"


def _places(document: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """The keys of every value of a document, each with the object or list that holds it."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), document)]
    while waiting:
        keys, value = waiting.pop()
        inside = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, part in inside:
            found.append(((*keys, key), value))
            waiting.append(((*keys, key), part))
    return found


def _random_place(document: Any, dice: random.Random) -> tuple[tuple[Any, ...], Any]:
    """A place of :func:`_places`; each depth is as likely as the others, so that long lists do not win."""
    places = _places(document)
    depth = dice.choice(sorted({len(keys) for keys, _ in places}))
    return dice.choice([(keys, parent) for keys, parent in places if len(keys) == depth])


JSON: tuple[Damage, ...] = (
    *(replace_value, replace_value, replace_value, replace_document, remove_key, add_key, repeat_key),
    *(scale_number, other_encoding),
)
NAMES_OF_FILES: tuple[Damage, ...] = (name_other_file,)
