"""Texts longer than a model takes: overlapping windows, and one score from those of the windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from ..errors import InvalidInputError
from ..types import FloatArray

Pooling: TypeAlias = Literal["max", "first", "top3"]

MOST_WINDOWS = 256  # of a text: 180 pages at 512 tokens; what lies beyond would keep every other caller waiting


def check_pooling(value: object) -> Pooling:
    """Return a way of pooling, or raise InvalidInputError naming those there are."""
    ways: tuple[Pooling, ...] = get_args(Pooling)
    for way in ways:
        if value == way:
            return way
    raise InvalidInputError(f"pooling={value!r:.80} must be one of {', '.join(map(repr, ways))}")


def cut_windows(words: Sequence[int | None], room: int, most: int = MOST_WINDOWS) -> list[tuple[int, int]]:
    """Cut a text into windows of tokens.

    Each window shares about a quarter of the room with the next, so that what one cuts in two the other holds whole.
    Windows begin and end where words do, unless a word is longer than an eighth of the room (a run of Chinese, for
    some tokenizers). The last one is as short as what is left, so that the cost of a text grows with its length.

    Args:
        words: for each token of the text the number of the word it belongs to (`Encoding.word_ids` of tokenizers).
        room: the most tokens of a window, >= 1.
        most: the most windows; the text beyond them is left out.

    Returns:
        Tokens [start, end) of each window, in order; one window for a text that fits, however short.
    """
    count = len(words)
    if count <= room:
        return [(0, count)]
    numbers = np.array([-1 if word is None else word for word in words])
    begins = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1  # tokens that begin a word, the first of the text aside
    overlap, slack = room // 4, room // 8
    windows: list[tuple[int, int]] = []
    start = 0
    while start + room < count and len(windows) < most:
        end = _last(begins, start + room - slack, start + room)
        windows.append((start, end))
        start = _first(begins, end - overlap, end - overlap + slack)
    if len(windows) < most:
        windows.append((start, count))
    return windows


def pool(scores: FloatArray, pooling: Pooling) -> tuple[float, int]:
    """Return the score of a text and the number of its best window, the first of equals.

    Args:
        scores: (windows,) at least one.
        pooling: "max" is the best window's score, "top3" the mean of the three best (of all where there are fewer),
            "first" the first window's.
    """
    if pooling == "first":
        return float(scores[0]), 0
    best = int(np.argmax(scores))
    return float(np.sort(scores)[-3:].mean() if pooling == "top3" else scores[best]), best


def _first(begins: np.ndarray[tuple[int], np.dtype[np.int64]], low: int, high: int) -> int:
    """Return the first beginning of a word in [low, high], or, where there is none, the end that loses nothing."""
    at = int(np.searchsorted(begins, low))
    return int(begins[at]) if at < len(begins) and begins[at] <= high else low


def _last(begins: np.ndarray[tuple[int], np.dtype[np.int64]], low: int, high: int) -> int:
    """Return the last beginning of a word in [low, high], or `high` where there is none."""
    at = int(np.searchsorted(begins, high, side="right")) - 1
    return int(begins[at]) if at >= 0 and begins[at] >= low else high
