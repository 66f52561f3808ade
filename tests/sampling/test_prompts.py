"""Prompts and arguments of sampling: any text is ordinary, and what is no text or no number is named in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import MAX_CHARACTERS, encode_prompt
from sunfish.tokenizers import build_tokenizer
from sunfish.utils import UsageError

PLAIN = GenerationConfig(guidance_scale=2.0, block_length=4)
ORDINARY = {
    "empty": "",
    "blank": " \t \n",
    "control": "a\x00b\x07\x1b[31m\x7f\x85",
    "right to left": "שלום \u202eabc\u202c مرحبا",
    "emoji": "👩‍👩‍👧 🏳️‍🌈 ☃\ufe0f",
    "beyond the basic plane": "\U0001d518\U0010ffff",
    "decomposed": "e\u0301 \u1112\u1161\u11ab",
    "line ends": "a\r\nb\x0cc\u2028d",
    "byte order mark": "\ufeffdogs",
    "mask": "[MASK] [MASK:5] <mask>",
    "end marks": "<|endoftext|> </s> <eos> <|im_end|> [SEP]",
    "placeholders": "{0} %s $HOME \\n",
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_any_text_is_an_ordinary_prompt(pipeline: Pipeline, text: str) -> None:
    """It comes back letter by letter, and means the same alone as in a batch."""
    config = GenerationConfig(
        guidance_scale=2.0, block_length=4, negative_prompt=text, composed_prompts=((text, 1),)
    )
    together = pipeline.generate([text, "Write about dogs"], config, seq_len=8, seed=3)
    assert [one.prompt for one in together] == [text, "Write about dogs"]
    assert pipeline.generate([text], config, seq_len=8, seed=3) == together[:1]
    for kind in ("bpe", "bytes"):
        tokenizer = build_tokenizer(kind, 300, ["Write about dogs"])
        ids = encode_prompt(tokenizer, text, limit=len(text.encode()))
        assert tokenizer.end not in ids and tokenizer.decode(ids) == text


WRITERS: dict[str, Callable[[Pipeline, Any], object]] = {
    "prompts[1]": lambda p, text: p.generate(["dogs", text], PLAIN, seq_len=4),
    "prompts[0]": lambda p, text: p(text, seq_len=4),
    "prompts[00]": lambda p, text: list(p.stream(text, PLAIN, seq_len=4)),
    "prompt": lambda p, text: infill(p, "The [MASK:2] dog", prompt=text),
    "text": lambda p, text: infill(p, text),
    "negative_prompt": lambda p, text: p("dogs", seq_len=4, negative_prompt=text),
    "composed_prompts": lambda p, text: p("dogs", seq_len=4, composed_prompts=((text, 1.0),)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_no_text_is_named(pipeline: Pipeline, name: str) -> None:
    for wrong in (None, 5, b"dogs", ["dogs"], 0.5, object()):
        with pytest.raises(UsageError, match=f"^{re.escape(re.sub('0+', '0', name))} .*; give ") as error:
            WRITERS[name](pipeline, wrong)
        assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", WRITERS)
def test_a_lone_surrogate_is_named_with_its_place(pipeline: Pipeline, name: str) -> None:
    for text, place in (("\ud83d", 0), ("a 👍 [MASK:2] \udce9 dog", 13), ("a" * 99 + "\udfff", 99)):
        number = f"U+{ord(text[place]):04X} at character {place}, which is not valid Unicode; leave it out"
        with pytest.raises(UsageError, match=re.escape(f"has a lone surrogate {number}")) as error:
            WRITERS[name](pipeline, text)
        name_in_words = {"composed_prompts": "the further prompt"}.get(name, re.sub("0+", "0", name))
        line = str(error.value)
        assert line.startswith(name_in_words) and line.isprintable() and len(line) < 300


@pytest.mark.parametrize("prompts", ["dogs", b"dogs", None, 5, np.float64(1), object()])
def test_prompts_are_a_list(pipeline: Pipeline, prompts: Any) -> None:
    with pytest.raises(UsageError, match=r"^prompts is .*; give a list of texts"):
        pipeline.generate(prompts)
    with pytest.raises(UsageError, match=r"^prompts is .*; give a list of texts"):
        pipeline.encode(prompts)


def test_any_kind_of_list_will_do(pipeline: Pipeline) -> None:
    texts = ["dogs", ""]
    expected = pipeline.generate(texts, PLAIN, seq_len=6)
    for prompts in (tuple(texts), iter(texts), np.array(texts), dict.fromkeys(texts)):
        assert pipeline.generate(prompts, PLAIN, seq_len=6) == expected
    assert pipeline.generate([], PLAIN) == [] == pipeline.generate([], PLAIN, best_of=3)
    assert pipeline.encode([]).mask.shape == (0, 2)


@pytest.mark.parametrize("text", ["a" * 10_000_000, "dogs " * 200_000, "\n" * 1_000_000, "👍" * 300_000])
def test_a_prompt_of_a_megabyte_is_refused_unread(pipeline: Pipeline, text: str) -> None:
    """Encoding one long word can take minutes; how long it is says enough."""
    message = (
        rf"the prompt .* has {len(text):,} characters, but this model has room for 64 tokens; shorten it"
    )
    for name in ("prompts[1]", "negative_prompt", "composed_prompts"):
        with pytest.raises(UsageError, match=message) as error:
            WRITERS[name](pipeline, text)
        assert len(str(error.value)) < 500


def test_a_text_with_gaps_of_megabytes_is_refused_unread(pipeline: Pipeline) -> None:
    """Its gaps do not count."""
    for text, count in (("[MASK]" + "a" * 10_000_000, 10_000_000), ("a [MASK:2] " * 100_000, 300_000)):
        with pytest.raises(UsageError, match=f"^the text has {count:,} characters, .* context of 96 tokens"):
            infill(pipeline, text)


def test_a_prompt_is_read_up_to_the_longest_that_can_have_room() -> None:
    tokenizer = build_tokenizer("bytes", 300, [])
    assert len(encode_prompt(tokenizer, "a" * 64, 64)) == 64
    for length, size in (
        (65, "65 tokens"),
        (64 * MAX_CHARACTERS, "64,000 tokens"),
        (64_001, "64,001 characters"),
    ):
        with pytest.raises(UsageError, match=f"has {size}, but this model has room for 64"):
            encode_prompt(tokenizer, "a" * length, 64)
    with pytest.raises(UsageError, match="was trained without prompts; leave it out"):
        encode_prompt(tokenizer, "a", 0)
    with pytest.raises(UsageError, match=r"the prompt 'é' cannot be encoded: character 'é' \(U\+00E9\)"):
        encode_prompt(build_tokenizer("characters", 300, ["abc"]), "é", 9)


ARGUMENTS = [
    *[
        (name, value)
        for name in ("seed", "batch_size", "best_of", "seq_len")
        for value in (-1, 0.5, 2.0, "2", True)
    ],
    *[
        (name, value)
        for name in ("batch_size", "best_of", "seq_len")
        for value in (0, 10**30, [2], float("nan"))
    ],
    *[("seed", None), ("seed", 2**63), ("batch_size", None), ("best_of", None), ("best_of", 100_001)],
    *[("config", value) for value in ({"temperature": 1}, 0.5, "fast", GenerationConfig)],
]


@pytest.mark.parametrize(("name", "value"), ARGUMENTS, ids=str)
def test_an_argument_that_cannot_be_right_is_named(pipeline: Pipeline, name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"config": PLAIN, name: value}
    with pytest.raises(UsageError, match=f"^{name} is "):
        pipeline.generate(["dogs"], **arguments)
    if name in ("seed", "seq_len", "config"):
        with pytest.raises(UsageError, match=f"^{name} is "):
            list(pipeline.stream("dogs", **arguments))


@pytest.mark.parametrize("value", [0, -1, 2.0, None, "2", 10**6])
def test_fillings_are_a_whole_number(pipeline: Pipeline, value: Any) -> None:
    with pytest.raises(UsageError, match=r"^num_samples is "):
        infill(pipeline, "The [MASK:2] dog", num_samples=value)


def test_numbers_of_numpy_are_the_same_numbers(pipeline: Pipeline) -> None:
    expected = pipeline.generate(["dogs"] * 3, PLAIN, seq_len=6, seed=7, batch_size=2)
    number = np.int64
    same = pipeline.generate(["dogs"] * 3, PLAIN, seq_len=number(6), seed=np.uint8(7), batch_size=number(2))
    assert same == expected == pipeline.generate(["dogs"] * 3, PLAIN, seq_len=6, seed=7, batch_size=2**62)
    assert pipeline("dogs", seq_len=6, temperature=np.float64(0.5)) == pipeline(
        "dogs", seq_len=6, temperature=0.5
    )
    assert pipeline.generate(["dogs"], PLAIN, seq_len=6, seed=2**63 - 1)


@pytest.mark.parametrize("sampler", ["verified", "verified:1", "leftmost"])
def test_a_block_may_be_longer_than_any_text(pipeline: Pipeline, sampler: str) -> None:
    texts = [
        pipeline("dogs", seq_len=seq_len, sampler=sampler, block_length=block, seed=1)
        for seq_len in (2, 5)
        for block in (seq_len, 10**9, 2**63 - 1)
    ]
    assert texts[0] == texts[1] == texts[2] and texts[3] == texts[4] == texts[5]


@pytest.mark.parametrize("flag", ["--prompt", "--negative_prompt"])
def test_a_prompt_that_is_no_unicode_is_wrong_use(
    pipeline: Pipeline, checkpoint: object, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line hands bytes that are no UTF-8 on as lone surrogates."""
    words = ["sample", str(checkpoint), "--prompt", "dogs", "--seq_len", "4", flag, "caf\udce9"]
    assert main(words) == 2
    line = capsys.readouterr().err.strip()
    assert (
        f"{flag.replace('_', '-')} is 'caf\\udce9', which is not valid UTF-8" in line
        and line.startswith("error: ")
        and "\n" not in line
    )
