"""Whether vectors fit the passages and the model, asked by every store before it writes any: nobody can tell later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import EmbeddingError, InvalidInputError
from ..types import Encoding, Fingerprint, Passage


def check_fit(passages: Sequence[Passage], encoding: Encoding, fingerprint: Fingerprint | None) -> None:
    """Check that row i of an encoding can be the vectors of passage i.

    Args:
        passages: what is to be written.
        encoding: their vectors; it may have more rows.
        fingerprint: of the model; None leaves the lengths open.

    Raises:
        InvalidInputError: there are too few rows, or they are not of the lengths that the fingerprint says.
        EmbeddingError: one holds NaN or infinity, by which no passage could be ranked any more.
    """
    n, dense, sparse = len(passages), encoding.dense.shape, encoding.sparse.shape
    width = dense[-1] if fingerprint is None else fingerprint.dimension
    vocabulary = sparse[-1] if fingerprint is None else fingerprint.vocabulary
    if len(dense) != 2 or min(dense[0], sparse[0]) < n or (dense[1], sparse[1]) != (width, vocabulary):
        raise InvalidInputError(
            f"{n} passages with dense vectors of shape {dense} and sparse ones of {sparse}; ({n}, {width}) and "
            f"({n}, {vocabulary}) are needed, which is what the encoder's fingerprint says it makes"
        )
    for rows, side in ((encoding.dense[:n], "dense"), (encoding.sparse.data, "sparse")):
        if not np.isfinite(rows).all():
            bad = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))[0]
            row = bad if side == "dense" else np.searchsorted(encoding.sparse.indptr, bad, side="right") - 1
            if row < n:
                raise EmbeddingError(
                    f"the {side} vector of passage {row} (id {passages[row].id!r:.80}) holds NaN or infinity; nothing "
                    "of this call was written"
                )
