"""The real small model in two processes: the vectors, the fingerprint and the errors of the one in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoints import TINY

from hybrid_core import BgeM3Encoder, Encoding, HybridIndex, LateInteractionReranker, ModelLoadError
from hybrid_core.encoders.encoder_spec import EncoderSpec
from hybrid_core.encoders.pool import WorkerPool

TEXTS = [f"task {i} of worker {i % 5}: " + "retry 队列 " * (i * 13 % 60) for i in range(120)] + [""]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(EncoderSpec.tiny(), devices=["cpu", "cpu"]) as pool:
        yield pool


def assert_same(answer: Encoding, expected: Encoding) -> None:
    np.testing.assert_allclose(answer.dense, expected.dense, atol=1e-6)
    np.testing.assert_allclose(answer.sparse.toarray(), expected.sparse.toarray(), atol=1e-6)
    for vectors, others in zip(answer.multi or (), expected.multi or (), strict=True):
        np.testing.assert_allclose(vectors, others, atol=1e-6)


def test_vectors_are_those_of_an_encoder_in_this_process(pool: WorkerPool, encoder: BgeM3Encoder) -> None:
    assert_same(pool.encode_documents(TEXTS, multi=True), encoder.encode_documents(TEXTS, multi=True))
    assert_same(pool.encode_queries(TEXTS[:5]), encoder.encode_queries(TEXTS[:5]))
    empty = pool.encode_documents([], multi=True)
    assert (empty.dense.shape, empty.multi) == ((0, 256), ())


def test_the_fingerprint_is_that_of_an_encoder_in_this_process(pool: WorkerPool, encoder: BgeM3Encoder) -> None:
    assert pool.fingerprint == BgeM3Encoder(TINY, device="cpu").fingerprint
    assert pool.fingerprint.differences(encoder.fingerprint) == []
    ids = encoder.encode_documents(["worker queue"]).sparse_row(0).indices.tolist()
    assert pool.tokens(ids) == encoder.tokens(ids)


def test_an_index_built_by_the_pool_is_opened_with_the_encoder(
    pool: WorkerPool, encoder: BgeM3Encoder, tmp_path: Path
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=pool, reranker=LateInteractionReranker(pool)) as index:
        index.add(TEXTS[:-1])
        found = [hit.passage.id for hit in index.search("which worker retries?", k=3)]
    with HybridIndex.open(tmp_path / "index", encoder=encoder, reranker=LateInteractionReranker(encoder)) as index:
        assert [hit.passage.id for hit in index.search("which worker retries?", k=3)] == found


def test_a_spec_carries_every_argument_to_the_encoder(random_m3: Path) -> None:
    spec = EncoderSpec(
        model=random_m3, precision="fp32", max_length=16, query_max_length=8, passage_instruction="passage: ",
        query_instruction="query: ", batch_tokens=64, local_files_only=True,
    )  # fmt: skip
    built = spec.build("cpu")
    same = BgeM3Encoder(
        random_m3, device="cpu", max_length=16, query_max_length=8, passage_instruction="passage: ",
        query_instruction="query: ",
    )  # fmt: skip
    assert built.fingerprint == same.fingerprint
    assert_same(built.encode_documents(TEXTS), same.encode_documents(TEXTS))
    assert_same(built.encode_queries(TEXTS), same.encode_queries(TEXTS))


def test_a_folder_is_found_from_any_working_directory(random_m3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(random_m3.parent)
    assert EncoderSpec(model=random_m3.name).model == str(random_m3)
    assert EncoderSpec().model == "BAAI/bge-m3"


def test_a_checkpoint_that_is_not_there_is_the_encoders_own_error() -> None:
    with pytest.raises(ModelLoadError, match="'/no/such/folder' does not exist"):
        WorkerPool(EncoderSpec(model="/no/such/folder"), devices=["cpu"])
