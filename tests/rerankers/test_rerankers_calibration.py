"""Calibration: what a reranker's scores mean, fitted to labelled pairs, kept in a file, used in a search."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from stage_helpers import Clock, WordCount, corpus

from hybrid_core import (
    BgeM3Encoder,
    Cascade,
    CrossEncoderReranker,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    MissingDependencyError,
    StorageError,
)
from hybrid_core.rerankers.base import InstructedReranker, Reranker, WindowedReranker
from hybrid_core.rerankers.calibrated import CalibratedReranker, _rising
from hybrid_core.rerankers.calibration import Calibration
from hybrid_core.rerankers.curves import Isotonic, Method, Platt
from hybrid_core.rerankers.stage import RerankStage
from hybrid_core.types import FloatArray

torch.set_num_threads(1)

METHODS: list[Method] = ["platt", "isotonic"]
TEN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
HALVES = [0, 0, 1, 0, 0, 1, 1, 0, 1, 1]


@pytest.fixture(scope="module")
def tiny() -> CrossEncoderReranker:
    return CrossEncoderReranker.tiny()


@pytest.fixture(scope="module")
def labelled() -> list[tuple[str, str, bool]]:
    """Each title of the English passages beside its own passage and the next twelve: 38 of 494 pairs are relevant."""
    parts = [text.split("\n", 1) for text in corpus()]
    return [(parts[i][0], parts[(i + j) % len(parts)][1], j == 0) for i in range(len(parts)) for j in range(13)]


@pytest.fixture(scope="module")
def raw(tiny: CrossEncoderReranker, labelled: list[tuple[str, str, bool]]) -> FloatArray:
    """The small model's scores of these."""
    titles = dict.fromkeys(query for query, _, _ in labelled)
    return np.concatenate([tiny.score(title, [t for q, t, _ in labelled if q == title]) for title in titles])


@pytest.fixture(scope="module")
def fitted(raw: FloatArray, labelled: list[tuple[str, str, bool]]) -> Callable[[Method], Calibration]:
    labels = [label for _, _, label in labelled]
    return {method: Calibration.fit(raw, labels, reranker="tiny", method=method) for method in METHODS}.__getitem__


def sample(count: int = 400, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores whose logit is off by a factor and a shift, and labels drawn by what they should have been."""
    random = np.random.default_rng(seed)
    true = random.normal(-1, 2, count)
    scores = 1 / (1 + np.exp(-(2.5 * true - 1)))
    return scores, (random.random(count) < 1 / (1 + np.exp(-true))).astype(np.int64)


class AsGiven(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of scikit-learn's whose decision is the feature itself."""

    def fit(self, x: Any, y: Any) -> AsGiven:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x: Any) -> Any:
        return x[:, 0]

    def predict(self, x: Any) -> Any:
        return x[:, 0] > 0


class Fixed:
    """A reranker whose scores are written in the texts."""

    name = "fixed"

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        self.calls.append((query, list(texts)))
        return np.array([float(text) for text in texts], dtype=np.float32)


class Obedient(Fixed):
    """One that takes instructions, and obeys them."""

    instruction = "1"

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        return super().score(query, texts) * np.float32(self.instruction if instruction is None else instruction)


def logits(scores: Any) -> Any:
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return np.log(clipped) - np.log1p(-clipped)


# fitting


def test_platt_by_hand() -> None:
    """Two numbers for two scores: each probability is the mean of its five smoothed targets, 6/7 and 1/7."""
    fitted = Calibration.fit([0.25] * 5 + [0.75] * 5, [1, 0, 0, 0, 0, 1, 1, 1, 1, 0], reranker="r")
    np.testing.assert_allclose(fitted.apply([0.25, 0.75]), [2 / 7, 5 / 7], rtol=0, atol=1e-9)
    assert isinstance(fitted.curve, Platt)
    assert fitted.curve.slope == pytest.approx(math.log(2.5) / math.log(3), abs=1e-9)
    assert fitted.curve.intercept == pytest.approx(0, abs=1e-9)
    assert (fitted.method, fitted.pairs, fitted.relevant, fitted.reranker) == ("platt", 10, 5, "r")


