"""The work of writing one text, and what its reader gets on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sunfish.config import GenerationConfig
from sunfish.sampling.generated import TextState
from sunfish.sampling.infilling import CUT_CHARACTER
from sunfish.sampling.likelihood import TokenScorer
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.stop import StopStrings
from sunfish.sampling.text_generator import TextGenerator

MASK = "▒"  # a masked position of a denoising state


class ScoredToken(NamedTuple):
    """A token: its exact log-probability, and the likeliest tokens in its place with theirs."""

    text: str
    offset: int  # characters of the text before it
    logprob: float
    top: list[tuple[str, float]]


class Written(NamedTuple):
    """How a text has ended. ``steps`` and ``pieces``: of each token, when it took its value, and its text."""

    text: str
    finished: bool
    prompt_tokens: int
    tokens: int
    steps: list[int]
    pieces: list[str]
    prompt_pmi: float | None = None


class State(NamedTuple):
    """A denoising state position by position: what each says, and how many are final."""

    pieces: list[str]
    settled: int


class Chunk(NamedTuple):
    """What is new of a text: its next settled tokens; of a denoising state, all of it."""

    text: str
    scored: list[ScoredToken] | None  # None: not asked for
    step: int
    written: Written | None = None  # with the last one
    state: State | None = None  # of a denoising state


@dataclass(frozen=True)
class TextTask:
    """One text of a request."""

    prompt: str
    config: GenerationConfig
    seq_len: int
    seed: int
    number: int  # among the texts of this seed
    stop: tuple[str, ...] = ()
    num_top: int | None = None  # of log-probabilities; None: none are asked for
    streams: bool = False
    diffusing: bool = False
    is_ranked: bool = False  # against others, by how well it answers its prompt

    def __call__(self, pipeline: Pipeline) -> Iterator[Chunk]:
        """Write it; the last chunk says how it has ended."""
        progress = TextProgress(pipeline, self)
        states = pipeline.states(
            self.prompt,
            self.config,
            seq_len=self.seq_len,
            seed=self.seed,
            number=self.number,
            stop=self.stop,
        )
        for state in states:
            if (chunk := progress.chunk(state)) is not None:
                yield chunk
        yield progress.end(state)


class TextProgress:
    """What the reader of a text has received so far, and what comes next."""

    def __init__(self, pipeline: Pipeline, task: TextTask) -> None:
        self.pipeline, self.task, self.stops = pipeline, task, StopStrings(task.stop)
        self.steps = StepMap(pipeline.tokenizer.size)
        self.shown, self.count = "", 0  # the text that was sent, and its settled tokens
        self.scored: list[ScoredToken] = []  # of a denoising state, which repeats what came before
        self.scorer: TokenScorer | None = None
        if task.num_top is not None:
            self.scorer = TokenScorer(pipeline, task.prompt, task.num_top)

    def chunk(self, state: TextState) -> Chunk | None:
        """What a state adds; None: nothing that the reader is to see."""
        self.steps.note(state.ids)
        if not self.task.streams:
            return None
        if self.task.diffusing:
            whole, before = self.pipeline.decode(state.ids, "", MASK, self.stops), self.shown
            self.shown = whole.text
            if whole.text == before:
                return None
            pieces = [self._piece(token) for token in whole.ids]
            scored = self._score(whole.ids[: state.settled])
            return Chunk(whole.text, scored, self.steps.number, state=State(pieces, state.settled))
        ids = state.ids[: settled_tokens(self.pipeline, state.ids[: state.settled], self.stops, self.count)]
        text = self.pipeline.tokenizer.decode(ids)
        new = text[len(self.shown) :]
        if not new:
            return None
        chunk = Chunk(new, self._score(ids), self.steps.number)
        self.shown = text
        return chunk

    def _score(self, ids: list[int]) -> list[ScoredToken] | None:
        """The final ``ids`` that the reader has no scores of yet; of a denoising state, all of them."""
        new = score_tokens(self.pipeline, self.scorer, ids, self.count)
        self.count = max(self.count, len(ids))
        if new is None or not self.task.diffusing:
            return new
        self.scored = [*self.scored, *new][: len(ids)]
        return self.scored

    def _piece(self, token: int) -> str:
        tokenizer = self.pipeline.tokenizer
        return tokenizer.decode([token]) if token < tokenizer.size else MASK

    def end(self, state: TextState) -> Chunk:
        """The rest, after the last state."""
        pipeline, task = self.pipeline, self.task
        whole = pipeline.decode(state.ids, task.prompt, stops=self.stops)
        written = Written(
            whole.text,
            whole.finished,
            len(pipeline.prompt_tokenizer.encode_prompt(task.prompt)),
            whole.tokens,
            self.steps.numbers[: whole.tokens],
            [self._piece(token) for token in whole.ids],
            pipeline.prompt_pmi(whole) if task.is_ranked else None,
        )
        rest = whole.text if task.diffusing else whole.text[len(self.shown) :]
        return Chunk(rest, self._score(whole.ids), self.steps.number, written)


class StepMap:
    """At which step each position took its value; only steps that change a token count.

    Attributes:
        number: How many steps there were.
        numbers: Of each position, the step.
    """

    def __init__(self, size: int) -> None:
        """``size``: ids from this one on are no tokens."""
        self.size, self.number, self.numbers = size, 0, list[int]()
        self._last: list[int] = []

    def note(self, ids: list[int]) -> None:
        """Look at the next state."""
        last = self._last + [-1] * (len(ids) - len(self._last))
        changed = [place for place, token in enumerate(ids) if token < self.size and token != last[place]]
        self.numbers += [0] * (len(ids) - len(self.numbers))
        self.number += bool(changed)
        for place in changed:
            self.numbers[place] = self.number
        self._last = list(ids)


def settled_tokens(pipeline: TextGenerator, ids: list[int], stops: StopStrings, least: int = 0) -> int:
    """How many of the first final ``ids`` have a text that nothing after them can change.

    What comes next may complete a character or a stop string that they have begun.
    """
    kept = pipeline.decode(ids, "")
    sure, count = stops.sure(kept.text.rstrip(CUT_CHARACTER)), least
    for end in range(least + 1, len(kept.ids) + 1):
        text = pipeline.tokenizer.decode(kept.ids[:end])
        if sure.startswith(text) and not text.endswith(CUT_CHARACTER):
            count = end
    return count


def score_tokens(
    pipeline: TextGenerator, scorer: TokenScorer | None, ids: list[int], first: int
) -> list[ScoredToken] | None:
    """The ``ids`` of a text from the ``first`` one on with their log-probabilities; None without a scorer."""
    if scorer is None:
        return None
    tokens = []
    for number, token in enumerate(scorer.score(ids[first:]), start=first):
        top = [(pipeline.tokenizer.decode([other]), logprob) for other, logprob in token.top]
        offset = len(pipeline.tokenizer.decode(ids[:number]))
        tokens.append(ScoredToken(pipeline.tokenizer.decode([token.token]), offset, token.logprob, top))
    return tokens
