"""Words, graphemes and prompts in every script: whole words are named, nothing is cut inside a letter."""

from __future__ import annotations

import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from sunfish.data.prepare.derived_prompts import (
    ONE_WORD_PHRASINGS,
    TWO_WORD_PHRASINGS,
    DocumentFrequencies,
    PromptDeriver,
)
from sunfish.data.prepare.words import RUN, RunSplitter, cut_graphemes, is_boundary, spaced_words, word_key

# Nouns, and a sentence with two of them. The scripts of the second table put no space between words.
SPACED = {
    "English": ("harbour keeper lantern violin", "There was {} with {} again."),
    "Hindi": ("हाथी किताब चिड़िया नदी", "फिर {} ने {} देखी।"),
    "Bengali": ("নৌকা পাখি বিড়াল আকাশ", "আজ {} এবং {} ছিল।"),
    "Tamil": ("யானை புத்தகம் பறவை நதி", "இன்று {} மற்றும் {} இருந்தது."),
    "Arabic": ("قطار مدينة كتاب سفينة", "ثم {} مع {} هنا."),
    "Arabic with vowel points": ("قِطَارٌ مَدِينَةٌ كِتَابٌ سَفِينَةٌ", "ثُمَّ {} مَعَ {} هُنَا."),
    "Persian with joiners": ("کتاب‌خانه دانش‌آموز رودخانه پرنده", "سپس {} با {} بود."),
    "Hebrew with points": ("סְפִינָה מִגְדָּל סֵפֶר צִפּוֹר", "אָז {} עִם {} שׁוּב."),
    "Korean": ("고양이가 강아지를 도서관에 자전거로", "그때 {} 그리고 {} 있었다."),
    "Russian": ("корабль медведь фонарь книга", "Там были {} и {} снова."),
    "Greek": ("καράβι αρκούδα φανάρι βιβλίο", "Εκεί ήταν {} και {} πάλι."),
    "Vietnamese": ("thuyền trường đường người", "Hôm nay {} và {} lại."),
    "French, decomposed": ("forêt château école rivière", "Voilà {} et {} là."),
}
SPACELESS = {
    "Thai": ("ช้าง แมว ชาวนา นาฬิกา", "วันนี้{}แล้วก็{}อีก"),
    "Chinese": ("图书馆 火车站 老师 苹果", "昨天{}还有{}了"),
    "Japanese": ("図書館 先生 カメラ 林檎", "昨日{}そして{}だった"),
    "Japanese, decomposed": ("大学で ガラス ばあさん ピアノ", "昨日{}そして{}だった"),
    "Lao": ("ຊ້າງ ແມວ ໂຮງຮຽນ ໂມງ", "ມື້ນີ້{}ແລະ{}ອີກ"),
    "Khmer": ("ដំរី ឆ្មា សាលារៀន នាឡិកា", "ថ្ងៃនេះ{}និង{}ទៀត"),
    "Burmese": ("ဆင် ကြောင် ကျောင်း နာရီ", "ဒီနေ့{}နှင့်{}ထပ်"),
}


def corpus(nouns: str, sentence: str, form: str = "NFC") -> tuple[list[str], list[str]]:
    """The nouns, and sentences with each pair of them, several times over."""
    words = unicodedata.normalize(form, nouns).split()
    pairs = [(a, b) for a in words for b in words if a != b]
    return words, [
        unicodedata.normalize(form, sentence).format(*pair) + end for pair in pairs for end in "!?…"
    ]


def deriver_of(texts: list[str]) -> PromptDeriver:
    frequencies = DocumentFrequencies()
    for text in texts:
        frequencies.add(text)
    return frequencies.prompt_deriver()


def named(prompt: str) -> list[str] | None:
    """The words that a phrasing names, or None for a beginning."""
    for phrasing in (*TWO_WORD_PHRASINGS, *ONE_WORD_PHRASINGS):
        pattern = regex.escape(phrasing).replace(r"\{a\}", "(.+)").replace(r"\{b\}", "(.+)")
        if match := regex.fullmatch(pattern, prompt):
            return list(match.groups())
    return None


def grapheme_ends(text: str) -> set[int]:
    return {0, *(match.end() for match in regex.finditer(r"\X", text))}