def test_isotonic_by_hand() -> None:
    """Neighbours that violate the order are pooled: 1 0 0 becomes thirds, 1 1 0 two thirds, and these may stand."""
    fitted = Calibration.fit(TEN, HALVES, reranker="r", method="isotonic")
    third, thirds = 1 / 3, 2 / 3
    np.testing.assert_allclose(fitted.apply(TEN), [0, 0, third, third, third, thirds, thirds, thirds, 1, 1], atol=1e-12)
    assert fitted.apply([0.25, 0.0]).tolist() == pytest.approx([third / 2, 0])


def test_platt_is_where_the_likelihood_of_the_smoothed_targets_is_highest() -> None:
    scores, labels = sample()
    ones = int(labels.sum())
    targets = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (len(labels) - ones + 2))
    left = targets - Calibration.fit(scores, labels, reranker="r").apply(scores)
    assert abs(left.sum()) < 1e-6  # the derivatives by intercept and slope
    assert abs((left * logits(scores)).sum()) < 1e-6


def test_platt_predicts_as_scikit_learn() -> None:
    scores, labels = sample()
    ones = int(labels.sum())
    targets = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (len(labels) - ones + 2))
    x = logits(scores)[:, None]
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(
        np.concatenate([x, x]), np.repeat([1, 0], len(x)), sample_weight=np.concatenate([targets, 1 - targets])
    )
    fresh = sample(seed=1)[0]
    found = Calibration.fit(scores, labels, reranker="r").apply(fresh)
    np.testing.assert_allclose(found, model.predict_proba(logits(fresh)[:, None])[:, 1], rtol=0, atol=1e-9)


def test_isotonic_predicts_as_scikit_learn() -> None:
    scores, labels = sample()
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    fresh = np.concatenate([sample(seed=1)[0], [0.0, 1.0]])
    found = Calibration.fit(scores, labels, reranker="r", method="isotonic").apply(fresh)
    np.testing.assert_allclose(found, model.predict(fresh), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("method", "name", "tolerance"), [("platt", "sigmoid", 1e-5), ("isotonic", "isotonic", 1e-9)])
def test_it_agrees_with_scikit_learns_own_calibration(method: Method, name: str, tolerance: float) -> None:
    """Its sigmoid method smooths the targets too, and stops at a gradient of 1e-6."""
    scores, labels = sample()
    x = logits(scores)[:, None]
    model = CalibratedClassifierCV(FrozenEstimator(AsGiven().fit(x, labels)), method=name).fit(x, labels)
    found = Calibration.fit(scores, labels, reranker="r", method=method).apply(scores)
    np.testing.assert_allclose(found, model.predict_proba(x)[:, 1], rtol=0, atol=tolerance)


def test_platt_undoes_what_was_done_to_the_logits() -> None:
    """The sample's logits are 2.5 true - 1, so true is (logit + 1) / 2.5."""
    curve = Calibration.fit(*sample(20_000), reranker="r").curve
    assert isinstance(curve, Platt)
    assert curve.slope == pytest.approx(0.4, abs=0.02)
    assert curve.intercept == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1e-6, 1e-5), (0.4999, 0.5)])
