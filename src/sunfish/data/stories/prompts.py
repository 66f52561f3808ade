"""Owns prompts: the phrasings in which demands are written, and how demands are read back from a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.reading import TOPIC_FORMS

# A phrasing that stands several times is drawn so much more often: these are what people type.
PLAIN = (
    *("Write about {pl}",) * 3,
    "Write about {pl}",
    "Write something about {pl}",
    "Tell me about {pl}",
    "Please write about {pl}",
    "I would like to hear about {pl}",
    "Can you write about {pl}",
    "Write a few lines about {pl}",
)
STORY = (
    *("Write {story} about {a}",) * 4,
    "Tell {story} about {a}",
    "Tell me {story} about {a}",
    "Please write {story} about {a}",
    "Make up {story} about {a}",
    "I want {story} about {a}",
    "Give me {story} about {a}",
    "{Story} about {a}",
    "Can you tell {story} about {a}",
    "Create {story} about {a}",
    "Let me hear {story} about {a}",
    "Write me {story} about {a}",
    "Invent {story} about {a}",
    "Please tell me {story} about {a}",
)
DESCRIBE = (
    *("Describe {the}",) * 4,
    "Describe {the}",
    "Please describe {the}",
    "Give me a description of {the}",
    "Tell me what {the} is like",
    "Write a description of {the}",
)
EXPLAIN = (
    "Explain {question}",
    "Can you explain {question}",
    "Tell me {question}",
    "I want to know {question}",
)
BARE = ("Write {story}", "Tell me {story}", "Please tell {story}", "Make up {story}", "{Story}")
NOUNS = ("story", "story", "story", "story", "short story", "tale", "little story", "bedtime story")
NAMED = (" named {name}", " called {name}")
NAME = (
    "The main character is called {name}",
    "Call the hero {name}",
    "Name the main character {name}",
    "It is about {name}",
    "The hero is {name}",
)
PLACE = ("It takes place {place}", "Set it {place}", "It happens {place}", "Let it begin {place}")
MOOD = ("Make it {mood}", "It should be {mood}", "Keep it {mood}", "The mood is {mood}")
WORDS = ("Use the {words}", "Include the {words}", "It must contain the {words}", "Work in the {words}")
WORDS_INLINE = (" with the {words}", " that uses the {words}")
ENDING = (
    "It ends with {ending}",
    "End with {ending}",
    "Let it finish with {ending}",
    "It should end with {ending}",
)
ENDING_INLINE = (" that ends with {ending}", " ending with {ending}")
PHRASINGS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *PLAIN,
            *STORY,
            *DESCRIBE,
            *EXPLAIN,
            *BARE,
            *NAMED,
            *NAME,
            *PLACE,
            *MOOD,
            *WORDS,
            *WORDS_INLINE,
            *ENDING,
            *ENDING_INLINE,
        )
    )
)

_DESCRIBED = {subject.lemma: (subject.phrase, subject.described) for subject in facts.SUBJECTS}
_MOOD_WORDS = {mood: mood for mood in lx.MOODS} | {
    "joyful": "happy",
    "cheerful": "happy",
    "spooky": "scary",
    "creepy": "scary",
    "peaceful": "calm",
    "silly": "funny",
    "enchanted": "magical",
    "strange": "mysterious",
}
_ENDING_WORDS = {word: ending for ending, (_, words) in lx.ENDINGS.items() for word in words}
_AT = {word: f"{preposition} the {word}" for preposition, word in lx.PLACES}

_END_CLAUSE = re.compile(r"\b(?:end|finish)(?:s|es|ing)?\s+(?:with|in|on)\s+([^.,;!?]*)", re.I)
_WORD_CLAUSE = re.compile(r"\bwords?\b:?\s+([^.;!?]*)", re.I)
_PLACE_CLAUSE = re.compile(
    r"\b(?:at|in|on|near|to)\s+(?:the|a|an)\s+(" + "|".join(lx.PLACE_WORDS) + r")\b", re.I
)
_WORD = re.compile(r"[A-Za-z]+")


def topic_phrases(lemma: str) -> tuple[str, str, str]:
    """How a prompt says a topic: in general ("dogs"), as one ("a dog"), and to be described."""
    if lemma in _DESCRIBED:
        phrase, described = _DESCRIBED[lemma]
        one = described if lemma in lx.KINDS or lemma in lx.THINGS else phrase
        return phrase, one, described
    if lemma in _AT:
        return f"the {lemma}", f"the {lemma}", f"the {lemma}"
    return lx.plural(lemma), lx.with_article(lemma), lx.with_article(lemma)


def _listed(words: list[str]) -> str:
    if len(words) == 1:
        return f"word {words[0]}"
    return "words " + ", ".join(words[:-1]) + " and " + words[-1]


def write(
    wanted: dict[str, list[str]],
    pick: Callable[[tuple[str, ...]], str],
    question: str = "",
    describing: bool = False,
) -> str:
    """A prompt that states `wanted` (kind of demand -> its values), with every phrasing drawn by `pick`.

    `question` is what an explanation answers; `describing` says that the story describes its topic.
    """
    first = {kind: values[0] for kind, values in wanted.items() if values}
    topic, name, place, mood = (first.get(kind, "") for kind in ("topic", "name", "place", "mood"))
    ending = lx.ENDINGS[first["ending"]][0] if "ending" in first else ""
    words = _listed(wanted["word"]) if wanted.get("word") else ""
    noun = pick(NOUNS)
    if not topic:
        base = pick(BARE)
    elif question:
        base = pick(EXPLAIN)
    elif describing:
        base = pick(pick_from(DESCRIBE, PLAIN, pick))
    else:
        base = pick(pick_from(STORY, PLAIN, pick))
    inline_mood = bool(mood) and "tory}" in base and pick(("inline", "later")) == "inline"
    story = lx.with_article(f"{mood} {noun}" if inline_mood else noun)
    general, one, described = topic_phrases(topic) if topic else ("", "", "")
    prompt = base.format(
        pl=general, a=one, the=described, story=story, Story=lx.capital(story), question=question
    )
    tail: list[str] = []
    if name and topic in lx.KINDS and "{a}" in base:
        prompt += pick(NAMED).format(name=name)
    elif name:
        tail.append(pick(NAME).format(name=name))
    if place and ("{a}" in base or "{story}" in base) and pick(("inline", "later")) == "inline":
        prompt += " " + _AT[place]
    elif place:
        tail.append(pick(PLACE).format(place=_AT[place]))
    if mood and not inline_mood:
        tail.append(pick(MOOD).format(mood=mood))
    inline = "tory}" in base and pick(("inline", "later")) == "inline"
    if ending and inline:
        prompt += pick(ENDING_INLINE).format(ending=ending)
    elif words and inline:
        prompt += pick(WORDS_INLINE).format(words=words)
    if words and (ending or not inline):
        tail.append(pick(WORDS).format(words=words))
    if ending and not inline:
        tail.append(pick(ENDING).format(ending=ending))
    return ". ".join([prompt, *tail]) + ("." if tail or pick(("", ".")) else "")


def pick_from(
    some: tuple[str, ...], others: tuple[str, ...], pick: Callable[[tuple[str, ...]], str]
) -> tuple[str, ...]:
    """`some` three times in four, else `others`."""
    return others if pick(("some", "some", "some", "others")) == "others" else some


def read(prompt: str) -> dict[str, str]:
    """The demands that `prompt` states, such as {"topic:robot": "robot"}; empty where none is known."""
    found: dict[str, str] = {}

    def want(kind: str, value: str) -> None:
        found[f"{kind}:{value}"] = value

    clause = _END_CLAUSE.search(prompt)
    if clause:
        for word in _WORD.finditer(clause.group(1)):
            ending = _ENDING_WORDS.get(word.group().lower())
            if ending:
                want("ending", ending)
                prompt = prompt[: clause.start()] + "." + prompt[clause.start(1) + word.end() :]
                break
    clause = _WORD_CLAUSE.search(prompt)
    if clause:
        listed = re.split(r"\b(?:in|to|for|at|that|about)\b", clause.group(1))[0]
        for word in _WORD.findall(listed):
            if word.lower() not in ("and", "or", "the", "a", "an"):
                want("word", word.lower())
        prompt = prompt[: clause.start()] + prompt[clause.start(1) + len(listed) :]
    clause = _PLACE_CLAUSE.search(prompt)
    if clause:
        want("place", clause.group(1).lower())
        prompt = prompt[: clause.start()] + prompt[clause.end() :]
    has_topic = False
    for word in _WORD.findall(prompt):
        if word in lx.NAMES:
            want("name", word)
        elif word.lower() in _MOOD_WORDS:
            want("mood", _MOOD_WORDS[word.lower()])
        elif word.lower() in TOPIC_FORMS:
            lemma = TOPIC_FORMS[word.lower()]
            if not has_topic or f"topic:{lemma}" not in found:
                want("word" if has_topic else "topic", lemma)
            has_topic = True
    return found
