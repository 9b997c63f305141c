"""The dense vectors on their own: similarity of sentences, clusters, and translations."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..encoders.base import Encoder
from ..errors import InvalidInputError, require

_ROWS = 1_024  # vectors compared with all others at once


@dataclass(frozen=True, slots=True)
class StsResult:
    """Agreement of cosines with people's scores of similarity.

    Attributes:
        pairs: number of pairs of sentences.
        pearson: correlation of the values, in [-1, 1].
        spearman: correlation of the ranks, in [-1, 1]: MTEB's main figure.
    """

    pairs: int
    pearson: float
    spearman: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ClusteringResult:
    """Agreement of k-means clusters with labels.

    Attributes:
        texts: number of texts.
        clusters: number of distinct labels, and so of clusters.
        v_measure: harmonic mean of homogeneity and completeness, in [0, 1]: MTEB's main figure. It equals the mutual
            information normalised by the arithmetic mean of the entropies.
        nmi: mutual information normalised by the geometric mean of the entropies (Strehl, Ghosh 2002), in [0, 1].
    """

    texts: int
    clusters: int
    v_measure: float
    nmi: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BitextResult:
    """How often a sentence's translation is its nearest neighbour in the other language.

    Attributes:
        pairs: number of pairs.
        forward: accuracy from left to right, in [0, 1].
        backward: accuracy from right to left.
    """

    pairs: int
    forward: float
    backward: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields and their mean."""
        return {**asdict(self), "mean": (self.forward + self.backward) / 2}


def sts(encoder: Encoder, first: Sequence[str], second: Sequence[str], scores: Sequence[float]) -> StsResult:
    """Correlate the cosines of pairs of sentences with people's scores.

    Args:
        encoder: the model; both sentences are encoded as passages.
        first: one sentence of each pair.
        second: the other.
        scores: how similar they are, on any scale.

    Raises:
        InvalidInputError: lengths differ, there are fewer than two pairs, or scores are all equal or not finite.
    """
    gold = np.asarray(scores, dtype=np.float64)
    if not (len(first) == len(second) == len(gold) >= 2) or not np.isfinite(gold).all() or np.ptp(gold) == 0:
        raise InvalidInputError(
            f"{len(first)} and {len(second)} sentences with {len(gold)} scores: as many of each are needed, two or "
            "more, and finite scores that are not all the same"
        )
    left, right = encoder.encode_documents(first).dense, encoder.encode_documents(second).dense
    cosines = np.einsum("ij,ij->i", left.astype(np.float64), right.astype(np.float64))
    if np.ptp(cosines) == 0:
        return StsResult(len(gold), 0.0, 0.0)  # vectors that tell nothing apart agree with nothing
    pearson, spearman = stats.pearsonr(cosines, gold).statistic, stats.spearmanr(cosines, gold).statistic
    return StsResult(len(gold), float(pearson), float(spearman))


def clustering(
    encoder: Encoder, texts: Sequence[str], labels: Sequence[Hashable], *, seed: int = 0
) -> ClusteringResult:
    """Cluster texts by k-means with as many clusters as there are labels, and compare.

    Args:
        encoder: the model; texts are encoded as passages.
        texts: the texts.
        labels: the class of each.
        seed: of k-means, which starts ten times.

    Raises:
        InvalidInputError: lengths differ, or there are fewer than two labels.
        MissingDependencyError: scikit-learn is not installed.
    """
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    if len(texts) != len(labels) or len(numbers) < 2:
        raise InvalidInputError(
            f"{len(texts)} texts with {len(labels)} labels, {len(numbers)} of them distinct: one a text and at least "
            "two distinct ones are needed"
        )
    cluster, metrics = require("sklearn.cluster", "eval"), require("sklearn.metrics", "eval")
    gold = [numbers[label] for label in labels]
    vectors = encoder.encode_documents(texts).dense
    found = cluster.KMeans(n_clusters=len(numbers), n_init=10, random_state=seed).fit_predict(vectors)
    return ClusteringResult(
        texts=len(texts),
        clusters=len(numbers),
        v_measure=float(metrics.v_measure_score(gold, found)),
        nmi=float(metrics.normalized_mutual_info_score(gold, found, average_method="geometric")),
    )


def bitext(encoder: Encoder, left: Sequence[str], right: Sequence[str]) -> BitextResult:
    """Look for each sentence's translation among all sentences of the other language, in both directions.

    A neighbour with the very text of the translation is the translation.

    Args:
        encoder: the model; both sides are encoded as passages.
        left: sentences in one language.
        right: their translations, in the same order.

    Raises:
        InvalidInputError: lengths differ, or there are no pairs.
    """
    if len(left) != len(right) or not left:
        raise InvalidInputError(f"{len(left)} sentences and {len(right)} translations; one for each is needed")
    a, b = encoder.encode_documents(left).dense, encoder.encode_documents(right).dense
    return BitextResult(len(left), _accuracy(a, b, right), _accuracy(b, a, left))


def _accuracy(queries: NDArray[np.float32], pool: NDArray[np.float32], texts: Sequence[str]) -> float:
    right = 0
    for start in range(0, len(queries), _ROWS):
        nearest = (queries[start : start + _ROWS] @ pool.T).argmax(axis=1)
        right += sum(texts[j] == texts[start + i] for i, j in enumerate(nearest.tolist()))
    return right / len(queries)
