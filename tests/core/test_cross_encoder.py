"""The cross-encoder reranker."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import TINY, write_reranker

from hybrid_core import (
    CrossEncoderReranker,
    EmbeddingError,
    InvalidInputError,
    InvalidTextError,
    ModelLoadError,
    Reranker,
)

QUERY = "how often is a task retried?"
TEXTS = ["A task is retried five times.", "网关限流", "", "queue " * 50, "A worker pulls tasks."]


@pytest.fixture(scope="module")
def reranker(random_reranker: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(random_reranker, device="cpu")


def test_it_is_a_reranker_with_a_name(reranker: CrossEncoderReranker, random_reranker: Path) -> None:
    assert isinstance(reranker, Reranker)
    assert reranker.name == str(random_reranker)
    assert (
        repr(reranker)
        == f"CrossEncoderReranker('{random_reranker}', max_length=512, pooling='max', precision='fp32', device='cpu')"
    )


def test_scores_come_in_the_order_of_the_texts(reranker: CrossEncoderReranker) -> None:
    together = reranker.score(QUERY, TEXTS)
    alone = [float(reranker.score(QUERY, [text])[0]) for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(set(together.tolist())) == len(TEXTS)


def test_scores_are_float32_between_0_and_1(reranker: CrossEncoderReranker) -> None:
    scores = reranker.score(QUERY, TEXTS)
    assert scores.dtype == np.float32
    assert scores.shape == (5,)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_score_does_not_depend_on_the_batch(random_reranker: Path, reranker: CrossEncoderReranker) -> None:
    small = CrossEncoderReranker(random_reranker, device="cpu", batch_tokens=1)
    np.testing.assert_allclose(small.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS), atol=1e-5)


def test_no_texts_have_no_scores(reranker: CrossEncoderReranker) -> None:
    assert reranker.score(QUERY, []).shape == (0,)
    assert reranker.score(QUERY, []).dtype == np.float32


def test_a_text_of_megabytes_is_scored_and_what_was_left_out_reported_once(
    random_reranker: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 17: it is read in windows; beyond 256 of them nothing is, and that is said."""
    reranker = CrossEncoderReranker(random_reranker, device="cpu", max_length=32)
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        first = reranker.score(QUERY, ["word " * 1_000, "short"])
        assert not caplog.messages
        second = reranker.score(QUERY, ["word " * 400_000])
        reranker.score(QUERY, ["word " * 10_000])
    np.testing.assert_allclose(first[0], second[0], atol=1e-5)
    assert [message[:34] for message in caplog.messages] == ["1 of 1 texts have over 256 windows"]


def test_a_long_query_leaves_room_for_the_text(reranker: CrossEncoderReranker) -> None:
    scores = reranker.score("why " * 2_000, ["a task", "网关限流"])
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]


@pytest.mark.parametrize("bad", ["\ud800", None, 5])
def test_a_text_that_is_none_is_named_by_its_position(reranker: CrossEncoderReranker, bad: object) -> None:
    """Fault 18: a lone surrogate."""
    with pytest.raises(InvalidTextError, match="text 1"):
        reranker.score(QUERY, ["fine", bad])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query"):
        reranker.score(bad, ["fine"])  # type: ignore[arg-type]


def test_one_string_instead_of_a_list_is_refused(reranker: CrossEncoderReranker) -> None:
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        reranker.score(QUERY, "a text")


def test_a_model_with_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="2 labels"):
        CrossEncoderReranker(write_reranker(tmp_path / "two", labels=2), device="cpu")


def test_a_model_without_a_classification_head_is_refused() -> None:
    """Fault 10: an embedding model is no reranker; its head would be random numbers."""
    with pytest.raises(ModelLoadError):
        CrossEncoderReranker(TINY, device="cpu")


def test_a_reranker_whose_head_is_missing_is_refused(tmp_path: Path) -> None:
    """Fault 10: the head of a damaged checkpoint would be random numbers too."""

    def behead(state: dict[str, torch.Tensor]) -> None:
        for name in [name for name in state if name.startswith("classifier.")]:
            del state[name]

    with pytest.raises(ModelLoadError):
        CrossEncoderReranker(write_reranker(tmp_path / "headless", edit=behead), device="cpu")


def test_a_model_that_is_not_there_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere"):
        CrossEncoderReranker(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ModelLoadError, match="BAAI/bge-reranker-v2-m3"):
        CrossEncoderReranker(cache_dir=tmp_path, local_files_only=True)


@pytest.mark.parametrize("arguments", [{"max_length": 3}, {"max_length": 1.5}, {"batch_tokens": 0}])
def test_a_bad_argument_is_named(random_reranker: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(arguments))):
        CrossEncoderReranker(random_reranker, device="cpu", **arguments)


def test_nan_names_the_position(tmp_path: Path, encoder: object) -> None:
    """Fault 14: NaN from the model."""
    [worker] = encoder.encode_documents(["worker"]).sparse_row(0).indices.tolist()  # type: ignore[attr-defined]

    def spoil(state: dict[str, torch.Tensor]) -> None:
        state["roberta.embeddings.word_embeddings.weight"][worker] = float("nan")

    spoiled = CrossEncoderReranker(write_reranker(tmp_path / "nan", edit=spoil), device="cpu")
    assert np.isfinite(spoiled.score(QUERY, ["a task"])).all()
    with pytest.raises(EmbeddingError, match=r"text 1$"):
        spoiled.score(QUERY, ["a task", "worker", "another task"])


def test_eight_threads_get_what_one_gets(random_reranker: Path, reranker: CrossEncoderReranker) -> None:
    """Fault 6: eight threads, no "Already borrowed"."""
    queries = [f"question {i} about tasks" for i in range(8)]
    expected = [reranker.score(query, TEXTS) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda query: reranker.score(query, TEXTS), queries))
    np.testing.assert_allclose(results, expected, rtol=0, atol=1e-6)  # callers share passes, whose sums round
