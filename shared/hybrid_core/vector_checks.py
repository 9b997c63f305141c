"""Checks of vectors that callers hand in, made before they are searched with or written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidInputError
from .types import Encoding, Fingerprint, FloatArray, SparseVector


def check_dense(vector: ArrayLike, fingerprint: Fingerprint) -> FloatArray:
    """Return a dense vector as float32 (d,).

    Raises:
        InvalidInputError: it is not one row of the encoder's dimension, or holds NaN or infinity.
    """
    row = _floats(vector, "dense")
    if row.shape != (fingerprint.dimension,):
        raise InvalidInputError(
            f"dense has shape {row.shape}; one vector of the encoder's {fingerprint.dimension} dimensions is needed"
        )
    return row


def check_sparse(vector: SparseVector, fingerprint: Fingerprint) -> SparseVector:
    """Return a sparse vector as int32 indices and float32 values.

    Raises:
        InvalidInputError: the indices do not ascend within the encoder's vocabulary, or a value is not finite and > 0.
    """
    if not isinstance(vector, SparseVector):
        raise InvalidInputError(f"sparse is {vector!r:.80}; a SparseVector is needed, see SparseVector.from_dict")
    values = _floats(vector.values, "sparse")
    indices = np.asarray(vector.indices)
    if indices.shape != values.shape or indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise InvalidInputError(
            f"sparse has {indices.dtype} indices {indices.shape} and values {values.shape}; as many integers as values "
            "are needed"
        )
    if (np.diff(indices.astype(np.int64)) <= 0).any():
        raise InvalidInputError("the indices of sparse must ascend without repeats; SparseVector.from_dict sorts them")
    if len(indices) and not 0 <= indices[0] <= indices[-1] < fingerprint.vocabulary:
        raise InvalidInputError(
            f"sparse has indices from {indices[0]} to {indices[-1]}; the encoder's vocabulary is 0 to "
            f"{fingerprint.vocabulary - 1}"
        )
    _check_positive(values)
    return SparseVector(indices.astype(np.int32, copy=False), values, vector.raw)


def check_encoding(encoding: Encoding, count: int, fingerprint: Fingerprint) -> Encoding:
    """Return ready vectors of passages, dense and sparse as float32, without their multi-vectors.

    Raises:
        InvalidInputError: there is not one row a passage, the sides do not have the encoder's dimension and vocabulary,
            a value is not finite, a sparse one is not > 0, or token ids do not ascend in each row.
    """
    if not isinstance(encoding, Encoding):
        raise InvalidInputError(f"encoding is {encoding!r:.80}; an Encoding is needed")
    dense = _floats(encoding.dense, "encoding.dense")
    sparse = encoding.sparse
    for name, shape, width in (
        ("dense", dense.shape, fingerprint.dimension),
        ("sparse", sparse.shape, fingerprint.vocabulary),
    ):
        if shape != (count, width):
            raise InvalidInputError(
                f"encoding.{name} has shape {shape}; {count} passages by this encoder need {(count, width)}"
            )
    if sparse.format != "csr" or not sparse.has_canonical_format:
        raise InvalidInputError(
            "encoding.sparse must be CSR with token ids ascending in each row and no repeats; call its tocsr() and "
            "sum_duplicates()"
        )
    sparse = sparse.astype(np.float32, copy=False)
    _check_positive(_floats(sparse.data, "encoding.sparse"))
    return Encoding(dense, sparse)


def _floats(values: ArrayLike, what: str) -> FloatArray:
    """Return float32, all finite."""
    try:
        array: NDArray[Any] = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} is {values!r:.80}; numbers are needed ({error})") from None
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{what} holds NaN, or a value that float32 cannot hold")
    return array


def _check_positive(weights: FloatArray) -> None:
    if (weights <= 0).any():
        raise InvalidInputError(f"a sparse weight is {weights.min()}; leave out tokens that do not weigh more than 0")
