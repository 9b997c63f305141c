"""A pool of processes answers as one encoder does: in order, dealt out evenly, with the encoder's own errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gates import until
from pool_specs import PlainSpec
from vectors import DIMENSION, FINGERPRINT, VOCABULARY, encoding_of

from hybrid_core import EmbeddingError, Encoder, HybridIndex, InvalidInputError, InvalidTextError, ModelError
from hybrid_core.encoders.pool import WorkerPool
from hybrid_core.encoders.pool_chunks import deal, in_the_whole

TEXTS = [f"text {i} " * (1 + i * 7 % 50) for i in range(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def pool(folder: Path) -> Iterator[WorkerPool]:
    with WorkerPool(PlainSpec(folder), devices=["cpu:0", "cpu:1"]) as pool:
        yield pool


def test_it_is_an_encoder_with_the_fingerprint_of_its_encoders(pool: WorkerPool) -> None:
    assert isinstance(pool, Encoder)
    assert pool.fingerprint == FINGERPRINT
    assert repr(pool) == "WorkerPool('by hand', devices=['cpu:0', 'cpu:1'])"
    assert pool.tokens([3, 1]) == ["cpu:0 3", "cpu:0 1"]


def test_rows_come_in_the_order_of_the_texts(pool: WorkerPool) -> None:
    answer, expected = pool.encode_documents(TEXTS, multi=True), encoding_of(TEXTS)
    np.testing.assert_array_equal(answer.dense, expected.dense)
    np.testing.assert_array_equal(answer.sparse.toarray(), expected.sparse.toarray())
    assert [int(vectors[0, 0]) for vectors in answer.multi or ()] == [len(text) for text in TEXTS]
    assert pool.encode_documents(TEXTS).multi is None


def test_all_workers_take_part(pool: WorkerPool, folder: Path) -> None:
    notes = [folder / f"chunks of cpu:{i}" for i in (0, 1)]
    until(lambda: pool.encode_documents(TEXTS) is not None and all(note.exists() for note in notes))


def test_no_texts_are_an_empty_encoding(pool: WorkerPool) -> None:
    for encode in (pool.encode_documents, pool.encode_queries):
        empty = encode([], multi=True)
        assert empty.dense.shape == (0, DIMENSION)
        assert empty.sparse.shape == (0, VOCABULARY)
        assert empty.multi == ()


def test_queries_are_encoded_as_queries(pool: WorkerPool) -> None:
    np.testing.assert_array_equal(pool.encode_queries(["a", "b"]).dense, encoding_of(["a", "b"]).dense)


def test_a_progress_bar_changes_nothing(pool: WorkerPool, capsys: pytest.CaptureFixture[str]) -> None:
    shown = pool.encode_documents(TEXTS, show_progress=True)
    assert "400/400" in capsys.readouterr().err
    np.testing.assert_array_equal(shown.dense, encoding_of(TEXTS).dense)


def test_an_index_takes_it_as_its_encoder(pool: WorkerPool) -> None:
    index = HybridIndex.open(None, encoder=pool)
    ids = index.add(TEXTS[:50])
    assert index.search(TEXTS[7], k=1, mode="dense")[0].passage.id == ids[7]


def test_threads_and_tasks_share_the_workers(pool: WorkerPool) -> None:
    parts = [TEXTS[i::8] for i in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(pool.encode_documents, parts))

    async def ask() -> list[np.ndarray]:
        calls = (asyncio.to_thread(pool.encode_queries, part) for part in parts)
        return [answer.dense for answer in await asyncio.gather(*calls)]

    for part, answer, query in zip(parts, answers, asyncio.run(ask()), strict=True):
        np.testing.assert_array_equal(answer.dense, encoding_of(part).dense)
        np.testing.assert_array_equal(query, answer.dense)


def test_a_text_that_is_none_is_named_by_its_position(pool: WorkerPool) -> None:
    with pytest.raises(InvalidTextError, match="text 399"):
        pool.encode_documents([*TEXTS[:-1], b"bytes"])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query 1"):
        pool.encode_queries(["fine", "half \udfff a pair"])
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        pool.encode_documents("a text")


def test_an_error_of_the_encoder_arrives_as_its_class_and_names_the_position_in_the_whole(pool: WorkerPool) -> None:
    with pytest.raises(EmbeddingError, match=r"infinity for text 123; in half precision") as caught:
        pool.encode_documents([*TEXTS[:123], "nan", *TEXTS[123:]])
    assert "in worker" in caught.value.__notes__[0]
    assert "Traceback" in caught.value.__notes__[0]
    with pytest.raises(EmbeddingError, match="for text 1;"):
        pool.encode_queries(["fine", "nan"])
    assert len(pool.encode_documents(TEXTS)) == 400


def test_an_error_of_a_library_is_a_model_error_that_names_the_worker(pool: WorkerPool) -> None:
    with pytest.raises(ModelError, match=r'worker 0 \(cpu:0\) raised KeyError: "a library\'s own"'):
        pool.encode_queries(["error"])
    assert len(pool.encode_queries(["fine"])) == 1


def test_processes_on_the_cpu_share_its_cores(pool: WorkerPool, folder: Path) -> None:
    pool.encode_queries(["environment"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert (folder / "threads of cpu:0").read_text() == str(max(1, cores // 2))


def test_chunks_hold_every_text_once_longest_first_and_about_equally_much() -> None:
    lengths = [100 + i * 37 % 900 for i in range(1_000)]
    chunks = deal(lengths, workers=2)
    order = [i for chunk in chunks for i in chunk]
    assert sorted(order) == list(range(1_000))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    sums = [sum(lengths[i] for i in chunk) for chunk in chunks]
    assert len(chunks) == 9  # four a worker, and what is left
    assert max(sums) <= sum(lengths) / 8
    assert min(sums[:-1]) > 0.9 * max(sums)


def test_chunks_are_neither_tiny_nor_huge() -> None:
    assert deal([100] * 20, workers=4) == [list(range(20))]  # 2,000 characters: one pass
    assert len(deal([10_000] * 1_000, workers=2)) == 10  # of a million characters
    assert deal([5, 2_000_000, 7], workers=2) == [[1], [2, 0]]
    assert deal([], workers=2) == [[]]


def test_only_a_position_that_there_is_is_put_right() -> None:
    assert in_the_whole("NaN for text 1; see text 2", [7, 8]) == "NaN for text 8; see text 2"
    assert in_the_whole("NaN for text 5", [7, 8]) == "NaN for text 5"
    assert in_the_whole("no model", [7, 8]) == "no model"
