"""What a reranker's scores mean: a curve from score to probability, fitted to pairs that the user has labelled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_count, check_text
from ..errors import InvalidInputError, StorageError, require
from .base import Reranker
from .curves import CURVES, Isotonic, Method, Platt, logit

LEAST_PAIRS = 10  # fewer say more about chance than about a reranker
_FORMAT = 1  # of the file


@dataclass(frozen=True, slots=True)
class Calibration:
    """The probability that a passage is relevant, by the score that a reranker gives it.

    It holds for passages like those that were labelled, whose share of relevant ones is part of every probability. So
    label what searches return, as it comes, rather than good examples of each kind.

    Attributes:
        reranker: the name of the reranker that gave the scores; no other may use this.
        curve: from score to probability.
        pairs: how many labelled pairs it was fitted to.
        relevant: how many of these were relevant.
    """

    reranker: str
    curve: Platt | Isotonic
    pairs: int
    relevant: int

    @property
    def method(self) -> Method:
        """How it was fitted."""
        return self.curve.method

    @classmethod
    def fit(
        cls, scores: ArrayLike, labels: Sequence[object] | NDArray[Any], *, reranker: str, method: Method = "platt"
    ) -> Calibration:
        """Fit a curve to scores of labelled passages. This needs scikit-learn; using the curve does not.

        Args:
            scores: (n,) in [0, 1], as the reranker gave them; n is at least 10, and some hundreds are better.
            labels: n of True or 1 for relevant, False or 0 for not; both must occur.
            reranker: the name of what gave the scores.
            method: "platt" fits two numbers to the logits of the scores, by scikit-learn's LogisticRegression without
                penalty and with Platt's smoothed targets: (N1 + 1) / (N1 + 2) for the N1 relevant pairs, 1 / (N0 + 2)
                for the N0 others, so that few pairs do not make a probability of 0 or 1 (Platt: Probabilistic Outputs
                for Support Vector Machines, 1999; Lin, Lin and Weng: A Note on Platt's Probabilistic Outputs, 2007).
                "isotonic" finds the never descending curve of the least squared error (Zadrozny and Elkan, KDD 2002)
                by scikit-learn's IsotonicRegression. It takes on any shape, but wants a thousand pairs, has plateaus,
                and may reach 0 and 1.

        Raises:
            InvalidInputError: lengths that differ, a score outside [0, 1], a label that is neither, fewer than 10
                pairs, one class only, or scores that do not rise with relevance.
            MissingDependencyError: scikit-learn is not installed.

        Example:
            >>> scores, labels = [0.1, 0.2, 0.3, 0.6, 0.9] * 4, [False, False, True, False, True] * 4
            >>> calibration = Calibration.fit(scores, labels, reranker="tiny", method="isotonic")
            >>> calibration.apply([0.1, 0.45, 0.9]).tolist()
            [0.0, 0.5, 1.0]
        """
        check_text(reranker, "reranker")
        if method not in CURVES:
            raise InvalidInputError(f"method={method!r:.80} must be one of {', '.join(map(repr, CURVES))}")
        given, relevant = _scores(scores), _labels(labels)
        if len(given) != len(relevant):
            raise InvalidInputError(f"there are {len(given)} scores but {len(relevant)} labels; one a score is needed")
        if len(given) < LEAST_PAIRS:
            raise InvalidInputError(f"{len(given)} labelled pairs are too few; label {LEAST_PAIRS} or more")
        ones = int(relevant.sum())
        if ones in (0, len(given)):
            raise InvalidInputError(
                f"all {len(given)} pairs are labelled {'relevant' if ones else 'not relevant'}; both are needed: label "
                "all of what some searches return"
            )
        curve = _fit_platt(given, relevant) if method == "platt" else _fit_isotonic(given, relevant)
        return cls(reranker, curve, len(given), ones)

    @classmethod
    def of(
        cls, reranker: Reranker, pairs: Iterable[tuple[str, str, object]], *, method: Method = "platt"
    ) -> Calibration:
        """Score labelled pairs by a reranker, and fit a curve to the scores.

        Args:
            reranker: what is to be calibrated; it is asked once for all texts of a query.
            pairs: (query, text, relevant).
            method: as in `fit`.

        Raises:
            InvalidInputError: a pair is none; and as `fit`.
            InvalidTextError: a query or a text is not a string.
            EmbeddingError, BackendUnavailableError: as the reranker raises them.
            MissingDependencyError: as `fit`, before anything is scored.
        """
        require("sklearn", "eval")
        if not isinstance(reranker, Reranker):
            raise InvalidInputError(f"reranker={reranker!r:.80} is no reranker; pass an object, not a name")
        if not isinstance(pairs, Iterable):
            raise InvalidInputError(f"pairs={pairs!r:.80} is no list of (query, text, relevant)")
        texts, labels = [], []
        places: dict[str, list[int]] = {}
        for i, pair in enumerate(pairs):
            if not isinstance(pair, (tuple, list)) or len(pair) != 3:
                raise InvalidInputError(f"pair {i} is {pair!r:.80}; (query, text, relevant) is needed")
            places.setdefault(check_text(pair[0], f"query of pair {i}"), []).append(i)
            texts.append(check_text(pair[1], f"text of pair {i}"))
            labels.append(pair[2])
        _labels(labels)
        scores = np.empty(len(texts))
        for query, rows in places.items():
            scores[rows] = reranker.score(query, [texts[i] for i in rows])
        return cls.fit(scores, labels, reranker=reranker.name, method=method)

    def apply(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the probabilities (n,) of scores (n,); a higher score never gets a lower one.

        Raises:
            InvalidInputError: a score is not in [0, 1].
        """
        return self.curve(_scores(scores))

    def to_json(self, path: str | Path) -> None:
        """Write a file for `from_json`, every number to the last bit.

        Raises:
            StorageError: it cannot be written.
        """
        about = {"format": _FORMAT, "reranker": self.reranker, "pairs": self.pairs, "relevant": self.relevant}
        content = {**about, "method": self.method, **asdict(self.curve)}
        try:
            Path(path).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error

    @classmethod
    def from_json(cls, path: str | Path) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            InvalidInputError: naming the file, and the value in it that no calibration has.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidInputError(
                f"{path} cannot be read: {error.strerror or error}; is it the right file?"
            ) from error
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path} is no JSON ({error}); Calibration.to_json writes such files") from None
        try:
            return _read(content)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}; Calibration.to_json writes such files") from None


