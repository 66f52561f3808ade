"""Tests of the oracle: it accepts every story, and it catches broken ones."""

from __future__ import annotations

import random
import re

import pytest

from sunfish.data.stories import SPLITS, Story, story
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.constraints import parse_constraints
from sunfish.data.stories.grammar import SLOTS, sentences
from sunfish.data.stories.oracle import check, grammatical
from sunfish.data.stories.templates import sentence_templates

TRAIN = 150


@pytest.fixture(scope="module")
def corpus() -> list[Story]:
    counts = {split: TRAIN if split == "train" else 50 for split in SPLITS}
    return [story(1, split, index) for split, count in counts.items() for index in range(count)]


def _caught(broken: list[str]) -> float:
    return sum(not all(ok for _, ok in grammatical(sentence)) for sentence in broken) / len(broken)


def _sentences(corpus: list[Story]) -> list[str]:
    return [sentence for one in corpus[:TRAIN] for sentence in sentences(one.text)]


def test_every_story_is_accepted_and_satisfies_its_prompt(corpus: list[Story]) -> None:
    for one in corpus:
        assert all(ok for _, ok in grammatical(one.text)), [s for s, ok in grammatical(one.text) if not ok]
        judged = check(one.prompt, one.text)
        assert judged and all(judged.values()), (one.prompt, judged)


def test_templates_are_whole_sentences() -> None:
    templates = sentence_templates()
    assert len(templates) >= 700
    for template in templates:
        assert sentences(template) == [template]
        assert template[0] in '"{' or template[0].isupper(), template
        assert re.search(r'[.!?]"?$', template), template


def test_swapped_words_are_caught(corpus: list[Story]) -> None:
    rng, broken = random.Random(0), []
    for sentence in _sentences(corpus):
        words = sentence.split()
        at = rng.randrange(len(words) - 1) if len(words) > 1 else 0
        if len(words) > 1 and words[at] != words[at + 1]:
            words[at], words[at + 1] = words[at + 1], words[at]
            broken.append(" ".join(words))
    assert _caught(broken) > 0.98


def test_a_missing_word_is_caught(corpus: list[Story]) -> None:
    rng, broken = random.Random(0), []
    for sentence in _sentences(corpus):
        words = sentence.split()
        if len(words) > 2:
            del words[rng.randrange(len(words))]
            broken.append(" ".join(words))
    assert _caught(broken) > 0.98


def test_broken_articles_and_verbs_are_caught(corpus: list[Story]) -> None:
    flipped = {
        "a": "an",
        "an": "a",
        "A": "An",
        "An": "A",
        "was": "were",
        "were": "was",
        "is": "are",
        "are": "is",
    }
    broken = []
    for sentence in _sentences(corpus):
        words = sentence.split()
        for at, word in enumerate(words):
            if word in flipped:
                broken.append(" ".join([*words[:at], flipped[word], *words[at + 1 :]]))
    assert len(broken) > 1_000 and _caught(broken) > 0.99


def test_a_pronoun_of_the_wrong_sex_beside_a_name_is_caught(corpus: list[Story]) -> None:
    """Only sentences with one name, and without other people, count: there the pronoun is that name's."""
    swap = {"he": "she", "she": "he", "his": "her", "her": "his", "him": "her", "himself": "herself"}
    kin = {word for word, _ in lx.KIN}
    broken = []
    for one in corpus[:TRAIN]:
        hero = next(word for word in re.findall(r"[A-Z][a-z]+", one.text) if word in lx.NAMES)
        for sentence in sentences(one.text):
            words = re.findall(r"[A-Za-z]+|[^A-Za-z]+", sentence)
            if hero not in words or kin & set(words) or len([w for w in words if w in lx.NAMES]) != 1:
                continue
            for at, word in enumerate(words):
                if word in swap:
                    broken.append("".join([*words[:at], swap[word], *words[at + 1 :]]))
    assert len(broken) > 100 and _caught(broken) > 0.95


def test_known_breaks() -> None:
    assert dict(grammatical("Mia felt sad that day, and she did not know why."))
    good = "Mia felt sad that day, and she did not know why. What an exciting adventure it had been!"
    assert [ok for _, ok in grammatical(good)] == [True, True]
    for bad in (
        "Mia felt sad that day, and he did not know why.",
        "It were a calm day.",
        "Mia found a apple.",
        "they was",
        "Mia. mia",
        "?!",
        '"',
        "a",
        "It was a calm  day",
    ):
        assert not all(ok for _, ok in grammatical(bad)), bad
    assert grammatical("") == [] and check("", "") == {}


def test_dialogue_is_one_sentence() -> None:
    text = '"Where is my kite?" asked Mia. "I lost it," she said. Tom said, "No!" Then it rained. And then'
    assert sentences(text) == [
        '"Where is my kite?" asked Mia.',
        '"I lost it," she said.',
        'Tom said, "No!"',
        "Then it rained.",
        "And then",
    ]


def test_the_wrong_topic_name_mood_or_ending_is_caught(corpus: list[Story]) -> None:
    rng = random.Random(0)
    for one in corpus:
        for key in parse_constraints(one.prompt):
            kind, value = key.split(":")
            if kind in ("mood", "ending"):
                texts = lx.MOODS[value] if kind == "mood" else lx.ENDINGS[value][1]
                text = re.sub(r"\b(" + "|".join(texts) + r")\b", "green", one.text, flags=re.I)
            else:
                others = [name for name in lx.NAMES if name != value] if kind == "name" else ["stone"]
                other = rng.choice(others)
                text = re.sub(rf"\b({value}|{lx.plural(value)})\b", other, one.text, flags=re.I)
            assert not check(one.prompt, text)[key], (one.prompt, key)


def test_constraints_of_prompts_as_people_type_them() -> None:
    assert set(parse_constraints("Write about dogs")) == {"topic:dog"}
    assert set(parse_constraints("Write a story about a robot")) == {"topic:robot"}
    assert set(parse_constraints("Describe the ocean")) == {"topic:ocean"}
    assert set(
        parse_constraints("Tell a happy story about a girl named Mia and a kite that ends with rain")
    ) == {
        "mood:happy",
        "topic:girl",
        "name:Mia",
        "word:kite",
        "ending:rain",
    }
    assert set(
        parse_constraints("a scary tale about a wolf in the forest, using the words lamp and red.")
    ) == {
        "mood:scary",
        "topic:wolf",
        "place:forest",
        "word:lamp",
        "word:red",
    }
    for unknown in ("", "asdf", "Hello?", "Write a haiku", "\n", "ends with", "Use the words"):
        assert parse_constraints(unknown) == {}


def test_exchanged_prompts_are_seldom_satisfied(corpus: list[Story]) -> None:
    prompts = [one.prompt for one in corpus]
    random.Random(0).shuffle(prompts)
    pairs = zip(prompts, corpus, strict=True)
    satisfied = [ok for prompt, one in pairs for ok in check(prompt, one.text).values()]
    assert sum(satisfied) / len(satisfied) <= 0.30


def test_every_slot_has_a_text_for_each_value() -> None:
    assert all(text for slot in SLOTS.values() for text in slot.texts)
