"""Owns a file of numbers that grows while it is written, so that no number stays in memory."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from sunfish.disk.writing import write_all, writing


class NumberFile:
    """Appends numbers to a file: plain ones, or an array of NumPy where its name ends in ``.npy``.

    Attributes:
        path: The file.
        count: Numbers in it.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        """Create the file.

        Args:
            path: Where.
            dtype: Of the numbers.

        Raises:
            WriteError: There is no room for it.
        """
        self.path, self.count = path, 0
        self._dtype = np.dtype(dtype)
        with writing(path):
            self._file = path.open("wb", buffering=0)
            write_all(self._file, self._header())

    def append(self, numbers: ArrayLike) -> None:
        """Write numbers at the end.

        Args:
            numbers: ``[n]``; they fit into the type of the file.

        Raises:
            WriteError: There is no room for them.
        """
        array = np.asarray(numbers).astype(self._dtype, copy=False)
        with writing(self.path):
            write_all(self._file, array.view(np.uint8).data)
        self.count += len(array)

    def finish(self) -> None:
        """Write how many numbers there are, and close the file.

        Raises:
            WriteError: The disk fails.
        """
        with writing(self.path):
            self._file.seek(0)
            write_all(self._file, self._header())  # as long as the first one: NumPy leaves room for 21 digits
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _header(self) -> bytes:
        if self.path.suffix != ".npy":
            return b""
        header = BytesIO()
        about = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(header, about)
        return header.getvalue()
