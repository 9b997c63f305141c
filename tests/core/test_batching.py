"""Batches by a budget of tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hybrid_core.encoders.batching import pad, token_batches

LENGTHS = st.lists(st.integers(1, 600), max_size=60)


@given(LENGTHS, st.integers(1, 1_000))
def test_every_text_is_in_one_batch_and_in_no_other(lengths: list[int], budget: int) -> None:
    positions = [int(i) for batch in token_batches(lengths, budget) for i in batch]
    assert sorted(positions) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 1_000))
def test_a_padded_batch_holds_no_more_than_the_budget_unless_it_is_one_text(lengths: list[int], budget: int) -> None:
    for batch in token_batches(lengths, budget):
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 1_000))
def test_longest_texts_come_first(lengths: list[int], budget: int) -> None:
    ordered = [lengths[i] for batch in token_batches(lengths, budget) for i in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_batches_by_hand() -> None:
    batches = token_batches([3, 10, 4, 1], budget=8)
    assert [batch.tolist() for batch in batches] == [[1], [2, 0], [3]]


def test_no_texts_are_no_batches() -> None:
    assert token_batches([], budget=8) == []


def test_padding_goes_to_the_right_and_the_mask_leaves_it_out() -> None:
    ids, mask = pad([[5, 6, 7], [8]], value=1)
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
