"""Owns the source of a user's own files: .txt, .jsonl, .csv, .tsv, .parquet, or folders of these."""

from __future__ import annotations

from sunfish.config import DataConfig
from sunfish.data.sources.files.source import FileSource

__all__ = ["FileSource", "build"]


def build(config: DataConfig, seed: int) -> FileSource:
    """The source for ``--data PATH``.

    Args:
        config: ``data`` is the path; the fields, the template and the delimiter say how it is read.
        seed: Has no effect, since files are read as they are.

    Returns:
        The source.

    Raises:
        UsageError: The path holds no file that can be read, or the fields do not suit it.
    """
    return FileSource(
        config.data,
        text_field=config.text_field,
        prompt_field=config.prompt_field,
        prompt_template=config.prompt_template,
        delimiter=config.delimiter,
        validation_fraction=config.validation_fraction,
    )
