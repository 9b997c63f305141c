"""A query and texts as the rows of tokens that a cross-encoder reads: one a text that fits, one a window of others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInputError, ModelLoadError
from ..types import FloatArray, IntArray
from .base import Span, Windowed
from .windows import MOST_WINDOWS, Pooling, Reports, cut_windows, pool_all

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The rows of one call; a queue's job.

    Attributes:
        rows: token ids of each row.
        types: token types of each row, for a model that tells the two texts apart by them; else empty.
        windows: for each text the characters of each of its windows; (None,) of one that a single row holds whole.
    """

    rows: list[IntArray]
    types: list[IntArray]
    windows: list[tuple[Span | None, ...]]

    @property
    def tokens(self) -> int:
        """What the rows weigh together."""
        return sum(map(len, self.rows))

    def pooled(self, scores: FloatArray, pooling: Pooling) -> Windowed:
        """Return for each text one score from those of its rows, and its best window."""
        return pool_all(scores, self.windows, pooling)


class PairBuilder:
    """Builds rows as the model's own tokenizer builds pairs, and cuts what does not fit instead of losing it.

    A text that fits beside the query gives the very row that the tokenizer gives. Where the two do not fit, a query
    over half the room is cut to half the room, and the text is cut into windows that each stand beside the query.

    Args:
        tokenizer: a `tokenizers.Tokenizer` without truncation and padding; threads may share it.
        name: of the checkpoint, for errors.
        max_length: tokens of a row.
        typed: whether the model reads token types.
        pooling: "first" needs the first window only.

    Raises:
        ModelLoadError: the tokenizer does not put query, then text, between its special tokens.
        InvalidInputError: max_length leaves no room for both.
    """

    def __init__(self, tokenizer: Any, name: str, *, max_length: int, typed: bool, pooling: Pooling) -> None:
        self._tokenizer, self._typed, self._pooling = tokenizer, typed, pooling
        self._frame = _Frame.of(tokenizer, name)
        self._room = max_length - self._frame.special
        if self._room < 2:
            raise InvalidInputError(
                f"max_length={max_length} leaves no room for query and text beside {self._frame.special} special "
                f"tokens; {self._frame.special + 2} is the least"
            )
        self._reports = Reports(logger)

    def build(self, query: str, texts: Sequence[str]) -> Pairs:
        """Return the rows of a query with each text, in order."""
        [asked, *encoded] = self._tokenizer.encode_batch([query, *texts], add_special_tokens=False)
        whole = np.array(asked.ids, dtype=np.int32)
        short = whole[: max(1, self._room // 2)]
        pairs = Pairs([], [], [])
        cut = beyond = 0
        for text in encoded:
            ids = np.array(text.ids, dtype=np.int32)
            if len(whole) + len(ids) <= self._room:
                self._add(pairs, whole, ids)
                pairs.windows.append((None,))
                continue
            cut += len(short) < len(whole)
            room = self._room - len(short)
            first = [(0, min(room, len(ids)))]
            windows = first if self._pooling == "first" else cut_windows(text.word_ids, room)
            beyond += windows[-1][1] < len(ids)
            for start, end in windows:
                self._add(pairs, short, ids[start:end])
            pairs.windows.append(_spans(text.offsets, windows, len(ids)))
        if cut:
            self._reports.give(
                "the query has %d tokens, over half of the %d that query and text share, and is cut to %d beside texts "
                "that do not fit next to it. Shorten it, or raise max_length. Reported once.",
                len(whole), self._room, len(short),
            )  # fmt: skip
        if beyond and self._pooling == "first":
            self._reports.give(
                "%d of %d texts are longer than the first window, and pooling='first' reads no other. Reported once.",
                beyond, len(texts),
            )  # fmt: skip
        elif beyond:
            self._reports.give(
                "%d of %d texts have over %d windows; what lies beyond is not scored. Split such texts, or raise "
                "max_length. Reported once.", beyond, len(texts), MOST_WINDOWS,
            )  # fmt: skip
        return pairs

    def _add(self, pairs: Pairs, query: IntArray, text: IntArray) -> None:
        frame = self._frame
        pairs.rows.append(np.concatenate([frame.ids[0], query, frame.ids[1], text, frame.ids[2]]))
        if self._typed:
            first, second = (np.full(len(part), kind) for part, kind in zip((query, text), frame.kinds, strict=True))
            kinds = np.concatenate([frame.types[0], first, frame.types[1], second, frame.types[2]])
            pairs.types.append(kinds.astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """What a tokenizer puts before, between and behind the two texts of a pair.

    Attributes:
        ids, types: of the special tokens, three arrays each.
        kinds: the token types of the first and of the second text.
    """

    ids: tuple[IntArray, ...]
    types: tuple[IntArray, ...]
    kinds: tuple[int, int]

    @property
    def special(self) -> int:
        """How many special tokens a pair has."""
        return sum(map(len, self.ids))

    @classmethod
    def of(cls, tokenizer: Any, name: str) -> _Frame:
        """Read the frame off a pair."""
        pair = tokenizer.encode("a", "a")
        sides = [-1 if side is None else side for side in pair.sequence_ids]
        ids, types = (np.array(values, dtype=np.int32) for values in (pair.ids, pair.type_ids))
        places = [np.flatnonzero(np.equal(sides, side)) for side in (0, 1)]
        if not all(map(len, places)) or places[0][-1] > places[1][0]:
            raise ModelLoadError(f"the tokenizer of {name!r} does not put a query before a text; it is no reranker's")
        (q0, q1), (t0, t1) = ((int(place[0]), int(place[-1]) + 1) for place in places)
        parts = slice(0, q0), slice(q1, t0), slice(t1, None)
        kinds = int(types[q0]), int(types[t0])
        return cls(tuple(ids[part] for part in parts), tuple(types[part] for part in parts), kinds)


def _spans(offsets: Sequence[Span], windows: list[tuple[int, int]], count: int) -> tuple[Span | None, ...]:
    """Return the characters of each window; None of one that holds all tokens, which only a cut query needs."""
    if windows == [(0, count)]:
        return (None,)
    return tuple((offsets[start][0], offsets[end - 1][1]) for start, end in windows)
