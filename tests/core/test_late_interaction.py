"""Late interaction over multi-vectors."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoints import forward_passes

from hybrid_core import (
    BgeM3Encoder,
    Encoding,
    Fingerprint,
    InvalidTextError,
    LateInteractionReranker,
    Reranker,
)
from hybrid_core.stores.scoring import sparse_matrix

QUERY = "how does a worker get tasks?"


class ByHand:
    """An encoder whose multi-vectors are written down."""

    fingerprint = Fingerprint("by hand", "", 2, 1, "cls", 8)
    vectors = {  # noqa: RUF012 - read only
        "query": [[1.0, 0.0], [0.0, 1.0]],
        "right": [[1.0, 0.0]],
        "both": [[0.6, 0.8], [0.8, 0.6]],
        "opposite": [[-1.0, 0.0], [-0.6, -0.8]],
    }

    def encode_documents(self, texts: list[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        rows = tuple(np.array(self.vectors[text], dtype=np.float32) for text in texts)
        return Encoding(np.zeros((len(texts), 2), np.float32), sparse_matrix([], 1), rows)

    def encode_queries(self, texts: list[str], *, multi: bool = False) -> Encoding:
        return self.encode_documents(texts, multi=multi)

    def tokens(self, ids: list[int]) -> list[str]:
        return [""] * len(ids)


def test_the_score_is_the_mean_over_query_tokens_of_the_best_cosine() -> None:
    scores = LateInteractionReranker(ByHand()).score("query", ["right", "both"])
    assert scores.tolist() == pytest.approx([(1 + 0) / 2, (0.8 + 0.8) / 2])


def test_a_negative_mean_counts_as_0() -> None:
    assert LateInteractionReranker(ByHand()).score("query", ["opposite"]).tolist() == [0.0]


def test_it_is_a_reranker_with_a_name(encoder: BgeM3Encoder) -> None:
    reranker = LateInteractionReranker(encoder)
    assert isinstance(reranker, Reranker)
    assert reranker.name == "tiny (late interaction)"
    assert repr(reranker) == f"LateInteractionReranker({encoder!r})"


def test_scores_come_in_order_as_float32_between_0_and_1(encoder: BgeM3Encoder) -> None:
    texts = ["网关限流", QUERY, "", "A worker pulls tasks from the queue.", "queue " * 3_000]
    scores = LateInteractionReranker(encoder).score(QUERY, texts)
    assert scores.dtype == np.float32
    assert scores.shape == (5,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.argmax() == 1  # nothing is nearer to the query than itself
    assert scores[1] == pytest.approx(1.0, abs=1e-5)
    alone = [float(LateInteractionReranker(encoder).score(QUERY, [text])[0]) for text in texts]
    np.testing.assert_allclose(scores, alone, atol=1e-5)


def test_no_texts_have_no_scores_and_cost_no_forward_pass(encoder: BgeM3Encoder) -> None:
    with forward_passes(encoder) as passes:
        scores = LateInteractionReranker(encoder).score("a query asked nowhere else", [])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32
    assert passes == []


def test_the_query_is_encoded_once_for_any_number_of_texts(encoder: BgeM3Encoder) -> None:
    with forward_passes(encoder) as passes:
        for _ in range(2):
            LateInteractionReranker(encoder).score("another query asked nowhere else", ["a", "b", "c"])
    assert passes == [1, 3, 3]


@pytest.mark.parametrize("bad", ["\ud800", None, 5])
def test_a_text_that_is_none_is_named_by_its_position(encoder: BgeM3Encoder, bad: object) -> None:
    """Fault 18: a lone surrogate."""
    reranker = LateInteractionReranker(encoder)
    with pytest.raises(InvalidTextError, match="text 1"):
        reranker.score(QUERY, ["fine", bad])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query"):
        reranker.score(bad, [])  # type: ignore[arg-type]


def test_the_empty_query_has_a_score(encoder: BgeM3Encoder) -> None:
    """Fault 16: empty text."""
    assert np.isfinite(LateInteractionReranker(encoder).score("", ["a text", ""])).all()
