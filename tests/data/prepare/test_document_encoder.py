"""How one document becomes rows: where it is cut, which prompt each row gets, what is counted and noted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from sunfish.data.prepare.derived_prompts import PromptDeriver
from sunfish.data.prepare.encode import UNKNOWN_TOKEN_NOTE, DocumentEncoder, EncodedRows
from sunfish.data.sources.base import ContinuedExample, LocatedExample
from sunfish.tokenizers import TextTokenizer, build_tokenizer
from sunfish.types import Example

BYTES = build_tokenizer("bytes", 257, [])


class Fixed(PromptDeriver):
    """Derives the same prompts from every text; ``{}`` stands for the text's number of characters."""

    def __init__(self, *prompts: str) -> None:
        super().__init__(0, {})
        object.__setattr__(self, "prompts", prompts)

    def derivations(self, text: str) -> Iterator[str]:
        return (prompt.format(len(text)) for prompt in self.prompts)  # type: ignore[attr-defined]


def encode(
    *examples: Example, context: int = 12, prompt: int = 8, deriver: Fixed | None = None, **options
) -> EncodedRows:
    """The rows of the documents, on bytes where no other tokenizer is given."""
    fields = {"tokenizer": BYTES, "prompt_tokenizer": BYTES, **options}
    encoder = DocumentEncoder(
        deriver=deriver or Fixed("{}"), context_length=context, prompt_length=prompt, **fields
    )
    located = [LocatedExample(f"f:{i}", example) for i, example in enumerate(examples)]
    return encoder(partial(list, located))


def prompts_of(rows: EncodedRows, tokenizer: TextTokenizer = BYTES) -> list[str]:
    left, prompts = list(rows.prompts), []
    for length in rows.prompt_lengths:
        prompts.append(tokenizer.decode(left[:length]))
        left = left[length:]
    assert not left
    return prompts


@pytest.mark.parametrize(
    "text, first_row",
    [
        ("abcdefghijklmnop", 12),  # ASCII is cut where the row is full
        ("abcdefghe" + "\u0301" * 9, 9),  # before the letter with its marks, at token 8
        ("ab" + "e" + "\u0301" * 12, 12),  # the only place is in the first half: cut where the row is full
        ("abcdef" + "e" + "\u0301" * 12, 7),  # token 6 is the first of the second half
        ("abcde" + "e" + "\u0301" * 12, 12),  # token 5 is the last of the first half
        ("日本語日本語", 10),  # three bytes a letter: three letters
    ],
)
def test_a_row_is_cut_between_letters_in_its_second_half(text: str, first_row: int) -> None:
    assert encode(Example("p", text)).lengths[0] == first_row


def test_no_window_is_empty_where_one_id_is_left_for_the_end_mark() -> None:
    rows = encode(Example("p", "é" * 30), context=5)
    assert min(rows.lengths) >= 3 and sum(rows.bytes) == 60


@pytest.mark.parametrize(
    "prompt, kept, cut",
    [("exactly8", "exactly8", 0), ("nine char", "nine cha", 1), ("日本語", "日本", 1), ("é" * 4, "é" * 4, 0)],
)
def test_a_given_prompt_is_cut_between_letters(prompt: str, kept: str, cut: int) -> None:
    rows = encode(Example(prompt, "text"))
    assert prompts_of(rows) == [kept] and rows.counts["truncated_prompts"] == cut
    assert rows.counts["derived_prompts"] == 0


@pytest.mark.parametrize(
    "prompts, kept, cut",
    [
        (("much too long", "exactly8", "short"), "exactly8", 0),  # the first that fits
        (("much too long", "too long 9", "nine char"), "nine cha", 1),  # the shortest where none does
        (("", "five5"), "five5", 0),  # none is without ids
    ],
)
def test_a_derived_prompt_is_the_first_that_fits(prompts: tuple[str, ...], kept: str, cut: int) -> None:
    rows = encode(Example("", "text"), deriver=Fixed(*prompts))
    assert prompts_of(rows) == [kept] and rows.counts["truncated_prompts"] == cut
    assert rows.counts["derived_prompts"] == 1


