"""Dense vectors on their own: hand arithmetic on vectors that are given, and the small model's real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from hybrid_core import BgeM3Encoder, Encoding, Fingerprint, InvalidInputError
from hybrid_core.evaluation import bitext, clustering, sts


class Given:
    """An encoder whose texts are angles in degrees: the cosine of two is that of their difference."""

    fingerprint = Fingerprint("angles", "", 2, 1, "cls", 8)

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        angles = np.radians([float(text.rstrip("abc")) for text in texts])
        dense = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        return Encoding(dense, csr_array((len(texts), 1), dtype=np.float32))

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        return self.encode_documents(texts)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [""] * len(ids)


def test_correlations_by_hand() -> None:
    # cosines 1, 0.5, 0 against 10, 4, 1: deviations (.5, 0, -.5) and (5, -1, -4)
    found = sts(Given(), ["0", "0", "0"], ["0", "60", "90"], [10, 4, 1])
    assert found.pearson == pytest.approx(4.5 / (0.5**0.5 * 42**0.5), abs=1e-6)
    assert found.spearman == pytest.approx(1.0)
    assert found.pairs == 3
    assert sts(Given(), ["0", "0", "0"], ["0", "60", "90"], [1, 4, 10]).spearman == pytest.approx(-1.0)


def test_vectors_that_tell_nothing_apart_correlate_with_nothing() -> None:
    assert sts(Given(), ["0", "0"], ["0", "0"], [1, 2]).as_dict() == {"pairs": 2, "pearson": 0.0, "spearman": 0.0}


def test_clusters_that_are_the_labels() -> None:
    texts = ["0", "1", "2", "90", "91", "92", "180", "181"]
    found = clustering(Given(), texts, ["x", "x", "x", "y", "y", "y", "z", "z"])
    assert (found.texts, found.clusters) == (8, 3)
    assert found.v_measure == pytest.approx(1.0)
    assert found.nmi == pytest.approx(1.0)


def test_clusters_across_the_labels() -> None:
    """Two clusters of two, each with one of either label, say nothing of the labels."""
    found = clustering(Given(), ["0", "1", "180", "181"], ["x", "y", "x", "y"])
    assert found.v_measure == pytest.approx(0.0, abs=1e-9)
    assert found.nmi == pytest.approx(0.0, abs=1e-9)


def test_clusters_that_split_a_label_unevenly() -> None:
    """Clusters {a, a, a} and {a, b, b}, by hand: H(K) = ln 2, H(C) of (4, 2), I = H(C) - H(C|K)."""
    found = clustering(Given(), ["0", "1", "2", "180", "181", "182"], ["a", "a", "a", "a", "b", "b"])
    entropy_c = -(4 / 6 * np.log(4 / 6) + 2 / 6 * np.log(2 / 6))
    entropy_k = np.log(2)
    information = entropy_c - 0.5 * -(1 / 3 * np.log(1 / 3) + 2 / 3 * np.log(2 / 3))
    assert found.v_measure == pytest.approx(2 * information / (entropy_c + entropy_k))
    assert found.nmi == pytest.approx(information / np.sqrt(entropy_c * entropy_k))


def test_the_nearest_neighbour_in_both_directions() -> None:
    # forward: 0 -> 2, 40 -> 35, 50 -> 35 (wrong); backward: 2 -> 0, 35 -> 40, 90 -> 50
    found = bitext(Given(), ["0", "40", "50"], ["2", "35", "90"])
    assert found.as_dict() == {
        "pairs": 3,
        "forward": pytest.approx(2 / 3),
        "backward": 1.0,
        "mean": pytest.approx(5 / 6),
    }


def test_a_neighbour_with_the_text_of_the_translation_is_the_translation() -> None:
    assert bitext(Given(), ["0", "10a", "10b"], ["0", "10", "10"]).forward == 1.0


def test_the_small_model_on_its_own_languages(encoder: BgeM3Encoder) -> None:
    english = ["Restart the worker.", "The request was rejected by the gateway.", "Back up the database every night."]
    chinese = ["重启工作节点。", "请求被网关拒绝。", "每天晚上备份数据库。"]
    found = bitext(encoder, english, chinese)
    assert found.pairs == 3
    assert 0 <= found.forward <= 1
    similar = ["Restart the worker now.", "The gateway rejected the request.", "The moon is full tonight."]
    assert sts(encoder, english, similar, [5, 5, 0]).pearson > 0.5


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda e: sts(e, ["0"], ["0", "1"], [1, 2]), "1 and 2 sentences with 2 scores"),
        (lambda e: sts(e, ["0"], ["0"], [1]), "two or more"),
        (lambda e: sts(e, ["0", "1"], ["0", "1"], [1, 1]), "not all the same"),
        (lambda e: sts(e, ["0", "1"], ["0", "1"], [1, float("nan")]), "finite scores"),
        (lambda e: clustering(e, ["0", "1"], ["x"]), "2 texts with 1 labels"),
        (lambda e: clustering(e, ["0", "1"], ["x", "x"]), "two distinct"),
        (lambda e: bitext(e, ["0"], []), "1 sentences and 0 translations"),
        (lambda e: bitext(e, [], []), "0 sentences"),
    ],
)
def test_what_cannot_be_compared(call: Any, part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        call(Given())
