"""Texts longer than a model takes: overlapping windows, and one score from those of the windows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from ..errors import InvalidInputError
from ..types import FloatArray
from .base import Span, Windowed

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


def cut_text(text: str, room: int) -> list[Span]:
    """Cut a text whose tokens are not known into windows, as `cut_windows` does.

    Args:
        text: not empty.
        room: the most bytes of UTF-8 of a window, about; a text that mixes scripts may exceed it somewhere.

    Returns:
        Characters [start, end) of each window, in order.
    """
    characters = max(1, room * len(text) // len(text.encode()))
    blank = np.array([character.isspace() for character in text])
    begins = np.flatnonzero(blank[:-1] & ~blank[1:]) + 1
    words = np.searchsorted(begins, np.arange(len(text)), side="right")
    return [trimmed(text, start, end) for start, end in cut_windows(words.tolist(), characters)]


def trimmed(text: str, start: int, end: int) -> Span:
    """Return a span without the white space at its ends, unless it is nothing else."""
    part = text[start:end]
    if not part.strip():
        return start, end
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


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


def pool_all(scores: FloatArray, windows: Sequence[tuple[Span | None, ...]], pooling: Pooling) -> Windowed:
    """Return for each text one score from those of its windows, and its best window.

    Args:
        scores: one a window, those of a text behind those of the text before.
        windows: for each text the characters of each of its windows; (None,) of one that is read as a whole.
        pooling: how the windows of a text make its score.
    """
    if len(scores) == len(windows):  # one window a text: nothing to pool
        return Windowed(scores, [spans[0] for spans in windows])
    parts = np.split(scores, np.cumsum([len(spans) for spans in windows])[:-1])
    found = [pool(part, pooling) for part in parts]
    best = [spans[number] for spans, (_, number) in zip(windows, found, strict=True)]
    return Windowed(np.array([score for score, _ in found], dtype=np.float32), best)


class Reports:
    """Warnings about what is not read, each given once.

    Args:
        logger: of the module that reads.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._given: set[str] = set()

    def give(self, message: str, *values: object) -> None:
        """Log a warning unless the same, whatever its values, was logged before."""
        if message not in self._given:
            self._given.add(message)
            self._logger.warning(message, *values)


def _first(begins: np.ndarray[tuple[int], np.dtype[np.int64]], low: int, high: int) -> int:
    """Return the first beginning of a word in [low, high], or, where there is none, the end that loses nothing."""
    at = int(np.searchsorted(begins, low))
    return int(begins[at]) if at < len(begins) and begins[at] <= high else low


def _last(begins: np.ndarray[tuple[int], np.dtype[np.int64]], low: int, high: int) -> int:
    """Return the last beginning of a word in [low, high], or `high` where there is none."""
    at = int(np.searchsorted(begins, high, side="right")) - 1
    return int(begins[at]) if at >= 0 and begins[at] >= low else high