def _read(content: object) -> Calibration:
    if not isinstance(content, dict):
        raise InvalidInputError(f"{content!r:.80} must be an object")
    if content.get("format") != _FORMAT:
        raise InvalidInputError(f"format={content.get('format')!r:.80} must be {_FORMAT} for this version")
    kind = CURVES.get(str(content.get("method")))
    if kind is None:
        raise InvalidInputError(f"method={content.get('method')!r:.80} must be one of {', '.join(map(repr, CURVES))}")
    parts: list[Any] = [content.get(field.name) for field in fields(kind)]  # a missing one is None, which none may be
    pairs = check_count(content.get("pairs"), "pairs", least=LEAST_PAIRS)
    relevant = check_count(content.get("relevant"), "relevant", least=1)
    if relevant >= pairs:
        raise InvalidInputError(f"relevant={relevant} must be below pairs={pairs}")
    return Calibration(check_text(content.get("reranker"), "reranker"), kind(*parts), pairs, relevant)


def _fit_platt(scores: NDArray[np.float64], relevant: NDArray[np.bool_]) -> Platt:
    logits = logit(scores)
    if np.ptp(logits) == 0:
        raise _not_rising(scores, relevant)
    ones = int(relevant.sum())
    targets = np.where(relevant, (ones + 1) / (ones + 2), 1 / (len(scores) - ones + 2))
    model: Any = require("sklearn.linear_model", "eval").LogisticRegression(
        C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1_000
    )
    model.fit(  # a target between 0 and 1 is each pair taken twice, by so much relevant, by the rest not
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        raise _not_rising(scores, relevant)
    return Platt(slope, intercept)


def _fit_isotonic(scores: NDArray[np.float64], relevant: NDArray[np.bool_]) -> Isotonic:
    model: Any = require("sklearn.isotonic", "eval").IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(scores, relevant.astype(np.float64))
    probabilities = model.y_thresholds_
    if probabilities[0] == probabilities[-1]:
        raise _not_rising(scores, relevant)
    return Isotonic(tuple(model.X_thresholds_.tolist()), tuple(probabilities.tolist()))


def _not_rising(scores: NDArray[np.float64], relevant: NDArray[np.bool_]) -> InvalidInputError:
    return InvalidInputError(
        f"scores do not rise with relevance: the relevant pairs have {scores[relevant].mean():.3g} on average, the "
        f"others {scores[~relevant].mean():.3g}; see that 1 means relevant, or take another reranker"
    )


def _scores(given: ArrayLike) -> NDArray[np.float64]:
    try:
        scores = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(f"scores={given!r:.80} must be numbers from 0 to 1") from None
    if scores.ndim != 1:
        raise InvalidInputError(f"scores of shape {scores.shape} must be one list of numbers")
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise InvalidInputError(
            f"scores[{wrong[0]}]={scores[wrong[0]]} must be a number from 0 to 1, as rerankers give; take sigmoid(x) "
            "of a logit x"
        )
    return scores


def _labels(given: Sequence[object] | NDArray[Any]) -> NDArray[np.bool_]:
    if isinstance(given, (str, bytes)) or not hasattr(given, "__len__"):
        raise InvalidInputError(f"labels={given!r:.80} must be a list of True or False, one a score")
    for i, label in enumerate(given):
        if not isinstance(label, (bool, int, float, np.bool_, np.number)) or label not in (0, 1):
            raise InvalidInputError(
                f"labels[{i}]={label!r:.80} must be True or 1 (relevant), or False or 0; of grades make grade >= 1"
            )
    return np.array(given, dtype=np.bool_)
