"""The precision stage: candidates in, ranked candidates out, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import check_count, check_text, check_texts
from ..costs import CostModel, sizes
from ..errors import EmbeddingError, InvalidInputError
from ..types import FloatArray, StageScore
from .base import InstructedReranker, Reranker, Span, Windowed, WindowedReranker
from .budget import Budget, Slicer
from .cascade import Cascade, Step

LAST = "reranked"  # the stage name of the last reranker; those before it are "reranked_1", "reranked_2"


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate after reranking.

    Attributes:
        position: its place in the texts given, from 0.
        stages: stage name -> score and rank among what that reranker scored: "reranked" is the only or last reranker,
            "reranked_1" and so on are those before it in a cascade. Empty where the budget left the candidate out.
        window: the characters [start, end) of the text that earned the score; None where the text was read as a whole,
            or was not scored.
    """

    position: int
    stages: Mapping[str, StageScore]
    window: Span | None

    @property
    def score(self) -> float | None:
        """The score of the last reranker that scored it; None where none did."""
        return list(self.stages.values())[-1].score if self.stages else None

    @property
    def scored(self) -> bool:
        """Whether a reranker scored it."""
        return bool(self.stages)


class RerankStage:
    """Ranks candidates by a reranker, and remembers how long that takes.

    Every call teaches it what scoring costs on this machine, with a budget or without, so keep one for as long as its
    reranker. Threads may share it. A call under a budget asks the reranker for one slice of the candidates after the
    other; the scores of a listwise model depend on the texts in the slice.

    Args:
        reranker: gives the scores; a `Cascade` for several in a row.
        clock: seconds that pass, from any beginning.

    Raises:
        InvalidInputError: the reranker is none.

    Example:
        >>> stage = RerankStage(CrossEncoderReranker.tiny())
        >>> texts = ["网关在这里配置限流。", "A worker pulls tasks from the queue."]
        >>> ranked = stage.rank("how does a worker get tasks?", texts, budget=Budget(milliseconds=100))
        >>> [item.position for item in ranked]
        [1, 0]
    """

    def __init__(self, reranker: Reranker, *, clock: Callable[[], float] = time.perf_counter) -> None:
        if not isinstance(reranker, Reranker):
            raise InvalidInputError(f"reranker={reranker!r:.80} is no reranker; pass an object, not a name")
        self.reranker = reranker
        self._clock = clock
        self._steps = reranker.steps if isinstance(reranker, Cascade) else (Step(reranker, None),)
        self._costs = [CostModel() for _ in self._steps]
        last = len(self._steps)
        self._names = [LAST if number == last else f"{LAST}_{number}" for number in range(1, last + 1)]

    def __repr__(self) -> str:
        return f"RerankStage({self.reranker!r})"

    def rank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        top_n: int | None = None,
        budget: Budget | None = None,
        min_score: float | None = None,
        instruction: str | None = None,
    ) -> list[Ranked]:
        """Order candidates by score.

        Args:
            query: what the texts should answer.
            texts: the candidates, best first so far; they are scored in this order.
            top_n: how many to return; None is all.
            budget: how long this may take; None scores all.
            min_score: leaves out what the last reranker gave less, and what it did not score: nothing vouches for that.
            instruction: in words, what makes a passage relevant; in a cascade for each reranker that takes one.

        Returns:
            What was scored, best first, what a later reranker of a cascade scored before the rest; then what was not,
            in the order given. Equal scores keep the order that they had.

        Raises:
            InvalidInputError: an argument is out of range, or an instruction is given and no reranker takes one.
            InvalidTextError: the query or a text is not a string.
            EmbeddingError, BackendUnavailableError: as the reranker raises them.
        """
        began = self._clock()
        if top_n is not None:
            check_count(top_n, "top_n")
        if budget is not None and not isinstance(budget, Budget):
            raise InvalidInputError(f"budget={budget!r:.80} is no Budget; pass Budget(milliseconds=...)")
        _check_score(min_score)
        self._check_instruction(instruction)
        check_text(query, "query")
        texts = check_texts(texts)
        if not texts or top_n == 0:
            return []
        call = _Call(query, texts, instruction)
        order = list(range(len(texts)))
        left = order if budget is None else order[: budget.max_candidates]
        for number, step in enumerate(self._steps):
            left = left[: step.depth]
            if budget is None:
                scores = self._score(call, number, left)
            else:
                end = began + budget.milliseconds / 1_000
                end -= self._reserve(call, number + 1, left, end - self._clock())
                scores = self._score_until(call, number, left, end, budget.min_candidates)
            left = call.note(self._names[number], left, scores)
            scored = set(left)
            order = left + [i for i in order if i not in scored]
        if min_score is not None:
            order = [i for i in order if LAST in call.stages[i] and call.stages[i][LAST].score >= min_score]
        return [Ranked(i, call.stages[i], call.windows[i]) for i in order[:top_n]]

    def _score(self, call: _Call, number: int, candidates: list[int]) -> FloatArray:
        """Return the scores of all candidates, asked for at once."""
        start = self._clock()
        scores = call.ask(self._steps[number].reranker, candidates)
        self._costs[number].learn(float(call.sizes[candidates].sum()), self._clock() - start)
        return scores

    def _score_until(self, call: _Call, number: int, candidates: list[int], end: float, least: int) -> FloatArray:
        """Return the scores of as many candidates as there is time for."""
        slicer = Slicer(self._costs[number], call.sizes[candidates], least)
        found = [np.empty(0, dtype=np.float32)]
        start = self._clock()
        while count := slicer.next(end - start):
            found.append(call.ask(self._steps[number].reranker, candidates[slicer.done : slicer.done + count]))
            now = self._clock()
            slicer.learn(count, now - start)
            start = now
        return np.concatenate(found)

    def _reserve(self, call: _Call, first: int, candidates: list[int], left: float) -> float:
        """Return the seconds to keep for the steps from `first` on: what they should need, and at most half.

        What they need is not known before they have run once; until then it is half.
        """
        needed = 0.0
        for step, costs in zip(self._steps[first:], self._costs[first:], strict=True):
            forecast = costs.forecast()
            if forecast is None:
                return left / 2
            needed += forecast.margin * forecast.seconds(float(call.sizes[candidates[: step.depth]].sum()))
        return min(needed, left / 2)

    def _check_instruction(self, instruction: str | None) -> None:
        if instruction is None:
            return
        check_text(instruction, "instruction")
        if not any(isinstance(step.reranker, InstructedReranker) for step in self._steps):
            raise InvalidInputError(
                f"instruction={instruction!r:.80}, but {self.reranker.name!r} takes none; leave it out"
            )


