"""Several rerankers in a row: a cheap one over many candidates, a strong one over the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..checks import check_count, check_text, check_texts
from ..errors import InvalidInputError
from ..types import FloatArray
from .base import Reranker


class Step(NamedTuple):
    """One reranker of a cascade.

    Attributes:
        reranker: what scores.
        depth: how many of the best so far it scores; None is all of them.
    """

    reranker: Reranker
    depth: int | None


class Cascade:
    """Rerankers of which each scores only the best that the one before it found.

    What a later one scored ranks above all that only earlier ones did. A `RerankStage` runs the steps under one budget
    and keeps each one's scores; as a plain reranker a cascade scores without a budget.

    Args:
        steps: (reranker, depth) pairs, first to last; a depth of None is all that are left.

    Raises:
        InvalidInputError: there is no step, or one is no such pair.

    Example:
        >>> late = LateInteractionReranker(BgeM3Encoder.tiny())
        >>> Cascade([(late, None), (CrossEncoderReranker.tiny(), 10)]).name
        'tiny (late interaction) > tiny'
    """

    def __init__(self, steps: Sequence[tuple[Reranker, int | None]]) -> None:
        if not isinstance(steps, (list, tuple)):
            raise InvalidInputError(f"steps={steps!r:.80} is no list of (reranker, depth) pairs")
        self.steps = tuple(_step(number, given) for number, given in enumerate(steps))
        if not self.steps:
            raise InvalidInputError("a cascade needs at least one (reranker, depth) pair")

    @property
    def name(self) -> str:
        """The names of its rerankers, first to last."""
        return " > ".join(step.reranker.name for step in self.steps)

    def __repr__(self) -> str:
        return f"Cascade({[tuple(step) for step in self.steps]!r})"

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return (k + s) / n for a text that the k-th of n steps, counted from 0, scored last, with s.

        So scores are float32 in [0, 1] and order texts as the cascade does: the further a text came, the higher.

        Raises:
            InvalidTextError: the query or a text is not a string.
        """
        check_text(query, "query")
        texts = check_texts(texts)
        scores = np.zeros(len(texts), dtype=np.float32)
        left = np.arange(len(texts))
        for number, step in enumerate(self.steps):
            left = left[: step.depth]
            if not len(left):
                break
            found = step.reranker.score(query, [texts[i] for i in left])
            scores[left] = (number + found) / len(self.steps)
            left = left[np.argsort(-found, kind="stable")]
        return scores


def _step(number: int, given: object) -> Step:
    if not isinstance(given, tuple) or len(given) != 2:
        raise InvalidInputError(f"step {number} is {given!r:.80}; a (reranker, depth) pair is needed")
    reranker, depth = given
    if isinstance(reranker, Cascade):
        raise InvalidInputError(f"step {number} is itself a cascade; put its steps into this one")
    if not isinstance(reranker, Reranker):
        raise InvalidInputError(f"step {number} has {reranker!r:.80} for a reranker; pass an object, not a name")
    return Step(reranker, None if depth is None else check_count(depth, f"depth of step {number}", least=1))
