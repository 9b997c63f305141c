"""Texts end to end in one row, the blocks of it that a layer works on, and the groups that attention runs over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...types import IntArray


@dataclass(frozen=True, slots=True)
class Layout:
    """How a device likes its texts.

    Attributes:
        block: tokens that pass through a layer together; states of more would not stay in a CPU's cache.
        least_filled: in (0, 1], of the row of each text in an attention group that is as wide as its longest; at 1.0
            texts of one length alone share a group, and nothing is padded.
        few_shapes: whether a number of rows costs something when it is new.
    """

    block: int
    least_filled: float
    few_shapes: bool

    @classmethod
    def of(cls, device: str) -> Layout:
        """Return that of a torch device.

        On the CPU a call of attention costs so little that any padding costs more; on a GPU a seventh of padding is
        the lesser evil. oneDNN compiles a kernel for each number of rows that a layer sees, 270 to 600 kB as measured,
        and keeps the latest 1,024 of them (its ONEDNN_PRIMITIVE_CACHE_CAPACITY).
        """
        return cls(512, 1.0, True) if device.startswith("cpu") else cls(2**62, 0.85, False)

    def rows(self, count: int) -> int:
        """Return the number of rows that so many are lengthened to."""
        if not self.few_shapes:
            return count
        step = 4 if count <= 32 else 8 if count <= 64 else 16
        return -(-count // step) * step


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Texts that follow each other in a block and are of like length.

    Attributes:
        start, end: their tokens in the block.
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
class Block:
    """Texts of a pack that pass through a layer together.

    Attributes:
        start, end: their tokens in the pack.
        rows: at least as many; those over are copies of the first.
        first: where each text begins in the block.
        groups: what attention runs over, one after the other.
    """

    start: int
    end: int
    rows: int
    first: NDArray[np.int64]
    groups: tuple[Group, ...]


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

    def blocks(self, layout: Layout) -> tuple[Block, ...]:
        """Cut the pack between texts; a text longer than a block makes one alone."""
        ends = np.cumsum(self.lengths)
        blocks, begin, start = [], 0, 0
        while begin < len(ends):
            end = max(begin + 1, int(np.searchsorted(ends, start + layout.block, side="right")))
            lengths, stop = self.lengths[begin:end], int(ends[end - 1])
            first = np.cumsum(lengths) - lengths
            blocks.append(Block(start, stop, layout.rows(stop - start), first, _groups(lengths, layout.least_filled)))
            begin, start = end, stop
        return tuple(blocks)

    def token_order(self) -> NDArray[np.int64]:
        """Return, for the tokens in the order the texts were given, where each stands in the pack."""
        back = np.argsort(self.order)
        lengths, first = self.lengths[back], self.first[back]
        ends = np.cumsum(lengths)
        return np.repeat(first - (ends - lengths), lengths) + np.arange(int(ends[-1]))


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


def _groups(lengths: NDArray[np.int64], least_filled: float) -> tuple[Group, ...]:
    """Cut texts, longest first, where one would leave too much of its row empty."""
    groups, begin, start = [], 0, 0
    while begin < len(lengths):
        rest = lengths[begin:]
        end = begin + int(np.searchsorted(-rest, -least_filled * rest[0], side="right"))
        size = int(lengths[begin:end].sum())
        groups.append(Group(start, start + size, lengths[begin:end]))
        begin, start = end, start + size
    return tuple(groups)
