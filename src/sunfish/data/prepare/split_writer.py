"""Writes the rows of a split to the files of a prepared folder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sunfish.data.prepare.encode import COUNTS, EncodedRows
from sunfish.disk.writing import write_all, writing


class SplitWriter:
    """Appends rows to the files of one split; a context manager that closes them."""

    def __init__(self, folder: Path, split: str, dtype: str) -> None:
        """Create the files.

        Args:
            folder: Where they are written.
            split: The beginning of their names.
            dtype: Of the ids, ``uint16`` or ``uint32``.
        """
        self.folder, self.split, self.dtype = folder, split, dtype
        self.counts = dict.fromkeys(COUNTS, 0)
        self._files = ExitStack()
        self._tokens, self._prompts = (
            self._files.enter_context((folder / f"{split}.{name}.bin").open("wb", buffering=0))
            for name in ("tokens", "prompts")
        )
        self._lengths: list[NDArray[np.int64]] = []
        self._prompt_lengths: list[NDArray[np.int64]] = []
        self._bytes: list[NDArray[np.int32]] = []
        self._hashes: list[NDArray[np.uint64]] = []

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def append(self, rows: EncodedRows) -> None:
        """Write the rows of one chunk.

        Raises:
            WriteError: There is no room for them.
        """
        for file, ids in ((self._tokens, rows.tokens), (self._prompts, rows.prompts)):
            with writing(Path(str(file.name))):
                write_all(file, np.asarray(ids).astype(self.dtype).tobytes())
        self._lengths.append(np.asarray(rows.lengths))
        self._prompt_lengths.append(np.asarray(rows.prompt_lengths))
        self._bytes.append(np.asarray(rows.bytes))
        self._hashes.append(np.asarray(rows.hashes))
        for name, count in rows.counts.items():
            self.counts[name] += count

    def finish(self) -> tuple[dict[str, int], NDArray[np.uint64]]:
        """Close the files and write the arrays of the split.

        Returns:
            The counts for the manifest, and the sorted hashes of the distinct documents.

        Raises:
            WriteError: There is no room for them.
        """
        self._files.close()
        lengths, sizes = _join(self._lengths, "int64"), _join(self._bytes, "int32")
        self._save("offsets", _offsets(lengths))
        self._save("prompt_offsets", _offsets(_join(self._prompt_lengths, "int64")))
        self._save("bytes", sizes)
        hashes = np.unique(_join(self._hashes, "uint64"))
        totals = {"rows": len(lengths), "tokens": int(lengths.sum()), "bytes": int(sizes.sum())}
        return {**self.counts, **totals, "distinct": len(hashes)}, hashes

    def _save(self, name: str, array: np.ndarray) -> None:
        path = self.folder / f"{self.split}.{name}.npy"
        with writing(path), path.open("wb", buffering=0) as file:  # np.save would not say why it fails
            header = BytesIO()
            np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
            write_all(file, header.getvalue() + array.tobytes())


def _join(arrays: Iterable[np.ndarray], dtype: str) -> np.ndarray:
    """All arrays in one; the empty one keeps the type where there is none."""
    return np.concatenate([np.empty(0, dtype), *arrays])


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """Where each row begins, and where the last one ends, ``[rows + 1]`` int64."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype("int64")
