"""Texts end to end in one row, without padding, and the groups of like length that attention runs over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...types import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Texts that follow each other in the pack and are of like length.

    Attributes:
        start, end: their tokens in the pack.
        lengths: of each text.
    """

    start: int
    end: int
    lengths: NDArray[np.int64]

    @property
    def even(self) -> bool:
        """Whether all are of one length, so that a view of the pack does and nothing is padded."""
        return bool(self.lengths[0] == self.lengths[-1])

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return for (n, longest) which token of the group stands there (0 where none does), and where one does."""
        longest = int(self.lengths[0])
        real = np.arange(longest) < self.lengths[:, None]
        first = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        return np.where(real, first[:, None] + np.arange(longest), 0), real


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Some texts as one row of tokens, longest text first.

    Attributes:
        order: for each text of the pack its number among the texts given.
        lengths: of each text of the pack.
        ids: (tokens,) vocabulary ids.
        positions: (tokens,) rows of the position embeddings.
        types: (tokens,) token types.
    """

    order: NDArray[np.int64]
    lengths: NDArray[np.int64]
    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    types: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.int64]:
        """Where each text of the pack begins."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def groups(self, least_filled: float) -> tuple[Group, ...]:
        """Return what attention runs over, one after the other.

        Args:
            least_filled: in (0, 1], of the row of each text in a group that is as wide as its longest; a shorter text
                begins a new group. At 1.0 texts of one length alone share a group, and nothing is padded.
        """
        groups, begin, start = [], 0, 0
        while begin < len(self.lengths):
            rest = self.lengths[begin:]
            end = begin + int(np.searchsorted(-rest, -least_filled * rest[0], side="right"))
            size = int(self.lengths[begin:end].sum())
            groups.append(Group(start, start + size, self.lengths[begin:end]))
            begin, start = end, start + size
        return tuple(groups)

    def token_order(self) -> NDArray[np.int64]:
        """Return, for the tokens in the order the texts were given, where each stands in the pack."""
        back = np.argsort(self.order)
        lengths, first = self.lengths[back], self.first[back]
        ends = np.cumsum(lengths)
        return np.repeat(first - (ends - lengths), lengths) + np.arange(int(ends[-1]))


def least_filled(device: str) -> float:
    """Return how full the rows of an attention group have to be.

    On the CPU a call costs so little that any padding costs more. On a GPU that of a seventh is the lesser evil.
    """
    return 1.0 if device.startswith("cpu") else 0.85


def pack(rows: Sequence[IntArray], types: Sequence[IntArray] | None, pad_id: int | None) -> Pack:
    """Lay texts end to end.

    Args:
        rows: token ids of each text, at least one a text.
        types: token types of each text; None is all zero.
        pad_id: the padding id of models whose positions count from behind it and pass it over (RoBERTa); None where
            positions count from 0 (BERT).
    """
    sizes = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    order = np.argsort(-sizes, kind="stable")
    lengths = sizes[order]
    ids = np.concatenate([rows[i] for i in order]).astype(np.int64)
    kinds = np.zeros(len(ids), dtype=np.int64)
    if types is not None:
        kinds = np.concatenate([types[i] for i in order]).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    if pad_id is None:
        positions = np.arange(len(ids)) - np.repeat(first, lengths)
    else:
        counted = ids != pad_id
        total = np.cumsum(counted)
        positions = np.where(counted, total - np.repeat(total[first] - counted[first], lengths), 0) + pad_id
    return Pack(order, lengths, ids, positions, kinds)
