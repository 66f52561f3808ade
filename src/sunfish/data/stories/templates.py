"""Owns the list of every sentence template: what a story can say is exactly what these can say."""

from __future__ import annotations

from itertools import chain

from sunfish.data.stories.grammar import sentences
from sunfish.data.stories.plots import PLOTS
from sunfish.data.stories.shared import ENDING_LINES, FACT_LINES, MOOD_LINES, OPENINGS


def sentence_templates() -> list[str]:
    """Every sentence template of every plot, once."""
    choices = chain(
        (choice for plot in PLOTS.values() for step in plot.steps for choice in step.choices),
        OPENINGS,
        *(lines for moods in MOOD_LINES.values() for lines in moods.values()),
        *ENDING_LINES.values(),
        *(lines for facts in FACT_LINES.values() for lines in facts),
    )
    return list(dict.fromkeys(sentence for choice in choices for sentence in sentences(choice.text)))
