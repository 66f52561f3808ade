"""What sampling gives back: a text while it is written and when it is done, and how ids become one."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from sunfish.sampling.stop import StopStrings
from sunfish.tokenizers.base import TextTokenizer


class Generated(NamedTuple):
    """One text of ``tokens`` ids, end marks not counted. ``finished``: it reached its end; else it was cut.

    Where it ended before the stop string ``stop``, the last of its ids may reach into that.
    """

    text: str
    prompt: str
    finished: bool
    tokens: int
    ids: list[int]
    stop: str = ""


class TextState(NamedTuple):
    """A text while it is written: the ids after its start mark, noise included, of which the first are final."""

    ids: list[int]
    settled: int  # how many are final


def as_text(
    tokenizer: TextTokenizer, ids: list[int], prompt: str, mask: str = "", stops: StopStrings | None = None
) -> Generated:
    """The text before the first end mark or stop string, with ``mask`` for every id that is still masked."""

    def is_masked(token: int) -> bool:
        return token >= tokenizer.size  # noise may be a spare id

    def written(ids: list[int]) -> str:
        runs = ((masked, list(group)) for masked, group in groupby(ids, is_masked))
        return "".join(mask * len(run) if masked else tokenizer.decode(run) for masked, run in runs)

    ended = tokenizer.end in ids
    kept = ids[: ids.index(tokenizer.end)] if ended else ids
    text, stop = written(kept), ""
    if stops and (match := stops.find(text)):
        ended, stop, text = True, match[1], text[: match[0]]
        count = next(n for n in range(len(kept) + 1) if written(kept[:n]).startswith(text))
        kept = kept[:count]
    hidden = sum(map(is_masked, kept))
    return Generated(text, prompt, ended and not hidden, len(kept) - hidden, kept, stop)
