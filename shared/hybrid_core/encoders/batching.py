"""Batches by a budget of tokens, halved where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from ..types import IntArray

T = TypeVar("T")


def token_batches(lengths: Sequence[int], budget: int) -> list[IntArray]:
    """Group texts of similar length.

    Args:
        lengths: tokens of each text, special tokens counted.
        budget: the most tokens a batch may hold; a text longer than that gets a batch of its own.

    Returns:
        Batches of positions, longest texts first: each position once.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable").astype(np.int32)
    batches: list[IntArray] = []
    start, held = 0, 0
    for end, position in enumerate(order):
        if end > start and held + sizes[position] > budget:
            batches.append(order[start:end])
            start, held = end, 0
        held += int(sizes[position])
    if start < len(order):
        batches.append(order[start:])
    return batches


def run_batches(batches: Sequence[IntArray], run: Callable[[IntArray], T]) -> Iterator[tuple[IntArray, T]]:
    """Run batch after batch; one that does not fit into memory is halved and tried again, down to a single text.

    Only running out of memory is tried again: any other error is the caller's to see at once.

    Yields:
        What was run and its result: each position once, in order.
    """
    waiting = list(reversed(batches))
    while waiting:
        batch = waiting.pop()
        try:
            result = run(batch)
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            middle = len(batch) // 2
            waiting += [batch[middle:], batch[:middle]]
            continue
        yield batch, result


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's own class on a GPU, a plain RuntimeError on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    message = str(error)
    return "out of memory" in message or "not enough memory" in message or "Failed to allocate memory" in message
