"""Every error is one line that names the thing, its value and the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.commands import sizes
from sunfish.commands.errors import LONGEST, describe
from tests.ids import brief

# A command line, and what its one line holds. FILE is a file, FOLDER a folder, NONE is not there.
WRONG = [
    *(("trian", "did you mean train?"), ("--foo", "'--foo' stands before the command"), ("-x", "'-x'")),
    *(("--seed 1", "sunfish COMMAND, then its flags"), ("train extra", "extra"), ("train -c x", "-c x")),
    *(("sample a b", "unknown: b"), ("train @file", "@file"), ("bench", "what"), ("bench train", "sample")),
    *(("distill-guidance", "CHECKPOINT"), ("train --conf tiny", "did you mean --config")),
    *(("train --config tinny", "did you mean tiny?"), ("train --config", "--config")),
    *(("train --help-al", "--help-all"), ("train --no-cpu", "--cpu"), ("train --set", "GROUP.FIELD=VALUE")),
    *(("train --set x", "'x' has no value"), ("train --set a.b=1", "a.b"), ("train --trackers x", "--set")),
    *(("train --max-steps 1e3", "--max-steps is '1e3'"), ("train --seed 0x10", "--seed is '0x10'")),
    *(("train --seed 1.5", "--seed is '1.5'"), ("train --seed=", "--seed is ''")),
    *(("train --n_layer two", "--n-layer is 'two'"), ("train --learning-rate fast", "'fast'")),
    *(("train --learning-rate nan", "'nan'"), ("train --learning-rate -1", "learning_rate is -1")),
    *(("train --dropout 0,5", "--dropout is '0,5'"), ("train --dropout inf", "'inf'")),
    *(("train --set training.seed=1e3", "training.seed is '1e3'"), ("train --threads -1", "threads is -1")),
    *(("train --set training.seed=-1", "seed is -1"), ("train --block-lengths", "--block-lengths")),
    *(("train --block-lengths 4 x", "--block-lengths is 'x'"), ("train --name a/b", "name is 'a/b'")),
    *((f"train --batch-size {'9' * 5000}", "--batch-size is '999"), (f"train --frob {'x' * 5000}", "--frob")),
    *(
        (f"sample --sampler {'x' * 5000}", "sampler is"),
        ("sample --sampler verifed", "did you mean verified?"),
    ),
    *(
        ("sample --temperature nan", "'nan'"),
        ("sample --top-p 2", "top_p is 2"),
        ("sample --seed", "--seed N"),
    ),
    *(("sample --prompt --json", "--prompt=--json"), ("sample --prompt", "--prompt TEXT")),
    *(("sample --json=1", "--json takes no value"), ("sample --also x", "TEXT WEIGHT")),
    *(("sample --precision fp16", "'fp16'"), ("sample --scheduler euler", "'euler'")),
    *(
        ("sample --mode edit", "'edit'"),
        ("sample --num-samples 99999999999999999999", "'99999999999999999999'"),
    ),
    *(("sample --prompt-file NONE", "--prompt-file 'NONE'"), ("sample --prompt-file FOLDER", "a folder")),
    *(("infill --file NONE", "--file 'NONE'"), ("infill --file FOLDER", "--file 'FOLDER'")),
    *(("infill --file FILE", "[MASK]"), ("infill --file=NONE", "--file 'NONE'"), ("infill", "--text")),
    *(
        ("tokenizer --load NONE", "NONE"),
        ("tokenizer --load FILE", "FILE"),
        ("tokenizer --load FOLDER", "FOLDER"),
    ),
    *(("tokenizer --out FOLDER", "--out is 'FOLDER'"), ("tokenizer --vocab-size x", "--vocab-size is 'x'")),
    *(
        ("train --checkpoints FILE", "checkpoints is 'FILE'"),
        ("train --data-folder FILE/x", "data_folder is"),
    ),
    *(("data --checkpoints x", "--checkpoints"), ("data --show x", "--show is 'x'")),
    *(("bench sample --scales", "FLOAT"), ("bench sample --scales x", "--scales is 'x'")),
    *(("sizes --quick --measure", "--measure"), ("sizes --quick=yes", "takes no value")),
    *(("sample --num-samples 1000000001", "at most 100,000"), ("sample --best-of 1000000001", "at most")),
    *(
        ("bench sample --texts 1000000001", "at most"),
        ("infill --text [MASK] --num-samples 1000001", "at most"),
    ),
]
SEEDED = ["train", "sample", "infill --text [MASK]", "bench sample", "data", "tokenizer"]
SEEDS = [
    (f"{command} --seed {seed}", found)
    for command in SEEDED
    for seed, found in (("-1", "seed is -1"), ("99999999999999999999", "--seed is '99999999999999999999'"))
]


@pytest.mark.parametrize(("line", "found"), WRONG + SEEDS, ids=brief)
def test_one_line(
    line: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("hello")
    Path("FOLDER").mkdir()
    assert main(line.split(" ")) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and found in captured.err
    assert captured.err.count("\n") == 1 and len(captured.err) < 400
    assert "Traceback" not in captured.err and "Errno" not in captured.err
    assert sorted(os.listdir()) == ["FILE", "FOLDER"]


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_an_error_of_the_system_names_the_flag_and_no_number(code: int) -> None:
    error = OSError(code, os.strerror(code), "runs/tiny/x.json")
    for words in (["train", "--checkpoints", "runs"], ["train", "--checkpoints=runs"]):
        assert describe(error, words).startswith("--checkpoints 'runs/tiny/x.json': ")
    assert describe(error, ["train"]).startswith("'runs/tiny/x.json': ")
    assert "Errno" not in describe(OSError(code, os.strerror(code)), [])


def test_a_long_or_many_lined_message_is_cut() -> None:
    text = describe(ValueError("a\n" * 10_000 + "the end"), [])
    assert len(text) <= LONGEST and "\n" not in text and text.endswith("the end")


def test_a_bug_is_one_line_with_its_place_and_debug_keeps_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sizes, "run", lambda arguments: {}["size"])
    assert main(["sizes"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "KeyError: 'size'" in err and "test_errors.py:" in err
    assert "SUNFISH_DEBUG=1" in err
    monkeypatch.setenv("SUNFISH_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["sizes"])


class OutOfMemoryError(RuntimeError):
    """What torch raises where a GPU's memory is used up."""


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("x" * LONGEST), "x" * LONGEST),
        (ValueError("x" * 200 + "y" * 200), f"{'x' * 190} … {'y' * 180}"),
        (ValueError("two\n  lines"), "two lines"),
        (ValueError(), "ValueError"),
        (ImportError("no module"), "no module"),
        (OutOfMemoryError("tried to allocate"), "tried to allocate"),
        (OSError("without a number"), "without a number"),
        (
            OSError(errno.ENOENT, "No such file"),
            "the output cannot be written: there is no such file or folder; check the path",
        ),
        (OSError(errno.EIO, "Input/output Error", "x"), "'x': input/output error"),
        (OSError(errno.EIO, None, "x"), "'x': oserror"),
        (OSError(0, "Odd", "x"), "'x': odd"),
        (MemoryError("no"), "this needs more memory than there is; ask for less, or close other programs"),
    ],
    ids=brief,
)
def test_what_an_error_says(error: Exception, line: str) -> None:
    assert describe(error, []) == line


