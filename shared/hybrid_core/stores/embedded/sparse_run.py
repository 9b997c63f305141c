"""A run: the postings of the passages of one stretch of places, in memory or mapped from files."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray, IntArray, SparseVector
from ..scoring import sparse_matrix

_HEADER = 256  # bytes
SPAN = 1 << 16  # places of a stretch: a place in it has 16 bits
_TABLE = 1 << 22  # up to this many ids, sorting by counting beats sorting by comparing


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Postings by token: those of tokens[i] are rows and weights [starts[i] : starts[i + 1]]; all ascending.

    Attributes:
        tokens: those that occur, and no others, so that ids may be as sparse as hashes.
        starts: int64, one more than there are tokens.
        rows: uint16, places from the beginning of the stretch.
        weights: float32.
        blank: uint16, the passages without any token.
    """

    tokens: IntArray
    starts: NDArray[np.int64]
    rows: NDArray[np.uint16]
    weights: FloatArray
    blank: NDArray[np.uint16]

    def find(self, tokens: IntArray) -> Iterator[tuple[int, int, int]]:
        """Yield (position among the ascending tokens asked for, begin and end of its postings) of those that occur."""
        if not len(self.tokens):
            return
        tokens = tokens.astype(self.tokens.dtype, copy=False)  # else all of ours would be converted, each time
        places = np.searchsorted(self.tokens, tokens)
        places[places == len(self.tokens)] = 0
        known = np.flatnonzero(self.tokens[places] == tokens)
        begins, ends = self.starts[places[known]].tolist(), self.starts[places[known] + 1].tolist()
        yield from zip(known.tolist(), begins, ends, strict=True)


def sort_rows(places: Sequence[int], rows: Sequence[SparseVector]) -> Run:
    """Turn rows into postings.

    Args:
        places: ascending, from the beginning of the stretch.
        rows: one a place.
    """
    from scipy.sparse import csr_array

    width = 1 + max((int(row.indices[-1]) for row in rows if len(row.indices)), default=0)
    matrix = sparse_matrix(rows, width)
    tokens = None
    if width > _TABLE:  # a table of all ids would be mostly empty: number those that occur
        tokens, numbers = np.unique(matrix.indices, return_inverse=True)
        matrix = csr_array((matrix.data, numbers.astype(np.int32), matrix.indptr), shape=(len(rows), len(tokens)))
    blank = [place for place, row in zip(places, rows, strict=True) if not len(row.indices)]
    columns = matrix.tocsc()
    starts = columns.indptr.astype(np.int64)
    if tokens is None:
        tokens = np.flatnonzero(np.diff(starts)).astype(np.int32)
        starts = np.append(starts[tokens], starts[-1])
    where = np.array(places, dtype=np.uint16)[columns.indices]
    return Run(tokens, starts, where, columns.data, np.array(blank, dtype=np.uint16))


def merge(a: Run, b: Run) -> Run:
    """Join two runs of one stretch; every place of b is greater than every place of a."""
    tokens = np.union1d(a.tokens, b.tokens)
    in_a, in_b = np.searchsorted(tokens, a.tokens), np.searchsorted(tokens, b.tokens)
    of_a, of_b = np.zeros((2, len(tokens)), dtype=np.int64)
    of_a[in_a], of_b[in_b] = np.diff(a.starts), np.diff(b.starts)
    starts = np.concatenate([[0], np.cumsum(of_a + of_b)])
    # of each token a's entries come first, then b's
    at_a = np.arange(len(a.rows)) + np.repeat(starts[in_a] - a.starts[:-1], np.diff(a.starts))
    at_b = np.arange(len(b.rows)) + np.repeat(starts[in_b] + of_a[in_b] - b.starts[:-1], np.diff(b.starts))
    rows = np.empty(len(at_a) + len(at_b), dtype=np.uint16)
    weights = np.empty(len(rows), dtype=np.float32)
    rows[at_a], rows[at_b] = a.rows, b.rows
    weights[at_a], weights[at_b] = a.weights, b.weights
    return Run(tokens, starts, rows, weights, np.concatenate([a.blank, b.blank]))


def save_run(run: Run, path: Path) -> int:
    """Write a run to one new file, have it on disk, and return its checksum."""
    arrays = [np.ascontiguousarray(getattr(run, field.name)) for field in fields(run)]
    header = json.dumps([[array.dtype.str, len(array)] for array in arrays]).encode()
    checksum = 0
    with path.open("xb") as file:
        for content in [header.ljust(_HEADER), *(array.tobytes() for array in arrays)]:
            content += bytes(-len(content) % 8)  # every array begins where a map can be read from
            file.write(content)
            checksum = zlib.crc32(content, checksum)
        file.flush()
        os.fsync(file.fileno())
    return checksum


def load_run(path: Path, checksum: int) -> Run:
    """Map a run's file.

    Raises:
        ValueError: it is not as it was written.
        OSError: it cannot be read.
    """
    content = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    if zlib.crc32(content.data) != checksum:
        raise ValueError(f"{path} is not as it was written")
    arrays, at = [], _HEADER
    for kind, length in json.loads(bytes(content[:_HEADER])):
        dtype = np.dtype(kind)
        size = length * dtype.itemsize
        arrays.append(content[at : at + size].view(dtype))
        at += size + -size % 8
    return Run(*arrays)