def test_scores_that_part_the_classes_get_no_probability_of_0_or_1(low: float, high: float) -> None:
    found = Calibration.fit([low] * 50 + [high] * 50, [0] * 50 + [1] * 50, reranker="r").apply([low, high])
    np.testing.assert_allclose(found, [1 / 52, 51 / 52], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_higher_score_never_has_a_lower_probability(method: Method) -> None:
    for seed in range(20):
        fitted = Calibration.fit(*sample(40, seed), reranker="r", method=method)
        found = fitted.apply(np.linspace(0, 1, 10_001))
        assert (np.diff(found) >= 0).all()
        assert found.min() >= 0
        assert found.max() <= 1


@pytest.mark.parametrize("labels", [[bool(x) for x in HALVES], np.array(HALVES), np.array(HALVES, dtype=bool)])
def test_labels_may_be_of_any_kind_that_says_yes_and_no(labels: Any) -> None:
    assert Calibration.fit(TEN, labels, reranker="r") == Calibration.fit(TEN, HALVES, reranker="r")


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (TEN, HALVES[:9], "there are 10 scores but 9 labels"),
        (TEN[:9], HALVES[:9], "9 labelled pairs are too few; label 10 or more"),
        ([], [], "0 labelled pairs are too few"),
        (TEN, [1] * 10, "all 10 pairs are labelled relevant; both are needed"),
        (TEN, [0] * 10, "all 10 pairs are labelled not relevant; both are needed"),
        ([math.nan, *TEN[1:]], HALVES, r"scores\[0\]=nan must be a number from 0 to 1"),
        ([*TEN[:9], 3.2], HALVES, r"scores\[9\]=3.2 must be .* sigmoid"),
        ([TEN], HALVES, r"scores of shape \(1, 10\)"),
        (["high"] * 10, HALVES, r"scores=\['high'.* must be numbers from 0 to 1"),
        (TEN, [*HALVES[:9], 2], r"labels\[9\]=2 must be True or 1 .* grade >= 1"),
        (TEN, ["1", *HALVES[1:]], r"labels\[0\]='1' must be"),
        (TEN, [math.nan, *HALVES[1:]], r"labels\[0\]=nan must be"),
        (TEN, 5, "labels=5 must be a list"),
        (TEN, None, "labels=None must be a list"),
        (
            [0.3] * 10,
            HALVES,
            r"scores do not rise with relevance: the relevant pairs have 0.3 on average, the others 0.3",
        ),
        (TEN, [1] * 5 + [0] * 5, r"scores do not rise with relevance: the relevant pairs have 0.3 .* others 0.8"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_no_curve_can_be_fitted_to_is_refused(scores: Any, labels: Any, message: str, method: Method) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Calibration.fit(scores, labels, reranker="r", method=method)


def test_another_method_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="method='beta' must be one of 'platt', 'isotonic'"):
        Calibration.fit(TEN, HALVES, reranker="r", method="beta")  # type: ignore[arg-type]


# labelled pairs


def test_labelled_pairs_are_scored_query_by_query() -> None:
    reranker = Fixed()
    queries = ["a", "b"] * 5
    pairs = [(query, str(score), label) for query, score, label in zip(queries, TEN, HALVES, strict=True)]
    fitted = Calibration.of(reranker, pairs, method="isotonic")
    assert reranker.calls == [(name, [text for query, text, _ in pairs if query == name]) for name in ("a", "b")]
    np.testing.assert_allclose(
        fitted.apply(np.float32(TEN)),
        Calibration.fit(np.float32(TEN), HALVES, reranker="r", method="isotonic").apply(np.float32(TEN)),
    )
    assert fitted.reranker == "fixed"


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("q", "0.5"), r"pair 1 is \('q', '0.5'\); \(query, text, relevant\) is needed"),
        (("q", 0.5, 1), "text of pair 1 is 0.5"),
        ((None, "0.5", 1), "query of pair 1 is None"),
        (("q", "0.5", 3), r"labels\[1\]=3 must be"),
    ],
)
def test_what_is_no_labelled_pair_is_refused_before_anything_is_scored(pair: Any, message: str) -> None:
    reranker = Fixed()
    with pytest.raises(InvalidInputError, match=message):
        Calibration.of(reranker, [("q", "0.5", 1), pair])
    assert reranker.calls == []


def test_what_is_no_reranker_or_no_list_of_pairs_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="reranker='tiny' is no reranker; pass an object, not a name"):
        Calibration.of("tiny", [("q", "0.5", 1)])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="pairs=None is no list"):
        Calibration.of(Fixed(), None)  # type: ignore[arg-type]


def test_without_scikit_learn_nothing_is_scored_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    reranker = Fixed()
    with pytest.raises(MissingDependencyError, match=r'pip install "bge-hybrid\[eval\]"'):
        Calibration.of(reranker, [("q", "0.5", 1)])
    assert reranker.calls == []


def test_labelled_pairs_of_a_real_reranker(
    tiny: CrossEncoderReranker, labelled: list[tuple[str, str, bool]], raw: FloatArray
) -> None:
    found = Calibration.of(tiny, labelled[:26])
    expected = Calibration.fit(raw[:26], [label for _, _, label in labelled[:26]], reranker="tiny")
    assert (found.reranker, found.pairs, found.relevant) == ("tiny", 26, 2)
    np.testing.assert_allclose(found.apply(TEN), expected.apply(TEN), rtol=0, atol=1e-3)


