"""Owns a corpus of the hub: the documents of one data set, streamed, at one commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import LocatedExample
from sunfish.data.sources.files.fields import FieldCounts, RecordFields
from sunfish.data.sources.held_out import HeldOutSource, is_held_out
from sunfish.data.sources.hub.listing import Listing

READING_RULES = 2  # raised when the same commit gives other documents than before


class HubSource(HeldOutSource):
    """Documents of a data set, in the order of its files and records.

    The split ``validation`` of the data set is held out where it has one; otherwise a share of the documents is, as with
    files. A prompt is empty where the records give none: preparation then derives one.
    """

    def __init__(self, listing: Listing, fields: RecordFields, validation_fraction: float) -> None:
        """Nothing is read before a document is asked for.

        Args:
            listing: The data set.
            fields: Which fields of a record are its text and its prompt.
            validation_fraction: Share of the documents held out where the data set has no validation split.
        """
        super().__init__(listing.address.repository, fields, validation_fraction)
        self.listing = listing

    def fingerprint(self) -> dict[str, Any]:
        """The commit, what is read of it, and the settings that decide how."""
        return {
            "source": str(self.listing.address),
            "revision": self.listing.revision,
            "config": self.listing.config,
            "train": self.listing.train,
            "validation": self.listing.validation,
            **self.settings(),
            "rules": READING_RULES,
        }

    def _find_threshold(self) -> int:
        return 0 if self.listing.validation else super()._find_threshold()

    def _too_few(self, count: int) -> str:
        return (
            f"{self.listing.address} has only one document{f' ({count} times)' if count > 1 else ''}, so none "
            "can be held out for validation"
        )

    def _read(self, split: str, threshold: int) -> Iterator[LocatedExample]:
        self._report = report = PreparationReport()
        has_split = bool(self.listing.validation) and split == "validation"
        name = self.listing.validation if has_split else self.listing.train
        counts, usable = FieldCounts(self.fields), 0
        for location, record in self.listing.records(name):
            counts.add(record)
            example = self.fields.example(record, location, report)
            if example is not None:
                usable += 1
                document = LocatedExample(location, example)
                if has_split or is_held_out(document, threshold) == (split == "validation"):
                    yield document
        counts.check(str(self.listing.address))
        if not usable:
            reasons = "; ".join(report.skips.lines()) or "it is empty"
            raise ValueError(f"{self.listing.address} has no usable document in its split {name}: {reasons}")
