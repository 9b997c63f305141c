"""BGE-M3's combined score: dense, sparse and multi-vectors in one weighted mean."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import TINY, flag_m3

from hybrid_core import (
    BgeM3Encoder,
    Encoding,
    Fingerprint,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    Reranker,
)
from hybrid_core.stores.scoring import sparse_matrix
from hybrid_core.types import SparseVector

torch.set_num_threads(1)

LENGTH = 48
WEIGHTS = [(1.0, 1.0, 1.0), (1.0, 0.3, 1.0), (0.15, 0.5, 0.35), (0.4, 0.2, 0.4), (0.2, 0.8, 0.0)]
QUERY = "How does a worker pull tasks from the queue?"
TEXTS = [
    "A worker pulls tasks from the queue.\n\nIt retries them.",
    "网关限流：每分钟六百次。",
    "",
    "queue " * 40,
    QUERY,
    "The legend stands to the right of the chart.",
]


class ByHand:
    """An encoder of one text a vector, written down."""

    fingerprint = Fingerprint("by hand", "", 2, 4, "cls", 8)

    def encode_documents(self, texts: list[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        sparse = {"query": {0: 2.0, 3: 1.0}, "near": {0: 0.25, 1: 9.0}, "far": {2: 1.0}, "many": {0: 3.0, 3: 3.0}}
        dense = {"query": [1.0, 0.0], "near": [0.6, 0.8], "far": [-1.0, 0.0], "many": [1.0, 0.0]}
        rows = [SparseVector.from_dict(sparse[text]) for text in texts]
        vectors = np.array([dense[text] for text in texts], dtype=np.float32)
        return Encoding(vectors, sparse_matrix(rows, 4), tuple(row[None] for row in vectors) if multi else None)

    def encode_queries(self, texts: list[str], *, multi: bool = False) -> Encoding:
        return self.encode_documents(texts, multi=multi)

    def tokens(self, ids: list[int]) -> list[str]:
        return [""] * len(ids)


@pytest.mark.parametrize("kind", ["random", "tiny"])
def test_the_combined_score_is_flagembeddings(random_m3: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = random_m3 if kind == "random" else TINY
    with caplog.at_level(logging.CRITICAL):
        flag = flag_m3(folder, length=LENGTH)
    encoder = BgeM3Encoder(folder, device="cpu", max_length=LENGTH)
    for weights in WEIGHTS:
        found = [
            flag.compute_score_single_device(  # one at a time: padding of a batch is worth a cosine of 0 to it
                [(QUERY, text)],
                max_query_length=LENGTH,
                max_passage_length=LENGTH,
                weights_for_different_modes=list(weights),
                device="cpu",
            )["colbert+sparse+dense"]
            for text in TEXTS
        ]
        ours = LateInteractionReranker(encoder, weights=weights).score(QUERY, TEXTS)
        np.testing.assert_allclose(ours, np.clip(np.concatenate(found), 0, 1), rtol=0, atol=1e-5)
        assert np.ptp(ours) > 0.03  # the scores differ, so that equality says something


def test_the_combined_score_by_hand() -> None:
    """near: dense 0.6, sparse 2 * 0.25, multi 0.6; far: -1, 0, -1, below 0; many: 1, 2 * 3 + 1 * 3, 1, above 1."""
    scores = LateInteractionReranker(ByHand(), weights=(1, 0.5, 2.5)).score("query", ["near", "far", "many"])
    assert scores.dtype == np.float32
    assert scores.tolist() == pytest.approx([(0.6 + 0.25 + 1.5) / 4, 0.0, 1.0])


def test_the_multi_vector_score_alone_is_that_without_weights(encoder: BgeM3Encoder) -> None:
    plain, combined = LateInteractionReranker(encoder), LateInteractionReranker(encoder, weights=(0, 0, 2))
    np.testing.assert_allclose(combined.score(QUERY, TEXTS), plain.score(QUERY, TEXTS), rtol=0, atol=1e-6)


def test_it_is_a_reranker_whose_name_says_how_it_scores(encoder: BgeM3Encoder) -> None:
    reranker = LateInteractionReranker(encoder, weights=(1, 0.3, 1))
    assert isinstance(reranker, Reranker)
    assert reranker.name == "tiny (1 dense + 0.3 sparse + 1 late interaction)"
    assert repr(reranker) == f"LateInteractionReranker({encoder!r}, weights=(1.0, 0.3, 1.0))"
    assert reranker.score(QUERY, []).shape == (0,)


def test_an_index_reranks_by_it_in_the_querys_own_forward_pass(encoder: BgeM3Encoder) -> None:
    reranker = LateInteractionReranker(encoder, weights=(1, 0.3, 1))
    with HybridIndex.open(None, encoder=encoder, reranker=reranker) as index:
        ids = index.add([text for text in TEXTS if text])
        hits = index.search(QUERY, k=3)
    expected = dict(zip(ids, reranker.score(QUERY, [text for text in TEXTS if text]).tolist(), strict=True))
    assert [hit.score for hit in hits] == pytest.approx([expected[hit.passage.id] for hit in hits], abs=1e-5)
    assert hits[0].passage.text == QUERY


@pytest.mark.parametrize(
    "weights",
    [(1, 1), (1, 1, 1, 1), (0, 0, 0), (1, -1, 1), (1, float("nan"), 1), (1, True, 1), 0.5, "abc", (1, "1", 1)],
)
def test_what_are_no_weights_is_refused(encoder: BgeM3Encoder, weights: Any) -> None:
    with pytest.raises(InvalidInputError, match="weights="):
        LateInteractionReranker(encoder, weights=weights)


@pytest.mark.parametrize("encoder", ["BAAI/bge-m3", None, BgeM3Encoder])
def test_a_name_in_place_of_an_encoder_is_refused(encoder: Any) -> None:
    with pytest.raises(InvalidInputError, match="pass an object, not a name"):
        LateInteractionReranker(encoder)


def test_an_encoder_without_multi_vectors_is_refused() -> None:
    class Dense(ByHand):
        def encode_documents(self, texts: list[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
            return super().encode_documents(texts)

    with pytest.raises(InvalidInputError, match="no multi-vectors"):
        LateInteractionReranker(Dense()).score("query", ["near"])