@pytest.mark.parametrize("language", SPACED)
def test_prompts_name_the_telling_words_whole(language: str) -> None:
    form = "NFD" if "decomposed" in language else "NFC"
    words, texts = corpus(*SPACED[language], form=form)
    deriver = deriver_of(texts)
    prompts = [deriver.derive(text) for text in texts]
    names = [name for prompt in prompts for name in named(prompt) or []]
    assert len(names) > len(texts) / 2 and set(names) <= set(words)
    for prompt, text in zip(prompts, texts, strict=True):
        if named(prompt) is None:
            assert text.split()[: len(prompt.split())] == prompt.split()


@pytest.mark.parametrize("language", SPACELESS)
def test_without_spaces_prompts_name_what_stands_in_the_text_between_graphemes(language: str) -> None:
    words, texts = corpus(*SPACELESS[language], form="NFD" if "decomposed" in language else "NFC")
    deriver = deriver_of(texts)
    whole = 0
    for text in texts:
        prompt, ends = deriver.derive(text), grapheme_ends(text)
        for name in named(prompt) or [prompt]:
            first = text.index(name)
            assert name and {first, first + len(name)} <= ends
            whole += any(word in name for word in words)
    assert whole > len(texts) / 2


@pytest.mark.parametrize("text", ["がっこう" * 600, "ガ" * 3000, "ช้าง" * 1500, "図書館" * 1500])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_long_run_is_taken_in_parts_that_divide_no_grapheme(text: str, form: str) -> None:
    text = unicodedata.normalize(form, text)
    runs = list(RUN.finditer(text))
    ends = grapheme_ends(text)
    assert all({run.start(), run.end()} <= ends and len(run.group()) <= 2_000 for run in runs)
    assert "".join(run.group() for run in runs) == (
        text if text[0] != unicodedata.normalize(form, "ガ")[0] else ""
    )


def test_learned_words_are_the_same_each_time() -> None:
    _, texts = corpus(*SPACELESS["Thai"])
    first, second = (RunSplitter(texts) for _ in range(2))
    assert [first.words(text) for text in texts] == [second.words(text) for text in texts]
    assert RunSplitter([]).words("ช้าง") == []


@pytest.mark.parametrize(
    "spelling,other",
    [
        ("École", "e\u0301cole"),
        ("كِتَابٌ", "كتاب"),
        ("סֵפֶר", "ספר"),
        ("Don\u2019t", "don't"),
        ("كـــتاب", "كتاب"),
    ],
)
def test_spellings_of_one_word_count_together(spelling: str, other: str) -> None:
    assert word_key(spelling) == word_key(other) != ""


@pytest.mark.parametrize("spelling", ["né", "ne\u0301", "ने", "ab", "A" * 65, "ACGT" * 1000])
def test_what_is_too_short_or_too_long_is_no_word(spelling: str) -> None:
    assert word_key(spelling) == ""


@given(st.text("ab1'_ \n", max_size=30))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_fast_way_for_ascii_finds_the_same_words(text: str) -> None:
    assert spaced_words(text) == [word for word in spaced_words(text + " é") if word != "é"]


LETTERS = st.text(st.sampled_from("aé\u0301\u0308 ก้ำ한क्षि👩\u200d👧🇩🇪👍🏽❤\ufe0f日\r\n\t"), max_size=40)


@given(LETTERS, st.integers(1, 20))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_grapheme_is_cut_that_fits(text: str, limit: int) -> None:
    cut, ends = cut_graphemes(text, limit), grapheme_ends(text)
    assert text.startswith(cut) and len(cut) <= limit
    fitting = max(end for end in ends if end <= limit)
    assert len(cut) == (fitting or min(limit, len(text)))
    inner = {place for place in range(1, len(text)) if is_boundary(text, place)}
    assert inner == ends - {0, len(text)}


@given(LETTERS.filter(str.strip))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_text_has_prompts_that_are_not_empty(text: str) -> None:
    deriver = deriver_of([text, text + " harbour"])
    prompts = list(deriver.derivations(text))
    assert prompts and all(prompt.strip() for prompt in prompts) and prompts[0] == deriver.derive(text)
