"""Which drafts become stories: the whole share of their split by hash and no other, and only texts of right length."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from random import Random

import pytest

from sunfish.data.stories import generate
from sunfish.data.stories.generate import SPLITS, story


class Numbered:
    """A draft of so many words, the first of which is a number; it is quick to write."""

    sizes = range(40, 51)
    max_words, plot = 50, "numbers"
    is_compositional: bool

    def __init__(self, random: Random, compositional: bool) -> None:
        self.random = random
        Numbered.is_compositional = compositional

    def text(self) -> str:
        return " ".join([str(self.random.random()), *["more"] * (self.random.choice(self.sizes) - 1)])

    def prompt(self, features: str) -> str:
        return "prompt" if "1" in features.split(" ")[0][-2:] else ""


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "Draft", Numbered)
    monkeypatch.setattr(generate, "StoryFeatures", lambda text: text)


def remainder(text: str) -> int:
    return int(hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), 16) % 100


@pytest.mark.usefixtures("numbers")
def test_the_splits_share_out_all_remainders() -> None:
    counts = {"train": 800, "validation": 120, "test": 120, "compositional": 120}
    shares = {}
    for split in SPLITS:
        stories = [story(3, split, index) for index in range(counts[split])]
        assert Numbered.is_compositional is (split == "compositional")
        assert all(s.prompt == "prompt" and s.plot == "numbers" for s in stories)
        assert len({s.text for s in stories}) == len(stories)
        shares[split] = sorted({remainder(s.text) for s in stories})
    for (_, share), (_, after) in pairwise(shares.items()):
        assert share[-1] + 1 == after[0]
    assert [remainders for share in shares.values() for remainders in share] == list(range(100))
    assert [len(share) for share in shares.values()] == [70, 10, 10, 10]


@pytest.mark.usefixtures("numbers")
def test_texts_have_the_least_and_the_most_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbered, "sizes", [38, 39, 40, 50, 51, 52])
    sizes = {len(story(3, "train", index).text.split(" ")) for index in range(40)}
    assert sizes == {40, 50}


@pytest.mark.usefixtures("numbers")
def test_seed_split_and_number_draw_texts_of_their_own() -> None:
    texts = {
        story(*which).text for which in ((1, "train", 0), (2, "train", 0), (1, "train", 1), (1, "test", 0))
    }
    assert len(texts) == 4
