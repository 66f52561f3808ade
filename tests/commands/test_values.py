"""What a user writes arrives letter by letter, or is refused in one line: laws over all words."""

from __future__ import annotations

import math
from argparse import Namespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sunfish.cli import build_parser, parse
from sunfish.commands.flags import given_fields
from sunfish.commands.parser import Parser
from sunfish.commands.settings import Setting
from sunfish.commands.values import value_of
from sunfish.config.rules import MAX_INT
from sunfish.utils import UsageError

PARSERS = build_parser()[1]
TEXT_FLAGS = [
    *(("sample", "--prompt"), ("sample", "--negative_prompt"), ("infill", "--text"), ("infill", "--prompt")),
    *(
        ("tokenizer", "--encode"),
        ("train", "--delimiter"),
        ("data", "--prompt-template"),
        ("train", "--text-field"),
    ),
]
# Argument words hold any character but NUL; these begin as flags do, more often than chance would have it.
words = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.text("-_= a", max_size=8),
    st.sampled_from(
        ["--", "---", "-", "-hello", "-- order_by", "--a_b=c", "a=b", "", "@file", "\n\t😀", "-1"]
    ),
)


def is_flag(parser: Parser, word: str) -> bool:
    return parser.knows(word) and not any(letter.isspace() for letter in word)


def read(command: str, *words: str) -> dict[str, Any]:
    """The arguments of a command, without the time to build its parser."""
    return vars(PARSERS[command].parse_args(PARSERS[command].normalized(words)))


def last(value: object) -> object:
    return value[-1] if isinstance(value, list) else value


@pytest.mark.parametrize(("command", "flag"), TEXT_FLAGS)
@given(word=words)
def test_a_text_arrives_letter_by_letter(command: str, flag: str, word: str) -> None:
    name = flag.removeprefix("--").replace("-", "_")
    assert last(read(command, f"{flag}={word}")[name]) == word
    if not is_flag(PARSERS[command], word):
        assert last(read(command, flag, word)[name]) == word


@given(text=words, weight=words)
def test_both_words_of_a_further_prompt_arrive(text: str, weight: str) -> None:
    if not is_flag(PARSERS["sample"], weight):
        assert read("sample", f"--also={text}", weight, "--watch")["also"] == [[text, weight]]


@given(value=words)
def test_set_takes_everything_after_the_first_equals_sign(value: str) -> None:
    arguments = Namespace(
        **read("train", "--set", f"corpus.delimiter={value}") | {"parser": PARSERS["train"]}
    )
    assert given_fields(arguments) == {"delimiter": value}


@pytest.mark.parametrize("command", PARSERS)
def test_every_flag_in_the_place_of_a_value_is_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    taking = [a for a in PARSERS[command]._actions if a.option_strings and a.nargs in (None, 2, "+")]
    for action in taking:
        flag = action.option_strings[-1]
        with pytest.raises(SystemExit):
            read(command, flag, "--help")
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"{flag} has no value" in err and f"{flag}=--help" in err


@given(number=st.integers(-MAX_INT, MAX_INT))
def test_whole_numbers(number: int) -> None:
    for text in (str(number), f" {number} ", f"{number:_}"):
        assert value_of("--seed", text, int) == number


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers(number: float) -> None:
    assert value_of("--top-p", repr(number), float) == number


@given(
    text=st.one_of(words, st.sampled_from(["nan", "inf", "-Infinity", "1e400", "9" * 5000, "1e3", "0x10"]))
)
def test_every_other_word_is_refused_in_one_line(text: str) -> None:
    for kind in (int, float):
        try:
            value = value_of("--flag", text, kind)
        except UsageError as why:
            assert str(why).startswith("--flag is ") and len(str(why)) < 400 and "\n" not in str(why)
        else:
            assert math.isfinite(value) and value == kind(text)


@given(text=words)
def test_the_letters_of_an_ascii_locale_are_understood(text: str) -> None:
    raw = text.encode().decode("ascii", "surrogateescape")
    assert read("sample", f"--prompt={raw}")["prompt"] == [text]


@pytest.mark.parametrize("text", ["\udce9", "caf\udce9", "\ud800"])
def test_bytes_that_are_no_text_are_for_paths_alone(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["train", "--data", text, "--checkpoints", text]).data == text
    for command, flag in (("sample", "--prompt"), ("infill", "--text"), ("train", "--name")):
        with pytest.raises(SystemExit):
            parse([command, flag, text])
        assert f"{flag} is '" in (err := capsys.readouterr().err) and "UTF-8" in err
    with pytest.raises(UsageError, match=r"training\.name is .*UTF-8"):
        given_fields(parse(["train", "--set", f"training.name={text}"]))


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *(
            ("train", "--resume"),
            ("train", "--data"),
            ("train", "--checkpoints"),
            ("sample", "--prompt-file"),
        ),
        *(("infill", "--file"), ("tokenizer", "--load"), ("tokenizer", "--out"), ("doctor", "--checkpoints")),
    ],
)
def test_an_empty_path_is_refused(command: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(command, flag, "")
    assert f"{flag} is empty: give a path" in capsys.readouterr().err


FLAGGED = [
    setting
    for setting in PARSERS["train"].settings.values()
    if PARSERS["train"].knows(f"--{setting.name}") and not isinstance(setting.default, (bool, tuple))
]


@given(setting=st.sampled_from(FLAGGED), word=words | st.integers().map(str) | st.floats().map(repr))
def test_a_flag_and_set_mean_the_same(setting: Setting, word: str) -> None:
    """The same value, or a refusal by both."""
    meant = []
    for given_words in ((f"--{setting.name}={word}",), ("--set", f"{setting.key}={word}")):
        try:
            meant.append(
                given_fields(Namespace(**read("train", *given_words) | {"parser": PARSERS["train"]}))
            )
        except (SystemExit, UsageError):
            meant.append(None)
    assert meant[0] == meant[1]


def test_the_last_of_two_values_counts_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["train", "--seed", "1", "--seed=2"]).seed == 2
    assert capsys.readouterr().err == "note: --seed is given twice; the last one counts: '2'\n"
    assert parse(["train", "--seed", "1", "--seed=1"]).seed == 1
    assert parse(["sample", "--prompt", "a", "--prompt", "b"]).prompt == ["a", "b"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [name for name in PARSERS if PARSERS[name].settings])
def test_help_all_lists_every_flag(command: str) -> None:
    shown = PARSERS[command].help_all()
    for flag in PARSERS[command]._option_string_actions:
        assert f" {flag}" in shown