def test_an_alphabet_without_the_phrasings_takes_the_first_word() -> None:
    letters = build_tokenizer("characters", 99, ["abc "])
    rows = encode(Example("", "abc cba"), prompt_tokenizer=letters, deriver=Fixed("xyz"))
    assert prompts_of(rows, letters) == ["abc"]
    rows = encode(Example("", "xyz"), prompt_tokenizer=letters, deriver=Fixed("xyz"))
    (reason,) = rows.report.skips.counts
    assert not rows.lengths and "the vocabulary of prompts can write none" in reason


def test_windows_share_the_prompt_of_their_document_or_have_their_own() -> None:
    text = "a" * 25  # rows of 11, 11 and 3 letters
    assert prompts_of(encode(Example("", text))) == ["25"] * 3
    assert prompts_of(encode(Example("", text), is_long_text=True)) == ["11", "11", "3"]
    assert prompts_of(encode(Example("given", text), is_long_text=True)) == ["given"] * 3
    assert encode(Example("", text)).counts["derived_prompts"] == 1
    assert encode(Example("", text), is_long_text=True).counts["derived_prompts"] == 3


def test_a_text_in_parts_is_one_document_with_one_end() -> None:
    end = BYTES.end
    parts = ContinuedExample("", "a" * 5), ContinuedExample("", "b" * 20), Example("", "c" * 5)
    rows = encode(*parts, is_long_text=True)
    counts = {"documents": 1, "cut_documents": 0, "windows": 3, "derived_prompts": 4, "truncated_prompts": 0}
    assert rows.counts == counts and list(rows.lengths) == [6, 12, 10, 7] and len(rows.hashes) == 1
    assert list(rows.tokens).count(end) == 5 and rows.tokens[-1] == end


def test_only_the_beginning_of_a_document_follows_the_start_mark() -> None:
    text, end = "".join(map(chr, range(ord("a"), ord("z")))), BYTES.end  # rows of 11, 11 and 3 letters
    ids = BYTES.encode(text)
    first, second, third = [end, *ids[:11]], [ids[10], *ids[11:22]], [ids[21], *ids[22:], end]
    assert list(encode(Example("p", text)).tokens) == [*first, *second, *third]
    marked = [*first, end, *second[1:], end, *third[1:]]
    assert list(encode(Example("p", text), is_long_text=True).tokens) == marked


def test_prompts_are_written_by_their_own_vocabulary() -> None:
    letters = build_tokenizer("characters", 99, ["given"])
    rows = encode(Example("given", "text"), prompt_tokenizer=letters)
    assert list(rows.prompts) == letters.encode("given") != BYTES.encode("given")


@pytest.mark.parametrize("text, notes", [("none known", 1), ("known none", 1), ("known known", 0)])
def test_an_unknown_token_is_noted_wherever_it_stands(text: str, notes: int) -> None:
    engine = Tokenizer(models.WordLevel({"[UNK]": 0, "known": 1}, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rows = encode(Example("p", "known"), Example("p", text), tokenizer=TextTokenizer(engine))
    assert rows.report.notes.counts == ({UNKNOWN_TOKEN_NOTE: 1} if notes else {})
    assert rows.report.notes.locations == ({UNKNOWN_TOKEN_NOTE: ["f:1"]} if notes else {})


def test_one_text_that_cannot_be_written_costs_itself_alone() -> None:
    letters = build_tokenizer("characters", 99, ["abc"])
    rows = encode(Example("p", "ab"), Example("p", "ax"), Example("p", "c"), tokenizer=letters)
    assert list(rows.lengths) == [4, 3] and rows.counts["documents"] == 2 == len(rows.hashes)
    assert rows.report.skips.locations == {"not encodable: character 'x' (U+0078)": ["f:1"]}
