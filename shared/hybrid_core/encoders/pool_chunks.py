"""How a `WorkerPool` deals out the texts of one call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

_CHUNKS = 4  # a worker and call, so that a slower device or a wrong guess of lengths holds up little
_LEAST, _MOST = 8_000, 1_000_000  # characters in a chunk: enough to fill a pass; little enough to send and to wait for


class Call(NamedTuple):
    """A call of an encoder's method, made by one worker.

    Attributes:
        positions: where its texts stand among those of the whole call.
    """

    method: str
    argument: list[Any]
    options: dict[str, Any]
    positions: Sequence[int] = ()


def deal(lengths: Sequence[int], workers: int) -> list[list[int]]:
    """Deal out positions, longest texts first, in chunks of about the same length; no texts are one empty chunk."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    budget = min(_MOST, max(_LEAST, sum(lengths) // (_CHUNKS * workers)))
    chunks: list[list[int]] = [[]]
    room = budget
    for i in order:
        if chunks[-1] and lengths[i] > room:
            chunks.append([])
            room = budget
        chunks[-1].append(i)
        room -= lengths[i]
    return chunks


def in_the_whole(message: str, positions: Sequence[int]) -> str:
    """Return an encoder's message with the position of a text in its chunk put right."""

    def place(found: re.Match[str]) -> str:
        i = int(found[1])
        return f"text {positions[i]}" if i < len(positions) else found[0]

    return re.sub(r"\btext (\d+)\b", place, message, count=1)
