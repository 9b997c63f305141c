"""Ranking figures: BM25, scores of whole pools, fusion, nDCG@10 and recall@100."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Scores: TypeAlias = NDArray[np.float32]  # (queries, documents)
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of dense, after min-max


def counts(rows: list[list[int]], vocabulary: int, special: int = 5) -> csr_array:
    """Count the tokens of each text, special ones left out."""
    row = np.repeat(np.arange(len(rows)), [len(ids) for ids in rows])
    column = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in rows])
    keep = column >= special
    ones = np.ones(int(keep.sum()), dtype=np.float32)
    return csr_array((ones, (row[keep], column[keep])), shape=(len(rows), vocabulary))


def bm25(
    queries: list[list[int]], documents: list[list[int]], vocabulary: int, k1: float = 0.9, b: float = 0.4
) -> Scores:
    """Score by BM25 as Lucene does, over the model's own tokens."""
    tf = counts(documents, vocabulary)
    length = np.asarray(tf.sum(axis=1)).ravel()
    entries = tf.tocoo()
    row, column = entries.coords
    df = np.bincount(column, minlength=vocabulary)
    idf = np.log1p((len(documents) - df + 0.5) / (df + 0.5))
    norm = k1 * (1 - b + b * length / max(length.mean(), 1.0))
    weight = (idf[column] * entries.data / (entries.data + norm[row])).astype(np.float32)
    index = csr_array((weight, (row, column)), shape=entries.shape)
    return np.asarray((counts(queries, vocabulary) @ index.T).todense(), dtype=np.float32)


def ranks(scores: Scores) -> NDArray[np.int64]:
    """Return each document's place (0 is best) for each query; ties by the document's number."""
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.broadcast_to(np.arange(scores.shape[1]), order.shape), axis=1)
    return places


def reciprocal_rank(*lists: Scores, k: int = 60) -> Scores:
    """Fuse by reciprocal rank (Cormack 2009)."""
    fused: Scores = np.sum([1.0 / (k + 1 + ranks(scores)) for scores in lists], axis=0, dtype=np.float32)
    return fused


def weighted(dense: Scores, sparse: Scores, weight: float) -> Scores:
    """Fuse by a weighted sum after min-max per query over the pool."""
    return np.asarray(weight * _minmax(dense) + (1 - weight) * _minmax(sparse), dtype=np.float32)


def _minmax(scores: Scores) -> Scores:
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    return np.asarray((scores - low) / np.maximum(high - low, 1e-9), dtype=np.float32)


def gains(scores: Scores, targets: NDArray[np.int64], depth: int = 10) -> NDArray[np.float64]:
    """Return nDCG@depth of each query with one relevant document."""
    place = ranks(scores)[np.arange(len(targets)), targets]
    return np.where(place < depth, 1 / np.log2(place + 2.0), 0.0)


def figures(scores: Scores, targets: NDArray[np.int64]) -> dict[str, float]:
    """Return nDCG@10 and recall@100, rounded as they are reported."""
    place = ranks(scores)[np.arange(len(targets)), targets]
    return {"ndcg10": round(float(gains(scores, targets).mean()), 4), "r100": round(float((place < 100).mean()), 4)}
