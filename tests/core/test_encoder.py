"""What BgeM3Encoder returns, and how often it runs the model for it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import HIDDEN, TINY, forward_passes

from hybrid_core import (
    BgeM3Encoder,
    Encoder,
    HybridIndex,
    InvalidInputError,
    InvalidTextError,
    LateInteractionReranker,
)

TEXTS = ["A worker pulls tasks from the queue.", "网关限流", "", "queue " * 40, "A worker pulls tasks from the queue."]


@pytest.fixture
def fresh(random_m3: Path) -> BgeM3Encoder:
    """An encoder that remembers no query yet."""
    return BgeM3Encoder(random_m3, device="cpu")


def test_it_is_an_encoder(encoder: BgeM3Encoder) -> None:
    assert isinstance(encoder, Encoder)
    assert repr(encoder) == "BgeM3Encoder('tiny', query_max_length=512, precision='fp32', device='cpu')"


def test_rows_come_in_the_order_of_the_texts(encoder: BgeM3Encoder) -> None:
    together = encoder.encode_documents(TEXTS, multi=True)
    for i, text in enumerate(TEXTS):
        alone = encoder.encode_documents([text], multi=True)
        np.testing.assert_allclose(together.dense[i], alone.dense[0], atol=1e-5)
        assert together.sparse_row(i).as_dict() == pytest.approx(alone.sparse_row(0).as_dict(), abs=1e-5)
        np.testing.assert_allclose((together.multi or ())[i], (alone.multi or ())[0], atol=1e-5)


def test_shapes_types_and_unit_length(encoder: BgeM3Encoder) -> None:
    encoding = encoder.encode_documents(TEXTS, multi=True)
    assert encoding.dense.shape == (5, 256)
    assert encoding.dense.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoding.dense, axis=1), 1.0, atol=1e-6)
    assert [len(vectors) for vectors in encoding.multi or ()] == [encoder.token_count(text) + 1 for text in TEXTS]
    for vectors in encoding.multi or ():
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_sparse_rows_are_sorted_without_repeats_or_special_tokens(encoder: BgeM3Encoder) -> None:
    sparse = encoder.encode_documents(["retry retry queue retry", "<s> a </s> <unk> <pad>", *TEXTS]).sparse
    assert sparse.shape == (7, 10_600)
    assert sparse.dtype == np.float32
    for start, end in zip(sparse.indptr, sparse.indptr[1:], strict=False):
        ids = sparse.indices[start:end]
        assert (np.diff(ids) > 0).all()
        assert not set(encoder.tokens(ids.tolist())) & {"<s>", "</s>", "<pad>", "<unk>"}
    assert (sparse.data > 0).all()


def test_the_empty_text_has_a_dense_row_and_no_sparse_weights(encoder: BgeM3Encoder) -> None:
    """Fault 16: empty text."""
    encoding = encoder.encode_documents([""], multi=True)
    assert np.linalg.norm(encoding.dense[0]) == pytest.approx(1.0)
    assert encoding.sparse_row(0).as_dict() == {}
    assert [vectors.shape for vectors in encoding.multi or ()] == [(1, 256)]  # the closing token


def test_no_texts_give_an_empty_encoding_without_a_forward_pass(fresh: BgeM3Encoder) -> None:
    with forward_passes(fresh) as passes:
        for encode in (fresh.encode_documents, fresh.encode_queries):
            encoding = encode([])
            assert len(encoding) == 0
            assert encoding.dense.shape == (0, HIDDEN)
            assert encoding.sparse.shape == (0, 10_600)
        assert encode([], multi=True).multi == ()
    assert passes == []


def test_multi_vectors_come_only_when_asked_for(encoder: BgeM3Encoder) -> None:
    assert encoder.encode_documents(["a"]).multi is None
    assert encoder.encode_queries(["a question that was asked with multi"], multi=True).multi is not None
    assert encoder.encode_queries(["a question that was asked with multi"]).multi is None


def test_dense_sparse_and_multi_take_one_forward_pass_a_batch(fresh: BgeM3Encoder) -> None:
    with forward_passes(fresh) as passes:
        fresh.encode_documents(["one", "two", "three"], multi=True)
    assert passes == [3]


def test_batches_keep_the_token_budget(random_m3: Path) -> None:
    texts = [f"task {i} " * (1 + i % 7) for i in range(50)]
    whole = BgeM3Encoder(random_m3, device="cpu")
    small = BgeM3Encoder(random_m3, device="cpu", batch_tokens=32)
    with forward_passes(small) as passes:
        cut = small.encode_documents(texts)
    assert sum(passes) == 50
    assert len(passes) > 10
    np.testing.assert_allclose(cut.dense, whole.encode_documents(texts).dense, atol=1e-5)


def test_a_query_asked_again_costs_no_forward_pass(fresh: BgeM3Encoder) -> None:
    with forward_passes(fresh) as passes:
        first = fresh.encode_queries(["how are tasks retried?"], multi=True)
        again = fresh.encode_queries(["how are tasks retried?"])
        both = fresh.encode_queries(["something else", "how are tasks retried?", "something else"], multi=True)
    assert passes == [1, 1]
    np.testing.assert_array_equal(first.dense, again.dense)
    np.testing.assert_array_equal(first.sparse.toarray(), both.sparse.toarray()[[1]])
    np.testing.assert_array_equal((first.multi or ())[0], (both.multi or ())[1])
    np.testing.assert_array_equal(both.dense[0], both.dense[2])


def test_only_so_many_queries_are_remembered(fresh: BgeM3Encoder) -> None:
    fresh.encode_queries([f"query {i}" for i in range(200)])
    with forward_passes(fresh) as passes:
        fresh.encode_queries(["query 199"])
        fresh.encode_queries(["query 0"])
    assert passes == [1]


def test_what_a_caller_does_to_an_answer_does_not_reach_the_next_one(fresh: BgeM3Encoder) -> None:
    expected = BgeM3Encoder(fresh.fingerprint.model, device="cpu").encode_queries(["worker"], multi=True)
    for _ in range(2):
        given = fresh.encode_queries(["worker"], multi=True)
        given.dense[:] = 0
        given.sparse.data[:] = 0
        for vectors in given.multi or ():
            vectors[:] = 0
    again = fresh.encode_queries(["worker"], multi=True)
    np.testing.assert_array_equal(again.dense, expected.dense)
    np.testing.assert_array_equal(again.sparse.toarray(), expected.sparse.toarray())
    np.testing.assert_array_equal((again.multi or ())[0], (expected.multi or ())[0])


def test_searching_with_late_interaction_on_the_same_encoder_runs_the_query_once(fresh: BgeM3Encoder) -> None:
    index = HybridIndex.open(None, encoder=fresh, reranker=LateInteractionReranker(fresh))
    index.add([f"worker {i} pulls tasks" for i in range(6)])
    with forward_passes(fresh) as passes:
        assert len(index.search("which worker pulls?", k=3)) == 3
    assert passes == [1, 6]  # the query, then its candidates in one batch


def test_instructions_are_put_before_the_text(random_m3: Path) -> None:
    plain = BgeM3Encoder(random_m3, device="cpu")
    told = BgeM3Encoder(random_m3, device="cpu", passage_instruction="passage: ", query_instruction="query: ")
    np.testing.assert_array_equal(
        told.encode_documents(["tasks"]).dense, plain.encode_documents(["passage: tasks"]).dense
    )
    np.testing.assert_array_equal(told.encode_queries(["tasks"]).dense, plain.encode_queries(["query: tasks"]).dense)
    assert told.fingerprint.differences(plain.fingerprint) == ["instruction"]


def test_a_text_beyond_max_length_is_cut_and_reported_once(random_m3: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 17: truncation for the model is reported once."""
    encoder = BgeM3Encoder(random_m3, device="cpu", max_length=16)
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        long = encoder.encode_documents(["word " * 100, "short"], multi=True)
        encoder.encode_documents(["word " * 300])
        encoder.encode_queries(["word " * 1_000])
    assert len((long.multi or ())[0]) == 15
    assert [record.getMessage()[:44] for record in caplog.records] == ["1 of 2 texts are longer than 16 tokens; the "]


