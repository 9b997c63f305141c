"""Texts as a server takes them, in requests under its limits."""

from __future__ import annotations

import json
from collections.abc import Sequence


def sendable(text: str, most: int | None) -> str:
    """Return a text that the server accepts: one blank for the empty text, cut to `most` characters."""
    return text[:most] or " "


def request_slices(texts: Sequence[str], *, most: int, budget: int | None, beside: int = 0) -> list[slice]:
    """Group texts into requests, in order.

    Args:
        texts: as they will be sent.
        most: texts in a request.
        budget: bytes of texts in a request, as JSON in UTF-8; a longer text gets a request of its own. None: no limit.
        beside: bytes that come with each text.
    """
    slices: list[slice] = []
    start = used = 0
    for i, text in enumerate(texts):
        size = beside + len(json.dumps(text, ensure_ascii=False).encode()) + 1 if budget else 0
        if i > start and (i - start == most or (budget and used + size > budget)):
            slices.append(slice(start, i))
            start, used = i, 0
        used += size
    if start < len(texts):
        slices.append(slice(start, len(texts)))
    return slices
