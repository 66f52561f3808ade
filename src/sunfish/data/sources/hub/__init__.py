"""Owns the source of data sets on the hub: ``hf:OWNER/NAME[:CONFIG][:SPLIT]``, streamed through `datasets`."""

from __future__ import annotations

from pathlib import Path

from sunfish.config import DataConfig
from sunfish.data.sources.files.fields import RecordFields
from sunfish.data.sources.held_out import HeldOutSource
from sunfish.data.sources.hub.address import parse_address
from sunfish.data.sources.hub.faults import require_datasets
from sunfish.data.sources.hub.listing import list_dataset
from sunfish.data.sources.hub.prepared import PreparedSource
from sunfish.data.sources.hub.source import HubSource
from sunfish.hub import Unreachable
from sunfish.utils import UsageError


def build(config: DataConfig, seed: int) -> HeldOutSource:
    """The source for ``--data hf:…``; where the hub cannot be asked, what was prepared of it before.

    Args:
        config: ``data`` is the address; the fields and the template say how its records are read.
        seed: Has no effect, since records are read as they are.

    Returns:
        The source.

    Raises:
        UsageError: The address, the configuration or the split cannot be right.
        ValueError: The hub refuses, or does not answer and nothing was prepared.
    """
    address = parse_address(config.data)
    if config.delimiter:
        raise UsageError(
            f"delimiter is {config.delimiter!r}, but {address} has records, and --delimiter is for .txt; leave it out"
        )
    require_datasets()
    fields = RecordFields(config.text_field, config.prompt_field, config.prompt_template)
    try:
        return HubSource(list_dataset(address), fields, config.validation_fraction)
    except Unreachable as why:
        folder = Path(config.data_folder).expanduser()
        return PreparedSource(address, fields, config.validation_fraction, folder, str(why))
