"""Writes the rows of a split to the files of a prepared folder, each number as it comes."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

import numpy as np

from sunfish.data.prepare.encode import COUNTS, EncodedRows
from sunfish.data.prepare.number_file import NumberFile


class SplitWriter:
    """Appends rows to the files of one split; a context manager that closes them."""

    def __init__(self, folder: Path, split: str, dtype: str) -> None:
        """Nothing is written yet.

        Args:
            folder: Where the files are written.
            split: The beginning of their names.
            dtype: Of the ids, ``uint16`` or ``uint32``.
        """
        self.folder, self.split, self.dtype = folder, split, dtype
        self.counts = {**dict.fromkeys(COUNTS, 0), "rows": 0, "tokens": 0, "bytes": 0}
        self._stack = ExitStack()

    def __enter__(self) -> SplitWriter:
        """Create the files.

        Raises:
            WriteError: There is no room for them.
        """
        with ExitStack() as stack:
            self._stack = stack
            self._tokens, self._prompts = (
                self._file(f"{name}.bin", self.dtype) for name in ("tokens", "prompts")
            )
            self._offsets = self._file("offsets.npy", "int64")
            self._prompt_offsets = self._file("prompt_offsets.npy", "int64")
            self._bytes = self._file("bytes.npy", "int32")
            self._hashes = self._file("hashes.bin", "uint64")
            for offsets in (self._offsets, self._prompt_offsets):
                offsets.append([0])
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def append(self, rows: EncodedRows) -> None:
        """Write the rows of one chunk.

        Raises:
            WriteError: There is no room for them.
        """
        self._offsets.append(self._tokens.count + np.cumsum(rows.lengths, dtype=np.int64))
        self._prompt_offsets.append(self._prompts.count + np.cumsum(rows.prompt_lengths, dtype=np.int64))
        self._tokens.append(rows.tokens)
        self._prompts.append(rows.prompts)
        self._bytes.append(rows.bytes)
        self._hashes.append(rows.hashes)
        totals = {"rows": len(rows.lengths), "tokens": len(rows.tokens), "bytes": sum(rows.bytes)}
        for name, count in (*rows.counts.items(), *totals.items()):
            self.counts[name] += count

    def finish(self) -> Path:
        """Complete the files.

        Returns:
            The hashes of the documents, plain uint64 numbers. The file is no part of a prepared folder.

        Raises:
            WriteError: The disk fails.
        """
        for file in (
            self._tokens,
            self._prompts,
            self._offsets,
            self._prompt_offsets,
            self._bytes,
            self._hashes,
        ):
            file.finish()
        return self._hashes.path

    def _file(self, name: str, dtype: str) -> NumberFile:
        return self._stack.enter_context(closing(NumberFile(self.folder / f"{self.split}.{name}", dtype)))