class _Call:
    """What one call is about, and what it has found so far."""

    def __init__(self, query: str, texts: list[str], instruction: str | None) -> None:
        self.sizes = sizes(query, texts)
        self.stages: list[dict[str, StageScore]] = [{} for _ in texts]
        self.windows: list[Span | None] = [None] * len(texts)
        self._query, self._texts, self._instruction = query, texts, instruction

    def ask(self, reranker: Reranker, candidates: list[int]) -> FloatArray:
        """Return a reranker's scores of some candidates, and keep their windows."""
        texts = [self._texts[i] for i in candidates]
        try:
            found = _ask(reranker, self._query, texts, self._instruction)
        except EmbeddingError as error:
            if candidates != list(range(len(candidates))):
                error.add_note(f"texts 0, 1, ... of that call are candidates {candidates}")
            raise
        for i, window in zip(candidates, found.windows, strict=True):
            self.windows[i] = window
        return found.scores

    def note(self, stage: str, candidates: list[int], scores: FloatArray) -> list[int]:
        """Keep the scores of the first candidates, and return those in order of their scores."""
        ordered = np.argsort(-scores, kind="stable").tolist()
        for rank, place in enumerate(ordered, start=1):
            self.stages[candidates[place]][stage] = StageScore(float(scores[place]), rank)
        return [candidates[place] for place in ordered]


def _ask(reranker: Reranker, query: str, texts: list[str], instruction: str | None) -> Windowed:
    told = {} if instruction is None or not isinstance(reranker, InstructedReranker) else {"instruction": instruction}
    if isinstance(reranker, WindowedReranker):
        return reranker.score_windows(query, texts, **told)
    return Windowed(reranker.score(query, texts, **told), [None] * len(texts))


def _check_score(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidInputError(f"min_score={value!r} must be a number from 0 to 1, as scores are")
