"""Batches by a budget of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hybrid_core.encoders.batching import is_out_of_memory, run_batches, token_batches
from hybrid_core.types import IntArray

LENGTHS = st.lists(st.integers(1, 600), max_size=60)


@given(LENGTHS, st.integers(1, 1_000))
def test_every_text_is_in_one_batch_and_in_no_other(lengths: list[int], budget: int) -> None:
    positions = [int(i) for batch in token_batches(lengths, budget) for i in batch]
    assert sorted(positions) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 1_000))
def test_a_batch_holds_no_more_than_the_budget_unless_it_is_one_text(lengths: list[int], budget: int) -> None:
    for batch in token_batches(lengths, budget):
        assert sum(lengths[i] for i in batch) <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 1_000))
def test_longest_texts_come_first(lengths: list[int], budget: int) -> None:
    ordered = [lengths[i] for batch in token_batches(lengths, budget) for i in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_batches_by_hand() -> None:
    batches = token_batches([3, 10, 4, 1], budget=8)
    assert [batch.tolist() for batch in batches] == [[1], [2, 0, 3]]


def test_no_texts_are_no_batches() -> None:
    assert token_batches([], budget=8) == []


def test_a_batch_that_memory_cannot_hold_is_halved_until_it_fits() -> None:
    tried: list[list[int]] = []

    def run(batch: IntArray) -> int:
        tried.append(batch.tolist())
        if len(batch) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried")
        return int(batch.sum())

    done = list(run_batches(token_batches([1] * 5, budget=5), run))
    assert [(batch.tolist(), result) for batch, result in done] == [([0, 1], 1), ([2], 2), ([3, 4], 7)]
    assert tried == [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4]]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_one_text_that_memory_cannot_hold_raises_what_was_raised(error: Exception) -> None:
    def run(batch: IntArray) -> None:
        raise error

    with pytest.raises(type(error)):
        list(run_batches(token_batches([4, 4], budget=8), run))


def test_any_other_error_is_not_tried_again() -> None:
    tried: list[int] = []

    def run(batch: IntArray) -> None:
        tried.append(len(batch))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_batches(token_batches([4, 4], budget=8), run))
    assert tried == [2]
    assert not is_out_of_memory(ValueError("out of range"))
