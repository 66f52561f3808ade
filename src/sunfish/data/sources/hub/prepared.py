"""Owns what there is of a data set without the hub: the corpora that were prepared of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sunfish.data.manifest import read_manifest
from sunfish.data.sources.base import LocatedExample
from sunfish.data.sources.files.fields import RecordFields
from sunfish.data.sources.held_out import HeldOutSource
from sunfish.data.sources.hub.address import Address
from sunfish.hub import Unreachable
from sunfish.utils import log


class PreparedSource(HeldOutSource):
    """A data set that was read before and cannot be read now; its prepared folder can still be opened."""

    def __init__(
        self,
        address: Address,
        fields: RecordFields,
        validation_fraction: float,
        data_folder: Path,
        reason: str,
    ) -> None:
        """Look for the newest commit that was prepared with these settings.

        Args:
            address: The data set.
            fields: Which fields of a record are its text and its prompt.
            validation_fraction: As the source of the hub takes it.
            data_folder: Where prepared corpora are.
            reason: Why the hub is not read.

        Raises:
            Unreachable: There is none; says ``reason``.
        """
        super().__init__(address.repository, fields, validation_fraction)
        wanted = {"source": str(address), **self.settings()}.items()
        known = [source for source in _prepared_sources(data_folder, self.name) if wanted <= source.items()]
        if not known:
            raise Unreachable(
                f"{reason}, and nothing of {address} is prepared in {data_folder} with these settings"
            )
        self._address, self._reason, self._fingerprint = address, reason, known[-1]
        log(f"note: {reason}. What was prepared of {address} is used, commit {known[-1]['revision']:.8}")

    def fingerprint(self) -> dict[str, Any]:
        """That of the corpus that was prepared."""
        return self._fingerprint

    def _read(self, split: str, threshold: int) -> Iterator[LocatedExample]:
        raise Unreachable(
            f"{self._reason}, and {self._address} at commit {self._fingerprint['revision']:.8} is prepared with other "
            "lengths or another tokenizer only"
        )

    def _too_few(self, count: int) -> str:
        raise AssertionError("nothing is read")


def _prepared_sources(data_folder: Path, name: str) -> list[dict[str, Any]]:
    """The sources of all corpora of this name, the newest last."""
    folders = sorted(data_folder.glob(f"{name}-*/"), key=lambda folder: folder.stat().st_mtime_ns)
    sources = []
    for folder in folders:
        with suppress(ValueError):  # damaged, or of another version: preparation says so of the one it opens
            sources.append(read_manifest(folder)["recipe"]["source"])
    return sources
