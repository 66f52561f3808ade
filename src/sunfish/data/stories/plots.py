"""Owns the plots: named lists of steps, each a choice between lines, read from the files of text/plots."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from typing import NamedTuple

from sunfish.data.stories.choices import SILENT, Choice, parse_choice
from sunfish.data.stories.plot_settings import Settings, is_setting, parse_settings
from sunfish.data.stories.shared import FACT_LINES, MOOD_MARKERS
from sunfish.data.stories.text_files import FOLDER, Block, Line, read_blocks

_MARKERS = ("opening", *MOOD_MARKERS, "facts", "more_facts", "ending")


class Step(NamedTuple):
    """One step of a plot: choices, or a marker ("ending") for lines that several plots share."""

    marker: str
    choices: tuple[Choice, ...] = ()
    optional: bool = False


class Plot(NamedTuple):
    """A plot: its settings and its steps."""

    settings: Settings
    steps: tuple[Step, ...]


def parse_plots(folder: Traversable) -> dict[str, Plot]:
    """The plots of the .txt files of `folder`, by name; files are read in the order of their names.

    Raises:
        ValueError: there is none, one occurs twice, or one is malformed.
    """
    plots: dict[str, Plot] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        for block in read_blocks(file) if file.name.endswith(".txt") else ():
            name = block.head.text
            if name in plots:
                raise block.head.error(f"plot {name!r} occurs twice; give one of them another name")
            plots[name] = parse_plot(block)
    if not plots:
        raise ValueError(f"{folder}: no .txt file with a plot; install the package anew, with its data")
    return plots


def parse_plot(block: Block) -> Plot:
    """The plot that `block` writes down: settings, then steps divided by blank lines."""
    first, *others = block.paragraphs
    count = next((n for n, line in enumerate(first) if not is_setting(line)), len(first))
    settings = parse_settings(first[:count])
    paragraphs = [first[count:], *others] if first[count:] else others
    steps = tuple(step for paragraph in paragraphs for step in _steps(paragraph))
    _check_markers(block.head, settings, [step.marker for step in steps if step.marker])
    return Plot(settings, steps)


def _steps(paragraph: list[Line]) -> list[Step]:
    """A paragraph as steps: one for each marker, or a single one with a choice a line."""
    if paragraph[0].text.startswith("@"):
        return [Step(_marker(line)) for line in paragraph]
    optional = paragraph[0].text == "?"
    lines = paragraph[1:] if optional else paragraph
    if not lines:
        raise paragraph[0].error("nothing follows '?'; write the lines of the step right under it")
    for line in lines:
        if line.text.startswith("@"):
            raise line.error(f"marker {line.text!r} stands among sentences; put a blank line before it")
        if line.text.startswith("?"):
            raise line.error("'?' stands among sentences; write it alone, as the first line of a step")
    choices = tuple(SILENT if line.text == "~" else parse_choice(line) for line in lines)
    return [Step("", choices, optional)]


def _marker(line: Line) -> str:
    if not line.text.startswith("@"):
        raise line.error(f"{line.text!r} stands among markers; put a blank line before it")
    if line.text[1:] not in _MARKERS:
        raise line.error(f"marker {line.text!r} is unknown; use one of @{', @'.join(_MARKERS)}")
    return line.text[1:]


def _check_markers(head: Line, settings: Settings, markers: list[str]) -> None:
    """Each marker that a story cannot do without is there once, and facts are told where there are some."""
    tells_facts = settings.about in FACT_LINES
    for marker in ("opening", "mood_first", "ending", *(["facts"] if tells_facts else [])):
        if markers.count(marker) != 1:
            raise head.error(f"plot {head.text!r} has {markers.count(marker)} lines '@{marker}'; write one")
    if not tells_facts and "facts" in markers:
        raise head.error(f"plot {head.text!r} tells facts but is about none; add 'about: subject'")
    if settings.about != "subject" and "more_facts" in markers:
        raise head.error(
            f"plot {head.text!r} has '@more_facts' but is not about a subject; use '@facts' alone"
        )


PLOTS: dict[str, Plot] = parse_plots(FOLDER / "plots")
