"""OnePass: dense and sparse of the same documents, asked for one after the other, cost one forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checkpoints import forward_passes

from hybrid_core import BgeM3Encoder, Bm25, Encoder, Encoding, HybridIndex, InvalidInputError, InvalidTextError
from hybrid_core.encoders.base import AsyncEncoder, aencode_queries
from hybrid_core.encoders.functions import FunctionEncoder
from hybrid_core.encoders.one_pass import OnePass

TEXTS = [f"Worker {n} pulls tasks from queue {n}." for n in range(6)]


@pytest.fixture
def shared(encoder: BgeM3Encoder) -> OnePass:
    return OnePass(encoder)


@pytest.fixture
def passes(encoder: BgeM3Encoder) -> Iterator[list[int]]:
    with forward_passes(encoder) as counted:
        yield counted


def same(left: Encoding, right: Encoding) -> bool:
    return bool(np.allclose(left.dense, right.dense, atol=1e-6)) and abs(left.sparse - right.sparse).max() < 1e-5


def test_it_is_the_encoder_to_all_who_ask(shared: OnePass, encoder: BgeM3Encoder) -> None:
    assert isinstance(shared, Encoder)
    assert isinstance(shared, AsyncEncoder)
    assert shared.fingerprint == encoder.fingerprint
    assert shared.tokens([5, 6]) == encoder.tokens([5, 6])
    assert "tiny" in repr(shared)


def test_texts_seen_before_come_from_memory_in_any_order_and_mixture(
    shared: OnePass, encoder: BgeM3Encoder, passes: list[int]
) -> None:
    shared.encode_documents(TEXTS[:3])
    shared.encode_documents(TEXTS[3:5])
    asked = [TEXTS[4], TEXTS[0], TEXTS[5], TEXTS[0], TEXTS[2]]
    found = shared.encode_documents(asked)
    assert passes == [3, 2, 1]
    assert same(found, encoder.encode_documents(asked))
    assert found.sparse.has_sorted_indices
    passes.clear()
    assert same(shared.encode_documents(TEXTS), encoder.encode_documents(TEXTS))
    assert passes == [6]  # the encoder's own


def test_no_texts_and_repeats(shared: OnePass, passes: list[int]) -> None:
    empty = shared.encode_documents([])
    assert (len(empty), empty.dense.shape, empty.sparse.shape) == (0, (0, 256), (0, shared.fingerprint.vocabulary))
    assert len(shared.encode_documents([TEXTS[0]] * 4)) == 4
    assert len(shared.encode_documents([TEXTS[0]] * 2)) == 2
    assert passes == [1]


def test_multi_vectors_are_the_encoders_affair(shared: OnePass, passes: list[int]) -> None:
    for _ in range(2):
        assert shared.encode_documents(TEXTS[:2], multi=True).multi is not None
    assert passes == [2, 2]
    assert shared.encode_documents(TEXTS[:2]).multi is None


def test_queries_are_the_encoders_and_documents_are_no_queries(shared: OnePass, passes: list[int]) -> None:
    text = "a text that is first a document"
    shared.encode_documents([text])
    shared.encode_queries([text])
    asyncio.run(aencode_queries(shared, [text]))
    assert passes == [1, 1]


async def test_an_encoder_without_a_coroutine_is_asked_in_a_thread() -> None:
    plain = FunctionEncoder("fixed", lambda texts: [[1.0]] * len(texts), lambda text: [1.0], sparse=Bm25())
    assert (await aencode_queries(OnePass(plain), ["a"])).dense.tolist() == [[1.0]]


def test_the_oldest_go_when_the_bytes_are_used_up(encoder: BgeM3Encoder, passes: list[int]) -> None:
    size = OnePass(encoder)
    size.encode_documents(TEXTS[:2])
    two = size.nbytes
    shared = OnePass(encoder, most_bytes=2 * two + two // 2)
    passes.clear()
    for start in (0, 2, 4):
        shared.encode_documents(TEXTS[start : start + 2])
    assert 0 < shared.nbytes <= 2 * two + two // 2
    shared.encode_documents(TEXTS[2:])
    assert passes == [2, 2, 2]
    shared.encode_documents(TEXTS[:2])
    assert passes == [2, 2, 2, 2]


def test_a_text_seen_again_after_its_batch_went_is_kept_with_the_new_one(
    encoder: BgeM3Encoder, passes: list[int]
) -> None:
    probe = OnePass(encoder)
    probe.encode_documents(TEXTS[:3])
    shared = OnePass(encoder, most_bytes=probe.nbytes)
    passes.clear()
    shared.encode_documents(TEXTS[:3])
    shared.encode_documents(TEXTS[3:])
    shared.encode_documents(TEXTS[:3])
    shared.encode_documents(TEXTS[:3])
    assert passes == [3, 3, 3]


def test_what_is_too_much_is_not_kept_and_clear_forgets(encoder: BgeM3Encoder, passes: list[int]) -> None:
    nothing = OnePass(encoder, most_bytes=0)
    for _ in range(2):
        nothing.encode_documents(TEXTS)
    assert nothing.nbytes == 0
    shared = OnePass(encoder)
    shared.encode_documents(TEXTS)
    shared.clear()
    assert shared.nbytes == 0
    shared.encode_documents(TEXTS)
    assert passes == [6, 6, 6, 6]
    with pytest.raises(InvalidInputError, match="most_bytes"):
        OnePass(encoder, most_bytes=-1)


def test_what_is_handed_out_twice_cannot_be_written_to(shared: OnePass) -> None:
    first = shared.encode_documents(TEXTS)
    with pytest.raises(ValueError, match="read-only"):
        first.dense[0, 0] = 9


def test_a_bad_text_is_named_by_its_position_and_nothing_is_kept(shared: OnePass) -> None:
    with pytest.raises(InvalidTextError, match="text 2"):
        shared.encode_documents([*TEXTS[:2], "\ud800"])
    assert shared.nbytes == 0


def test_threads_may_share_it(shared: OnePass, encoder: BgeM3Encoder) -> None:
    expected = encoder.encode_documents(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: shared.encode_documents(TEXTS), range(32)))
    assert all(same(encoding, expected) for encoding in found)


def test_an_index_takes_it_as_its_encoder(shared: OnePass, encoder: BgeM3Encoder) -> None:
    ours, theirs = HybridIndex.open(None, encoder=shared), HybridIndex.open(None, encoder=encoder)
    for index in (ours, theirs):
        index.add(TEXTS, ids=[str(n) for n in range(6)])
    assert [hit.passage.id for hit in ours.search("worker 3")] == [hit.passage.id for hit in theirs.search("worker 3")]
