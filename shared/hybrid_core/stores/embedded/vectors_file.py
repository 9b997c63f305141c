"""The dense vectors: one file, row after row, only ever appended to, and read through a memory map.

SQLite says how many rows count; what a killed or failed write left behind them is overwritten by the next. So a row
never changes once a commit has named it, and a map of the file may be read without a lock.
"""

from __future__ import annotations

import mmap
import os
import secrets
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import IndexCorruptError
from ...types import DenseType, FloatArray
from .database import sync_folder

_PIECE, _FEW = 4_096, 256  # rows converted, and rows picked, at a time: they stay in the processor's cache


_SUFFIXES: dict[DenseType, str] = {"float32": ".f32", "float16": ".f16"}


def new_name(dtype: DenseType) -> str:
    """Return a name for a file of vectors, which says how they are kept; float16 rounds to about three digits."""
    return f"vectors-{secrets.token_hex(4)}{_SUFFIXES[dtype]}"


def dtype_of(name: str) -> DenseType:
    """Return how the vectors of a file are kept."""
    return "float16" if name.endswith(".f16") else "float32"


class VectorsFile:
    """Rows of one length and type.

    Args:
        path: the file, by a name that `new_name` gave; made by the first `append`.
        dimension: numbers in a row.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self.path = path
        self._dimension = dimension
        self._dtype = np.dtype(dtype_of(path.name)).newbyteorder("<")
        self._width = dimension * self._dtype.itemsize
        self._map: mmap.mmap | None = None

    def append(self, place: int, rows: FloatArray) -> int:
        """Write rows (n, d) from a place on, have them on disk, and return their checksum.

        Raises:
            IndexCorruptError: the file is gone, or shorter than what was written before.
            OSError: no space.
        """
        content = np.ascontiguousarray(rows, dtype=self._dtype)
        there = self.path.exists()
        if place and not there:
            raise self._damaged("is gone")
        with self.path.open("r+b" if there else "x+b") as file:
            if file.seek(0, os.SEEK_END) < place * self._width:
                raise self._damaged("is too short")
            file.seek(place * self._width)
            file.write(content.data)
            file.flush()
            os.fsync(file.fileno())
        if not there:
            sync_folder(self.path.parent)
        return zlib.crc32(content.data)

    def rows(self, count: int) -> NDArray[np.floating]:
        """Return the first rows (count, d), in the file's own type, without reading them yet.

        Raises:
            IndexCorruptError: the file is gone or too short.
        """
        needed = count * self._width
        if not needed:
            return np.empty((0, self._dimension), dtype=self._dtype)
        if self._map is None or len(self._map) < needed:
            try:
                with self.path.open("rb") as file:
                    if os.fstat(file.fileno()).st_size < needed:
                        raise self._damaged("is too short")
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except FileNotFoundError:
                raise self._damaged("is gone") from None
        flat = np.frombuffer(self._map, dtype=self._dtype, count=count * self._dimension)
        return flat.reshape(count, self._dimension)

    def check(self, place: int, count: int, checksum: int) -> None:
        """Raise IndexCorruptError unless rows that one `append` wrote are as they were written."""
        if zlib.crc32(self.rows(place + count)[place:].data) != checksum:
            raise self._damaged("is not as it was written")

    def _damaged(self, how: str) -> IndexCorruptError:
        return IndexCorruptError(f"{self.path} {how}; restore the folder from a backup, or index again")


def scan(rows: NDArray[np.floating], vector: FloatArray) -> FloatArray:
    """Return the inner products of rows (n, d) with a vector (d,), approximate to float32's rounding."""
    out = np.empty(len(rows), dtype=np.float32)
    if rows.dtype == np.float32:
        return np.matmul(rows, vector, out=out)
    for start in range(0, len(rows), _PIECE):
        out[start : start + _PIECE] = rows[start : start + _PIECE].astype(np.float32) @ vector
    return out


def scan_some(rows: NDArray[np.floating], places: NDArray[np.int64], vector: FloatArray) -> FloatArray:
    """Return the inner products of the rows at some places, in pieces that stay in the cache."""
    out = np.empty(len(places), dtype=np.float32)
    for start in range(0, len(places), _FEW):
        out[start : start + _FEW] = rows[places[start : start + _FEW]].astype(np.float32, copy=False) @ vector
    return out