def test_held_out_pairs_are_judged_better(labelled: list[tuple[str, str, bool]], raw: FloatArray) -> None:
    """Fitted on every other title, measured on the rest: Platt by both measures, isotonic (which gives 0) by Brier's."""
    labels = np.array([label for _, _, label in labelled])
    train = np.arange(len(labels)) // 13 % 2 == 0
    held = labels[~train]
    platt, isotonic = (
        Calibration.fit(raw[train], labels[train], reranker="tiny", method=method).apply(raw[~train])
        for method in METHODS
    )
    before = raw[~train].astype(np.float64)
    assert brier_score_loss(held, platt) < 0.8 * brier_score_loss(held, before)
    assert brier_score_loss(held, isotonic) < brier_score_loss(held, before)
    assert log_loss(held, platt) < 0.7 * log_loss(held, np.clip(before, 1e-7, 1 - 1e-7))


# the file


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_back_the_same_calibration(method: Method, tmp_path: Path) -> None:
    fitted = Calibration.fit(*sample(), reranker="模型/one", method=method)
    fitted.to_json(tmp_path / "c.json")
    again = Calibration.from_json(str(tmp_path / "c.json"))
    assert again == fitted
    fresh = sample(seed=1)[0]
    assert again.apply(fresh).tolist() == fitted.apply(fresh).tolist()  # to the last bit
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["reranker"] == "模型/one"