def test_a_bug_names_its_last_place_and_keeps_its_beginning() -> None:
    try:
        raise KeyError("k" * 300)
    except KeyError as error:
        caught, place = error, f"test_errors.py:{error.__traceback__.tb_lineno}"  # type: ignore[union-attr]
    text = f"'{'k' * 199}"
    assert describe(caught, []) == (
        f"KeyError: {text} ({place}); this is a bug in SunFish: SUNFISH_DEBUG=1 shows its traceback"
    )


@pytest.mark.parametrize(
    "words, flag",
    [
        (["--out", "a/b"], "--out "),
        (["--out=a/b"], "--out "),
        (["--out", "a"], "--out "),
        (["--out", "a/c"], ""),
        (["--out", "a/b/c"], ""),
        (["a/b"], ""),
        (["sample", "a/b"], ""),
        (["--json", "--out", "a/b"], "--out "),
        (["--out", "x", "--load", "a/b"], "--load "),
    ],
)
def test_a_path_is_named_by_the_flag_that_gave_it(words: list[str], flag: str) -> None:
    reason = "permission denied; change its permissions, or give another path"
    assert describe(PermissionError(errno.EACCES, "", "a/b"), words) == f"{flag}'a/b': {reason}"


def test_a_wrong_flag_of_the_program_itself_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version", "--foo"]) == 2
    assert capsys.readouterr().err == "error: unknown: --foo; all flags: sunfish --help\n"