def test_a_megabyte_of_text_is_encoded(encoder: BgeM3Encoder) -> None:
    """Fault 17: a 1 MB text."""
    encoding = encoder.encode_documents(["queue " * 175_000])
    assert np.isfinite(encoding.dense).all()


@pytest.mark.parametrize("bad", ["\ud800", "half \udfff a pair", None, b"bytes", 7])
def test_a_text_that_is_none_is_named_by_its_position(encoder: BgeM3Encoder, bad: object) -> None:
    """Fault 18: a lone surrogate."""
    with pytest.raises(InvalidTextError, match="text 1"):
        encoder.encode_documents(["fine", bad])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query 1"):
        encoder.encode_queries(["fine", bad])  # type: ignore[list-item]


def test_one_string_instead_of_a_list_is_refused(encoder: BgeM3Encoder) -> None:
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        encoder.encode_documents("a text")


def test_eight_threads_get_what_one_gets(random_m3: Path) -> None:
    """Fault 6: eight threads, no "Already borrowed"."""
    texts = [f"task {i} of worker {i % 5}: " + "retry " * (i % 9) for i in range(64)]
    expected = BgeM3Encoder(random_m3, device="cpu").encode_documents(texts)
    shared = BgeM3Encoder(random_m3, device="cpu")

    def work(i: int) -> tuple[np.ndarray, np.ndarray, int]:
        part = shared.encode_documents(texts[8 * i : 8 * i + 8])
        query = shared.encode_queries([texts[i]])
        return part.dense, query.dense, shared.token_count(texts[i])

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    np.testing.assert_allclose(np.concatenate([dense for dense, _, _ in results]), expected.dense, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([query for _, query, _ in results]), expected.dense[:8], atol=1e-5)
    assert [count for _, _, count in results] == [shared.token_count(text) for text in texts[:8]]


