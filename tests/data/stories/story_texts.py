"""Story texts for tests: a plot, facts, and a way to damage them."""

from __future__ import annotations

PLOT = """# a plot
== lost_hat
thing: hat scarf coat
@opening

{N} could not find {his} {thing}.
"Who has seen my {thing}?" asked {N}.

@mood_first

?
{A.friend} named {F} had seen it {at.place}.
~

@ending
"""
GOOSE = """== goose | geese | a goose
A goose flies south when the days grow short.
A goose walks as if it owned the road.
"""
KITE = """== kite | how a kite flies
A kite leans on the wind.
"""


def damaged(good: str, old: str, new: str) -> str:
    assert old in good
    return good.replace(old, new, 1)
