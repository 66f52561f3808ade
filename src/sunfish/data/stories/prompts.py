"""Owns the writing of prompts: constraints, each stated in a phrasing that is drawn at random."""

from __future__ import annotations

from collections.abc import Callable

from sunfish.data.stories import facts, phrasings
from sunfish.data.stories import lexicon as lx

Pick = Callable[[tuple[str, ...]], str]

_DESCRIBED = {subject.lemma: (subject.phrase, subject.described) for subject in facts.SUBJECTS}
_AT = {word: f"{preposition} the {word}" for preposition, word in lx.PLACES}


def write_prompt(
    constraints: dict[str, list[str]], pick: Pick, question: str = "", describing: bool = False
) -> str:
    """A prompt that states `constraints`.

    Args:
        constraints: kind of constraint ("topic", "name", "place", "mood", "word", "ending") -> its values.
        pick: draws one of several phrasings.
        question: what the story explains, "" for a story that explains nothing.
        describing: whether the story describes its topic.

    Returns:
        The prompt, with or without a full stop.
    """
    first = {kind: values[0] for kind, values in constraints.items() if values}
    topic, name, place, mood = (first.get(kind, "") for kind in ("topic", "name", "place", "mood"))
    ending = lx.ENDINGS[first["ending"]][0] if "ending" in first else ""
    words = _word_list(constraints["word"]) if constraints.get("word") else ""
    noun = pick(phrasings.NOUNS)
    base = _base(topic, question, describing, pick)
    names_story = "tory}" in base
    inline_mood = bool(mood) and names_story and _inline(pick)
    prompt = _fill(base, topic, question, lx.with_article(f"{mood} {noun}" if inline_mood else noun))
    tail: list[str] = []
    if name and topic in lx.KINDS and "{a}" in base:
        prompt += pick(phrasings.NAMED).format(name=name)
    elif name:
        tail.append(pick(phrasings.NAME).format(name=name))
    if place and ("{a}" in base or "{story}" in base) and _inline(pick):
        prompt += " " + _AT[place]
    elif place:
        tail.append(pick(phrasings.PLACE).format(place=_AT[place]))
    if mood and not inline_mood:
        tail.append(pick(phrasings.MOOD).format(mood=mood))
    inline = names_story and _inline(pick)
    if ending and inline:
        prompt += pick(phrasings.ENDING_INLINE).format(ending=ending)
    elif words and inline:
        prompt += pick(phrasings.WORDS_INLINE).format(words=words)
    if words and (ending or not inline):
        tail.append(pick(phrasings.WORDS).format(words=words))
    if ending and not inline:
        tail.append(pick(phrasings.ENDING).format(ending=ending))
    return ". ".join([prompt, *tail]) + ("." if tail or pick(("", ".")) else "")


def _base(topic: str, question: str, describing: bool, pick: Pick) -> str:
    """The phrasing of the first sentence."""
    if not topic:
        return pick(phrasings.BARE)
    if question:
        return pick(phrasings.EXPLAIN)
    usual = phrasings.DESCRIBE if describing else phrasings.STORY
    return pick(phrasings.PLAIN if pick(("usual", "usual", "usual", "plain")) == "plain" else usual)


def _inline(pick: Pick) -> bool:
    """Whether a constraint joins the first sentence rather than taking one of its own."""
    return pick(("inline", "later")) == "inline"


def _fill(base: str, topic: str, question: str, story: str) -> str:
    general, one, described = _topic_phrases(topic) if topic else ("", "", "")
    return base.format(
        pl=general, a=one, the=described, story=story, Story=lx.capital(story), question=question
    )


def _topic_phrases(lemma: str) -> tuple[str, str, str]:
    """How a prompt says a topic: in general ("dogs"), as one ("a dog"), and to be described."""
    if lemma in _DESCRIBED:
        phrase, described = _DESCRIBED[lemma]
        one = described if lemma in lx.KINDS or lemma in lx.THINGS else phrase
        return phrase, one, described
    if lemma in _AT:
        return f"the {lemma}", f"the {lemma}", f"the {lemma}"
    return lx.plural(lemma), lx.with_article(lemma), lx.with_article(lemma)


def _word_list(words: list[str]) -> str:
    if len(words) == 1:
        return f"word {words[0]}"
    return "words " + ", ".join(words[:-1]) + " and " + words[-1]