def test_token_strings_and_counts(encoder: BgeM3Encoder) -> None:
    ids = encoder.encode_documents(["worker"]).sparse_row(0).indices.tolist()
    assert "▁worker" in encoder.tokens(ids)
    assert encoder.token_count("worker") == 1
    assert encoder.token_count("") == 0


def test_a_progress_bar_changes_nothing(encoder: BgeM3Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    shown = encoder.encode_documents(TEXTS, show_progress=True)
    assert "Encoding" in capsys.readouterr().err
    np.testing.assert_array_equal(shown.dense, encoder.encode_documents(TEXTS).dense)
    assert capsys.readouterr().err == ""


def test_tiny_is_the_model_in_the_package(encoder: BgeM3Encoder) -> None:
    assert encoder.fingerprint.digest == BgeM3Encoder(TINY, device="cpu").fingerprint.digest


async def test_tasks_that_ask_at_once_share_forward_passes(random_m3: Path) -> None:
    encoder = BgeM3Encoder(random_m3, device="cpu")
    questions = [f"question {i} about tasks" for i in range(64)]
    expected = BgeM3Encoder(random_m3, device="cpu").encode_queries(questions)
    with forward_passes(encoder) as passes:
        rows = await asyncio.gather(*(encoder.aencode_queries([question]) for question in questions))
    assert sum(passes) == 64
    assert len(passes) <= 8
    np.testing.assert_allclose(np.concatenate([row.dense for row in rows]), expected.dense, atol=1e-5)
    assert [row.sparse.indices.tolist() for row in rows] == [expected.sparse_row(i).indices.tolist() for i in range(64)]


async def test_a_question_asked_again_by_a_task_costs_no_forward_pass(fresh: BgeM3Encoder) -> None:
    fresh.encode_queries(["how are tasks retried?"])
    with forward_passes(fresh) as passes:
        await fresh.aencode_queries(["how are tasks retried?", "how are tasks retried?"])
    assert passes == []


def test_a_text_that_repeats_is_encoded_once(random_m3: Path) -> None:
    encoder = BgeM3Encoder(random_m3, device="cpu")
    texts = ["a task", "a worker", "a task", "a task"]
    with forward_passes(encoder) as passes:
        encoding = encoder.encode_documents(texts, multi=True)
    assert sum(passes) == 2
    np.testing.assert_array_equal(encoding.dense[[0, 1, 0, 0]], encoding.dense)
    assert encoding.multi is not None
    np.testing.assert_array_equal(encoding.multi[0], encoding.multi[3])


def test_more_texts_than_are_tokenised_at_once_come_in_order(random_m3: Path) -> None:
    encoder = BgeM3Encoder(random_m3, device="cpu")
    texts = [f"task {i}" for i in range(4_500)]
    some = [0, 2_047, 2_048, 4_095, 4_096, 4_499]
    whole, part = encoder.encode_documents(texts), encoder.encode_documents([texts[i] for i in some])
    np.testing.assert_allclose(whole.dense[some], part.dense, atol=1e-5)
    assert [whole.sparse_row(i).as_dict().keys() for i in some] == [
        part.sparse_row(i).as_dict().keys() for i in range(6)
    ]


def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(random_m3: Path) -> None:
    """Fault: out of memory, and only that, is tried again."""
    encoder = BgeM3Encoder(random_m3, device="cpu")
    texts = [f"task {i} " * (1 + i % 5) for i in range(20)]
    expected = encoder.encode_documents(texts).dense
    run, passes = encoder._runtime.run, []

    def small(rows: list[np.ndarray], *, multi: bool) -> object:
        passes.append(len(rows))
        if sum(map(len, rows)) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return run(rows, multi=multi)

    encoder._runtime.run = small  # type: ignore[method-assign]
    np.testing.assert_allclose(encoder.encode_documents(texts).dense, expected, atol=1e-5)
    assert len(passes) > 3
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode_documents(["task " * 60])
