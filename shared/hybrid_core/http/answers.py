"""Checks of what a server sent, before any of it is used."""

from __future__ import annotations

from typing import Any

from ..errors import EmbeddingError


def entry(answer: object, name: str, server: str) -> Any:
    """Return an entry of a JSON object.

    Raises:
        EmbeddingError: it is not there.
    """
    if not isinstance(answer, dict) or name not in answer:
        raise EmbeddingError(f"{server} gave an answer without {name!r}: {answer!r:.80}; check url and api=")
    return answer[name]


def in_order(items: object, count: int, server: str) -> list[dict[str, Any]]:
    """Put items that carry an "index" in the order of the texts.

    Raises:
        EmbeddingError: an index is missing, there twice, or not that of a text.
    """
    if not isinstance(items, list) or len(items) != count:
        what = f"{len(items)} results" if isinstance(items, list) else f"{items!r:.80}"
        raise EmbeddingError(f"{server} gave {what} for {count} texts; check url and api=")
    placed: dict[int, dict[str, Any]] = {}
    for item in items:
        index = item.get("index") if isinstance(item, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count or index in placed:
            raise EmbeddingError(
                f"{server} gave a result with index {index!r:.40} for {count} texts, where each from 0 to {count - 1} "
                "is due once; a proxy that mixes answers up, or another api="
            )
        placed[index] = item
    return [placed[i] for i in range(count)]


def is_number(value: object) -> bool:
    """Say whether a JSON value is a number that float32 can hold."""
    return type(value) in (int, float) and -1e38 < value < 1e38  # type: ignore[operator]
