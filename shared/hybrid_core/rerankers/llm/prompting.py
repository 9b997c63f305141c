"""What the prompts of several models have in common: the rows of a call, and texts too long for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidInputError
from ...types import FloatArray, IntArray
from ..base import Span, Windowed
from ..windows import Pooling, cut_windows, pool_all, trimmed

_SPARE = 8  # tokens left free in a row of a window: its text alone may split into a few more than within the whole


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The texts of one call in pieces that fit, each tokenised in its place in the prompt.

    Attributes:
        ids: of each piece, the words around it included; those of a text that is to be cut are still whole.
        windows: for each text the characters of each of its pieces; (None,) of one that is a piece as a whole.
        cut: how many texts have an end that is in no piece.
    """

    ids: list[list[int]]
    windows: list[tuple[Span | None, ...]]
    cut: int


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """The prompts of one call, as token ids.

    Attributes:
        rows: one a text that fits, one a window of the others.
        windows: for each text the characters of each of its rows; (None,) of one that a single row holds whole.
        pooling: how the rows of a text make its score.
        cut: how many texts have an end that no row holds.
        query_cut: whether the query's end is left out.
        before, after: tokens ahead of the text and behind it, the same in all rows; for models that compress the text.
    """

    rows: list[IntArray]
    windows: list[tuple[Span | None, ...]]
    pooling: Pooling
    cut: int
    query_cut: bool
    before: int = 0
    after: int = 0

    @property
    def tokens(self) -> int:
        """All tokens, for the queue."""
        return sum(map(len, self.rows))

    def pooled(self, scores: FloatArray) -> Windowed:
        """Return for each text one score from those of its rows, and its best window."""
        return pool_all(scores, self.windows, self.pooling)

    def text_of(self, row: int) -> int:
        """Return the position of the text that a row is of."""
        return int(np.searchsorted(np.cumsum([len(spans) for spans in self.windows]), row, side="right"))


def read(
    tokenizer: Any,
    prefix: str,
    texts: Sequence[str],
    suffix: str = "",
    *,
    room: int,
    pooling: Pooling,
    special: bool = False,
) -> Pieces:
    """Tokenise texts between words that stand around each, those that do not fit in overlapping windows.

    A window is tokenised as a text of its own, so that alone it would get the score that it gets here.

    Args:
        tokenizer: of `tokenizers`.
        prefix: the words ahead.
        texts: any number of texts.
        suffix: the words behind.
        room: the most tokens of a piece with the words around it.
        pooling: "first" needs the first window only, and that is what a cut leaves of the text.
        special: whether the tokenizer adds its special tokens.

    Raises:
        InvalidInputError: a text does not fit, and the words around it alone fill the room.
    """
    whole = tokenizer.encode_batch_fast([prefix + text + suffix for text in texts], add_special_tokens=special)
    ids: list[list[int]] = []
    windows: list[tuple[Span | None, ...]] = []
    cut = 0
    for text, item in zip(texts, whole, strict=True):
        if len(item.ids) <= room:
            ids.append(item.ids)
            windows.append((None,))
            continue
        offsets = _offsets(tokenizer, prefix, text, suffix)
        left = room - len(item.ids) + len(offsets)
        if left < 1:
            raise InvalidInputError(
                f"what stands around a text takes {len(item.ids) - len(offsets)} of {room} tokens, which leaves it no "
                "room: shorten the instruction, or raise max_length"
            )
        first = [(0, min(left, len(offsets)))]
        parts = first if pooling == "first" else cut_windows(_words(text, offsets), left - min(_SPARE, left // 8))
        spans = [trimmed(text, offsets[start][0], offsets[end - 1][1]) for start, end in parts]
        if pooling == "first":
            ids.append(item.ids)
        else:
            alone = [prefix + text[start:end] + suffix for start, end in spans]
            ids.extend(piece.ids for piece in tokenizer.encode_batch_fast(alone, add_special_tokens=special))
        windows.append(tuple(spans))
        cut += parts[-1][1] < len(offsets)
    return Pieces(ids, windows, cut)


def shorten(tokenizer: Any, text: str, tokens: int) -> str:
    """Return a text's beginning of at most that many tokens; a query must leave room for the passage."""
    found = tokenizer.encode(text, add_special_tokens=False)
    return text if len(found.ids) <= tokens else text[: found.offsets[tokens - 1][1]]


def _offsets(tokenizer: Any, prefix: str, text: str, suffix: str) -> list[Span]:
    """Return the characters of each of a text's own tokens, those around it left out."""
    found = tokenizer.encode(prefix + text + suffix, add_special_tokens=False).offsets
    start, end = len(prefix), len(prefix) + len(text)
    lead = sum(stop <= start for _, stop in found)
    last = next((i for i, (begin, _) in enumerate(found) if i >= lead and begin >= end), len(found))
    return [(max(0, a - start), min(len(text), b - start)) for a, b in found[lead:last]]


def _words(text: str, offsets: Sequence[Span]) -> list[int]:
    """Return for each token the number of its word: words are what white space parts, whatever the tokenizer."""
    numbers, number, before = [], 0, -1
    for start, _ in offsets:
        blank = text[start : start + 1].isspace() or (start > 0 and text[start - 1].isspace())
        number += blank and start != before  # tokens that are bytes of one character begin where it does
        numbers.append(number)
        before = start
    return numbers
