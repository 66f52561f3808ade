"""Owns what a data set on the hub consists of: its commit, configuration, splits and files, as `datasets` finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sunfish.data.sources.hub.address import Address
from sunfish.data.sources.hub.faults import reading
from sunfish.data.sources.hub.transfer import FileRecord, Transfers
from sunfish.hub import client
from sunfish.utils import UsageError

if TYPE_CHECKING:
    from datasets import DatasetBuilder

TRAIN, VALIDATION = "train", "validation"
FILES_ASKED = 500  # of one request
COMMIT = re.compile("[0-9a-f]{40}")


@dataclass
class Listing:
    """One configuration of a data set at one commit.

    Attributes:
        address: What the user named.
        revision: The commit.
        config: The configuration.
        train: The split that is learned from.
        validation: The split of the data set that is held out; empty: it has none.
        builder: Reads the splits.
        transfers: The requests.
    """

    address: Address
    revision: str
    config: str
    train: str
    validation: str
    builder: DatasetBuilder
    transfers: Transfers
    _number: int = field(default=0, init=False)  # of the record that was read last

    def records(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The records of a split in their order, streamed, each with its location.

        Raises:
            ValueError: The files do not come, or they cannot be read; names the data set and the place.
        """
        self._number = 0
        with reading(self.address, self.transfers, lambda: f"record {self._number + 1:,} of split {split}"):
            if not self.transfers.files:
                self._ask_for_files()
            stream = self.builder.as_streaming_dataset(split)
            if stream.features is not None:
                stream = stream.decode(False)  # pictures and sounds stay as they are
            for record in stream:
                self._number += 1
                yield f"{split}:{self._number}", record

    def _ask_for_files(self) -> None:
        """Ask for the sizes and hashes of all files, by which their transfers are judged.

        Raises:
            ValueError: A file lies outside the commit, so that nothing would say whether it has changed.
        """
        from huggingface_hub.hf_api import RepoFolder

        base = f"hf://datasets/{self.address.repository}@{self.revision}/"
        urls = [url for urls in self.builder.config.data_files.values() for url in urls]
        if elsewhere := next((url for url in urls if not url.startswith(base)), None):
            raise ValueError(f"{elsewhere} lies outside the data set, so its content is not that of a commit")
        paths = sorted({url.removeprefix(base) for url in urls})
        for first in range(0, len(paths), FILES_ASKED):
            infos = client().get_paths_info(
                self.address.repository,
                paths[first : first + FILES_ASKED],
                revision=self.revision,
                repo_type="dataset",
            )
            for info in infos:
                assert not isinstance(info, RepoFolder)  # the paths are those of files
                record = FileRecord(info.size, info.lfs.sha256 if info.lfs else info.blob_id)
                self.transfers.files[f"{self.revision}/{info.path}"] = record
        if absent := [path for path in paths if f"{self.revision}/{path}" not in self.transfers.files]:
            raise ValueError(f"{absent[0]} has gone since it was listed; try again")


def list_dataset(address: Address) -> Listing:
    """Ask the hub what ``address`` names.

    Raises:
        UsageError: The data set has no such configuration or split; names the ones that it has.
        Unreachable: The hub does not answer.
        ValueError: It refuses.
    """
    transfers = Transfers(str(address), address.repository)
    with reading(address, transfers, lambda: "the listing"):
        from datasets import get_dataset_config_names, load_dataset_builder

        revision = str(client().dataset_info(address.repository).sha)
        if not COMMIT.fullmatch(revision):
            raise ValueError(f"{revision!r:.60} is no commit")
        path = f"hf://datasets/{address.repository}"  # never a folder of this name
        names = get_dataset_config_names(path, revision=revision)
        config = _find_config(address, path, names, revision)
        builder = load_dataset_builder(path, config, revision=revision)
        if revision not in str(builder.base_path):  # otherwise an older copy in the cache was taken
            raise ValueError(f"commit {revision[:8]} cannot be listed; try again later")
        splits = [str(split) for split in builder.config.data_files]
    train = _find_split(address, config, names, splits)
    validation = VALIDATION if VALIDATION in splits and train != VALIDATION else ""
    return Listing(address, revision, config, train, validation, builder, transfers)


def _find_config(address: Address, path: str, names: list[str], revision: str) -> str:
    """The configuration that ``address`` means."""
    from datasets import get_dataset_default_config_name

    word = address.words[0] if address.words else ""
    if word in names:
        return word
    if word and len(address.words) == 2:
        raise UsageError(f"{address}: there is no configuration {word!r}; there are {', '.join(names)}")
    default = names[0] if len(names) == 1 else get_dataset_default_config_name(path, revision=revision)
    if default is None:
        raise UsageError(
            f"{address}: the data set has several configurations; name one of them after a colon: {', '.join(names)}"
        )
    return str(default)


def _find_split(address: Address, config: str, names: list[str], splits: list[str]) -> str:
    """The split that ``address`` means: the one it names, ``train``, or the only one."""
    word = (
        address.words[-1]
        if address.words and (len(address.words) == 2 or address.words[0] not in names)
        else ""
    )
    if word in splits:
        return word
    if not word and (TRAIN in splits or len(splits) == 1):
        return TRAIN if TRAIN in splits else splits[0]
    kinds = f"configurations {', '.join(names)}; splits of {config}: {', '.join(splits)}"
    fault = f"there is no {word!r}" if word else f"there is no split {TRAIN!r}; name one"
    raise UsageError(f"{address}: {fault}; {kinds}")