def test_a_file_is_used_without_scikit_learn(tmp_path: Path) -> None:
    Calibration.fit(TEN, HALVES, reranker="r").to_json(tmp_path / "c.json")
    code = """
import sys
sys.modules["sklearn"] = None
from hybrid_core.errors import MissingDependencyError
from hybrid_core.rerankers.calibration import Calibration
found = Calibration.from_json(sys.argv[1])
print(*found.apply([0.2, 0.8]).tolist())
try:
    Calibration.fit([0.1, 0.9] * 5, [0, 1] * 5, reranker="r")
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "c.json"], capture_output=True, text=True, check=True)
    numbers, said = done.stdout.splitlines()
    expected = Calibration.from_json(tmp_path / "c.json").apply([0.2, 0.8])
    assert [float(number) for number in numbers.split()] == expected.tolist()
    assert said == 'sklearn is not installed. Run: pip install "bge-hybrid[eval]"'


PLATT = {"format": 1, "reranker": "r", "pairs": 10, "relevant": 5, "method": "platt", "slope": 1.5, "intercept": -1}
ISOTONIC = {**PLATT, "method": "isotonic", "scores": [0.1, 0.5], "probabilities": [0, 1]}


def test_a_file_may_be_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(PLATT))
    assert Calibration.from_json(tmp_path / "c.json") == Calibration("r", Platt(1.5, -1.0), 10, 5)
    (tmp_path / "c.json").write_text(json.dumps(ISOTONIC))
    assert Calibration.from_json(tmp_path / "c.json") == Calibration("r", Isotonic((0.1, 0.5), (0.0, 1.0)), 10, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"is no JSON"),
        ("[" * 100_000, r"is no JSON"),
        ("[1]", r"\[1\] must be an object"),
        ({**PLATT, "format": 2}, "format=2 must be 1"),
        ({**PLATT, "method": "beta"}, "method='beta' must be one of"),
        ({**PLATT, "method": ["platt"]}, r"method=\['platt'\] must be one of"),
        ({**PLATT, "slope": 0}, "slope=0 must be a number > 0"),
        ({**PLATT, "slope": -2.0}, "slope=-2.0 must be a number > 0"),
        ({**PLATT, "slope": math.inf}, "slope=inf must be a number > 0"),
        ({**PLATT, "slope": 10**400}, "slope=1000"),
        ({**PLATT, "slope": True}, "slope=True must be"),
        ({key: value for key, value in PLATT.items() if key != "slope"}, "slope=None must be a number > 0"),
        ({**PLATT, "intercept": math.nan}, "intercept=nan must be a finite number"),
        ({**PLATT, "intercept": "0"}, "intercept='0' must be a finite number"),
        ({**PLATT, "pairs": 9}, "pairs=9 must be an integer >= 10"),
        ({**PLATT, "pairs": 10.0}, "pairs=10.0 must be an integer"),
        ({**PLATT, "relevant": 10}, "relevant=10 must be below pairs=10"),
        ({**PLATT, "relevant": 0}, "relevant=0 must be an integer >= 1"),
        ({**PLATT, "reranker": 7}, "reranker is 7"),
        ({**ISOTONIC, "scores": "0.1"}, "scores='0.1' must be a list"),
        ({**ISOTONIC, "scores": [0.1, 1.5]}, r"scores\[1\]=1.5 must be a number from 0 to 1"),
        ({**ISOTONIC, "scores": [0.5, 0.5]}, r"scores\[1\]=0.5 must be above"),
        ({**ISOTONIC, "scores": [0.1]}, "there are 1 scores but 2 probabilities"),
        ({**ISOTONIC, "probabilities": [1, 0]}, r"probabilities\[1\]=0.0 must not be below"),
        ({**ISOTONIC, "probabilities": [0.5, 0.5]}, r"probabilities=\[0.5, 0.5\] must rise"),
        ({**ISOTONIC, "probabilities": [0, None]}, r"probabilities\[1\]=None must be a number"),
        ({**ISOTONIC, "scores": [], "probabilities": []}, r"probabilities=\[\] must rise"),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_name_and_value(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InvalidInputError, match=message) as caught:
        Calibration.from_json(path)
    assert str(caught.value).startswith(str(path))
    assert "Calibration.to_json" in str(caught.value)


def test_a_file_that_is_not_there_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.json cannot be read: No such file"):
        Calibration.from_json(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match=r"binary\.json is no JSON"):
        Calibration.from_json(tmp_path / "binary.json")
    with pytest.raises(StorageError, match=r"c\.json cannot be written"):
        Calibration.fit(TEN, HALVES, reranker="r").to_json(tmp_path / "no" / "c.json")


# the reranker


def test_its_scores_are_the_probabilities(tiny: CrossEncoderReranker, fitted: Callable[[Method], Calibration]) -> None:
    query, texts = "how does a worker get its tasks?", corpus()[:10]
    for method in METHODS:
        calibrated = CalibratedReranker(tiny, fitted(method))
        found = calibrated.score(query, texts)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, fitted(method).apply(tiny.score(query, texts)), rtol=0, atol=1e-5)
    assert calibrated.name == "tiny (calibrated)"
    assert repr(calibrated).startswith("CalibratedReranker(CrossEncoderReranker('tiny'")


@pytest.mark.parametrize("method", METHODS)
def test_the_order_is_the_rerankers_own(
    tiny: CrossEncoderReranker, fitted: Callable[[Method], Calibration], method: Method
) -> None:
    calibration = fitted(method)
    texts = [*corpus(), "", corpus()[0]]
    query = "rotate the secret"
    if method == "isotonic":
        assert len(set(calibration.apply(tiny.score(query, texts)).tolist())) < 30  # there are plateaus
    ranked = RerankStage(CalibratedReranker(tiny, calibration)).rank(query, texts)
    assert [item.position for item in ranked] == [item.position for item in RerankStage(tiny).rank(query, texts)]


@given(st.lists(st.floats(0, 1, width=32), max_size=40), st.sampled_from([0.0, 0.3, 1.0]), st.floats(0, 1))
def test_ties_are_parted_and_nothing_moves_far(values: list[float], plateau: float, share: float) -> None:
    ascending = np.sort(np.array([plateau if i < share * len(values) else x for i, x in enumerate(values)]))
    risen = _rising(ascending)
    assert (np.diff(risen) > 0).all()
    np.testing.assert_allclose(risen, ascending, rtol=0, atol=6e-8 * (len(values) + 1))
    assert ((risen >= 0) & (risen <= 1)).all()


def test_equal_scores_stay_equal_and_no_text_is_no_score() -> None:
    calibrated = CalibratedReranker(Fixed(), Calibration("fixed", Isotonic((0.2, 0.4), (0.5, 1.0)), 10, 5))
    assert calibrated.score("q", ["0.9", "0.1", "0.9", "0.1"]).tolist() == [1.0, 0.5, 1.0, 0.5]
    assert calibrated.score("q", []).shape == (0,)
    assert calibrated.score_windows("q", []).windows == []


def test_windows_are_passed_through(tiny: CrossEncoderReranker, fitted: Callable[[Method], Calibration]) -> None:
    texts = ["short", "\n".join(corpus()[:10])]
    query = "how does a worker get its tasks?"
    calibrated = CalibratedReranker(tiny, fitted("platt"))
    found, raw = calibrated.score_windows(query, texts), tiny.score_windows(query, texts)
    assert found.windows == raw.windows
    assert found.windows[1] is not None
    np.testing.assert_allclose(found.scores, fitted("platt").apply(raw.scores), rtol=0, atol=1e-6)
    assert isinstance(calibrated, WindowedReranker)
    assert isinstance(calibrated, Reranker)
    plain = CalibratedReranker(Fixed(), Calibration("fixed", Platt(1.0, 0.0), 10, 5))
    assert plain.score_windows("q", ["0.5", "0.25"]).windows == [None, None]
    np.testing.assert_allclose(plain.score_windows("q", ["0.5", "0.25"]).scores, [0.5, 0.25], atol=1e-6)


def test_instructions_reach_a_reranker_that_takes_them_and_no_other(tiny: CrossEncoderReranker) -> None:
    calibrated = CalibratedReranker(Obedient(), Calibration("fixed", Platt(1.0, 0.0), 10, 5))
    assert isinstance(calibrated, InstructedReranker)
    assert calibrated.instruction == "1"
    np.testing.assert_allclose(calibrated.score("q", ["0.8"], instruction="0.5"), [0.4], atol=1e-6)
    [item] = RerankStage(calibrated).rank("q", ["0.8"], instruction="0.25")
    assert item.score == pytest.approx(0.2, abs=1e-6)
    plain = CalibratedReranker(tiny, Calibration("tiny", Platt(1.0, 0.0), 10, 5))
    assert not isinstance(plain, InstructedReranker)
    for ask in (plain.score, RerankStage(plain).rank):
        with pytest.raises(InvalidInputError, match=r"instruction='be strict', but .*tiny.* takes none"):
            ask("q", ["a"], instruction="be strict")  # type: ignore[operator]


def test_a_search_still_makes_the_multi_vectors_of_its_query_once(encoder: BgeM3Encoder) -> None:
    """It looks for the encoder of a reranker, to let the query's one pass give both."""
    late = LateInteractionReranker(encoder)
    assert CalibratedReranker(late, Calibration(late.name, Platt(1.0, 0.0), 10, 5)).encoder is encoder


