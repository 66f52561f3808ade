"""Stop strings: texts before which another text ends."""

from __future__ import annotations

from collections.abc import Iterable

from sunfish.config.rules import shown
from sunfish.sampling.prompts import check_text
from sunfish.utils import UsageError


class StopStrings:
    """The first of these strings ends a text, and is not part of it.

    The first is the one that is complete first while the text is written letter by letter. So it does not depend on how
    many letters come at a time, and what :meth:`sure` has let through is never taken back.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        """Check them.

        Raises:
            UsageError: They are no list of texts, or one is empty.
        """
        if isinstance(stops, (str, bytes)) or not isinstance(stops, Iterable):
            raise UsageError(f"stop is {shown(stops)}; give a list of texts, such as ['\\n']")
        self.stops = tuple(stops)
        for number, stop in enumerate(self.stops):
            check_text(f"stop[{number}]", stop)
            if not stop:
                raise UsageError(f"stop[{number}] is empty, which would end every text; leave it out")

    def __bool__(self) -> bool:
        return bool(self.stops)

    def find(self, text: str) -> tuple[int, str] | None:
        """Where the first stop string of ``text`` begins, and which it is; None: there is none."""
        matches = [(text.find(stop) + len(stop), stop) for stop in self.stops if stop in text]
        if not matches:
            return None
        end, stop = min(matches, key=lambda pair: (pair[0], -len(pair[1])))
        return end - len(stop), stop

    def sure(self, text: str) -> str:
        """The beginning of a growing ``text`` that no stop string, complete or not, can take back."""
        if match := self.find(text):
            return text[: match[0]]
        return text[: len(text) - max((_overlap(text, stop) for stop in self.stops), default=0)]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``, which is not complete."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
