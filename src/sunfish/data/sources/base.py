"""Owns what a source of documents is: the protocol, and a document with its location."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sunfish.data.report import PreparationReport
from sunfish.types import Example

SPLITS = ("train", "validation")
CHUNK_DOCUMENTS = 256  # of one chunk; fixed, so that nothing depends on the number of workers


class ContinuedExample(Example):
    """A part of a long text that the next document continues, so that it has no end of its own."""


class LocatedExample(NamedTuple):
    """A document, and the words that locate it in a message, such as ``reviews.jsonl:17``."""

    location: str
    example: Example


# Returns the documents of a chunk. It can be pickled, so that a worker process does the work of making them.
Chunk = Callable[[], list[LocatedExample]]


@runtime_checkable
class Source(Protocol):
    """Documents in a fixed order, divided into the splits ``train`` and ``validation``.

    A class that inherits from this one has to give ``name``, ``fingerprint`` and ``chunks``.
    """

    name: str
    """The beginning of the prepared folder's name: letters, digits, ``-`` and ``_``."""
    long_text: bool = False
    """Whether the documents are parts of one long text, so that each window has a prompt of its own."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """All that determines the documents.

        Returns:
            Plain values that JSON can hold. Equal values mean equal documents.
        """
        ...

    @abstractmethod
    def chunks(self, split: str, size: int) -> Iterator[Chunk]:
        """The documents of a split in picklable chunks.

        Args:
            split: ``train`` or ``validation``.
            size: Documents of a chunk at most.

        Returns:
            The chunks, in order.

        Raises:
            ValueError: The split does not exist, or it has no usable document.
        """
        ...

    def examples(self, split: str, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Example]:
        """Every ``world_size``-th document of a split.

        Args:
            split: ``train`` or ``validation``.
            start: Documents to skip, for resuming.
            rank: Documents to skip after that: the number of this process.
            world_size: Number of processes that share the documents.

        Returns:
            The documents, in order. A prompt is empty where the source gives none.

        Raises:
            ValueError: The split does not exist, or it has no usable document.
        """
        documents = (document for chunk in self.chunks(split, CHUNK_DOCUMENTS) for document in chunk())
        return islice((example for _, example in documents), start + rank, None, world_size)

    def total(self, split: str) -> int | None:
        """Documents of ``split``, for the display of progress; None if unknown before they are read."""
        return None

    def report(self) -> PreparationReport:
        """What the last complete pass over the documents left out or changed."""
        return PreparationReport()


def check_split(split: str) -> None:
    """Refuse a name of a split that does not exist.

    Raises:
        ValueError: ``split`` is none of ``SPLITS``.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; the splits are: {', '.join(SPLITS)}")
