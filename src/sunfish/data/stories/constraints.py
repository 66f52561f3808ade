"""Owns the constraints of a prompt: what it asks of a text, read from the prompt alone."""

from __future__ import annotations

import re

from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.features import TOPIC_FORMS, WORD

_MOODS = {mood: mood for mood in lx.MOODS} | {
    "joyful": "happy",
    "cheerful": "happy",
    "spooky": "scary",
    "creepy": "scary",
    "peaceful": "calm",
    "silly": "funny",
    "enchanted": "magical",
    "strange": "mysterious",
}
_ENDINGS = {word: ending for ending, (_, words) in lx.ENDINGS.items() for word in words}

_END_CLAUSE = re.compile(r"\b(?:end|finish)(?:s|es|ing)?\s+(?:with|in|on)\s+([^.,;!?]*)", re.I)
_WORD_CLAUSE = re.compile(r"\bwords?\b:?\s+([^.;!?]*)", re.I)
_WORD_CLAUSE_END = re.compile(r"\b(?:in|to|for|at|that|about)\b")
_PLACE_CLAUSE = re.compile(
    r"\b(?:at|in|on|near|to)\s+(?:the|a|an)\s+(" + "|".join(lx.PLACE_WORDS) + r")\b", re.I
)
_FUNCTION_WORDS = ("and", "or", "the", "a", "an")


def parse_constraints(prompt: str) -> dict[str, str]:
    """The constraints that `prompt` states.

    Args:
        prompt: any text.

    Returns:
        Constraint -> its value, such as {"topic:robot": "robot", "name:Mia": "Mia"}; empty where the prompt
        states none that is known.
    """
    constraints: dict[str, str] = {}
    for parse_clause in (_ending, _words, _place):
        prompt = parse_clause(prompt, constraints)
    has_topic = False
    for word in WORD.findall(prompt):
        lower = word.lower()
        if word in lx.NAMES:
            constraints[f"name:{word}"] = word
        elif lower in _MOODS:
            constraints[f"mood:{_MOODS[lower]}"] = _MOODS[lower]
        elif lower in TOPIC_FORMS:
            lemma = TOPIC_FORMS[lower]
            if not has_topic or f"topic:{lemma}" not in constraints:
                kind = "word" if has_topic else "topic"
                constraints[f"{kind}:{lemma}"] = lemma
            has_topic = True
    return constraints


# Each of these adds the constraint of one clause to `constraints` and returns the prompt without the clause.


def _ending(prompt: str, constraints: dict[str, str]) -> str:
    clause = _END_CLAUSE.search(prompt)
    if not clause:
        return prompt
    for word in WORD.finditer(clause.group(1)):
        ending = _ENDINGS.get(word.group().lower())
        if ending:
            constraints[f"ending:{ending}"] = ending
            return prompt[: clause.start()] + "." + prompt[clause.start(1) + word.end() :]
    return prompt


def _words(prompt: str, constraints: dict[str, str]) -> str:
    clause = _WORD_CLAUSE.search(prompt)
    if not clause:
        return prompt
    listed = _WORD_CLAUSE_END.split(clause.group(1))[0]
    for word in map(str.lower, WORD.findall(listed)):
        if word not in _FUNCTION_WORDS:
            constraints[f"word:{word}"] = word
    return prompt[: clause.start()] + prompt[clause.start(1) + len(listed) :]


def _place(prompt: str, constraints: dict[str, str]) -> str:
    clause = _PLACE_CLAUSE.search(prompt)
    if not clause:
        return prompt
    place = clause.group(1).lower()
    constraints[f"place:{place}"] = place
    return prompt[: clause.start()] + prompt[clause.end() :]