def test_a_calibration_of_another_reranker_is_refused(tiny: CrossEncoderReranker) -> None:
    calibration = Calibration("BAAI/bge-reranker-base", Platt(1.0, 0.0), 10, 5)
    with pytest.raises(InvalidInputError, match="is of 'BAAI/bge-reranker-base'; scores of 'tiny' mean something else"):
        CalibratedReranker(tiny, calibration)
    own = Calibration("tiny", Platt(1.0, 0.0), 10, 5)
    with pytest.raises(InvalidInputError, match=r"is of 'tiny'; scores of 'tiny .calibrated.' mean"):
        CalibratedReranker(CalibratedReranker(tiny, own), own)


def test_what_is_no_reranker_or_no_calibration_is_refused(tiny: CrossEncoderReranker) -> None:
    own = Calibration("tiny", Platt(1.0, 0.0), 10, 5)
    with pytest.raises(InvalidInputError, match="reranker='tiny' is no reranker"):
        CalibratedReranker("tiny", own)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"calibration='c\.json' is none; Calibration\.from_json reads one"):
        CalibratedReranker(tiny, "c.json")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="'tiny' is a cascade; calibrate its last reranker within it"):
        CalibratedReranker(Cascade([(tiny, None)]), own)


def test_in_a_cascade_the_last_scores_are_probabilities() -> None:
    calibrated = CalibratedReranker(Fixed(), Calibration("fixed", Isotonic((0.2, 0.4), (0.5, 1.0)), 10, 5))
    stage = RerankStage(Cascade([(WordCount(Clock()), None), (calibrated, 2)]))
    ranked = stage.rank("q", ["0.1", "0.4", "0.3"], min_score=0.75)
    assert [(item.position, item.score) for item in ranked] == [(1, 1.0)]


def test_a_least_score_of_a_search_is_a_probability(
    tiny: CrossEncoderReranker, encoder: BgeM3Encoder, fitted: Callable[[Method], Calibration]
) -> None:
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines][:20]
    query = "How many times is a failed job tried again?"
    with HybridIndex.open(None, encoder=encoder, reranker=CalibratedReranker(tiny, fitted("platt"))) as index:
        index.add(texts)
        every = index.search(query, k=50)
        best = index.search(query, k=50, min_score=every[2].score)
    assert best == every[:3]
    by_text = dict(zip(texts, fitted("platt").apply(tiny.score(query, texts)), strict=True))
    assert [hit.score for hit in every] == pytest.approx([by_text[hit.passage.text] for hit in every], abs=1e-5)
