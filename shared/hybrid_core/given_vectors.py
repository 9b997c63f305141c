"""Dense vectors that come with passages: taken if the encoder made them, refused if another model did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from .encoders.base import Encoder
from .errors import ModelMismatchError
from .types import Encoding
from .vector_checks import check_dense

_APART = 1.0  # a cosine of 0.5: another model's vectors lie about at a right angle, this one's differ by precision
_LONGER = 0.01


def with_dense(encoder: Encoder, encoding: Encoding, given: Sequence[ArrayLike | None]) -> Encoding:
    """Return an encoding with the dense vectors that are given in place of its own.

    Args:
        encoder: which made the encoding.
        encoding: of n passages.
        given: n vectors (d,), of unit length as the encoder's; None leaves the encoding's own.

    Raises:
        ModelMismatchError: a vector given is not of the encoder's dimension or length, or lies far from the one that it
            made of the same passage: another model made it, or the passage has changed since.
        InvalidInputError: it holds NaN, infinity, or what is no number.
    """
    dense = encoding.dense.copy()
    for i, vector in enumerate(given):
        if vector is None:
            continue
        row = np.asarray(vector)
        if row.shape == dense[i].shape:
            row = check_dense(vector, encoder.fingerprint)
            lengths = np.linalg.norm([row, dense[i]], axis=1)
            if np.linalg.norm(row - dense[i]) <= _APART and abs(lengths[0] - lengths[1]) <= _LONGER:
                dense[i] = row
                continue
        raise ModelMismatchError(
            f"passage {i} comes with a vector of shape {row.shape} that {encoder!r} does not give for its text: embed "
            "passages with this encoder, or leave their vectors out"
        )
    return replace(encoding, dense=dense)
