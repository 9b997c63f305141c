"""A reranker whose scores are probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..types import FloatArray
from .base import InstructedReranker, Reranker, Windowed, WindowedReranker
from .calibration import Calibration
from .cascade import Cascade

_ONE = int(np.float32(1).view(np.int32))


class CalibratedReranker:
    """A reranker whose scores say how probable it is that a passage is relevant, so that `min_score` can say it too.

    The order within a call is the reranker's own. Where the calibration gives different scores one probability, as on
    the plateaus of an isotonic curve, they are kept apart by the last bits of a float32: less than 1e-7 a text.
    Windows are passed through, and so are instructions where the reranker takes them.

    Args:
        reranker: gives the scores. Of a cascade calibrate the last reranker, and put it into the cascade.
        calibration: fitted to scores of that reranker.

    Raises:
        InvalidInputError: the calibration is of another reranker, or an argument is of the wrong kind.

    Example:
        >>> tiny = CrossEncoderReranker.tiny()
        >>> pairs = [("worker queue", f"A worker takes job {n} from the queue.", True) for n in range(5)]
        >>> pairs += [("worker queue", f"Page {n} has a footer.", False) for n in range(5)]
        >>> calibrated = CalibratedReranker(tiny, Calibration.of(tiny, pairs))
        >>> (calibrated.score("worker queue", ["The queue has a worker.", "A footer."]) > 0.5).tolist()
        [True, False]
    """

    def __init__(self, reranker: Reranker, calibration: Calibration) -> None:
        if isinstance(reranker, Cascade):
            raise InvalidInputError(f"{reranker.name!r} is a cascade; calibrate its last reranker within it")
        if not isinstance(reranker, Reranker):
            raise InvalidInputError(f"reranker={reranker!r:.80} is no reranker; pass an object, not a name")
        if not isinstance(calibration, Calibration):
            raise InvalidInputError(f"calibration={calibration!r:.80} is none; Calibration.from_json reads one")
        if calibration.reranker != reranker.name:
            raise InvalidInputError(
                f"this calibration is of {calibration.reranker!r}; scores of {reranker.name!r} mean something else: "
                "make one by Calibration.of(reranker, pairs)"
            )
        self.reranker = reranker
        self.calibration = calibration
        # attributes, since it is by their presence that a search knows what a reranker offers
        if isinstance(reranker, InstructedReranker):
            self.instruction = reranker.instruction
        if hasattr(reranker, "encoder"):
            self.encoder = reranker.encoder

    @property
    def name(self) -> str:
        """The reranker's name, marked as calibrated."""
        return f"{self.reranker.name} (calibrated)"

    def __repr__(self) -> str:
        return f"CalibratedReranker({self.reranker!r}, {self.calibration.method!r})"

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        """Return probabilities, float32 (n,) in [0, 1], in the order given.

        Raises:
            InvalidInputError: an instruction is given to a reranker that takes none, or a score is not in [0, 1].
            InvalidTextError, EmbeddingError, BackendUnavailableError: as the reranker raises them.
        """
        return self._calibrated(self.reranker.score(query, texts, **self._told(instruction)))

    def score_windows(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Windowed:
        """Return what `score` returns, and the reranker's windows; None for each text where it has none.

        Raises:
            InvalidInputError, InvalidTextError, EmbeddingError, BackendUnavailableError: as `score`.
        """
        if not isinstance(self.reranker, WindowedReranker):
            return Windowed(self.score(query, texts, instruction=instruction), [None] * len(texts))
        found = self.reranker.score_windows(query, texts, **self._told(instruction))
        return Windowed(self._calibrated(found.scores), found.windows)

    def _told(self, instruction: str | None) -> dict[str, str]:
        """Return what the reranker is given beside query and texts."""
        if instruction is None:
            return {}
        if not isinstance(self.reranker, InstructedReranker):
            raise InvalidInputError(
                f"instruction={instruction!r:.80}, but {self.reranker.name!r} takes none; leave it out"
            )
        return {"instruction": instruction}

    def _calibrated(self, scores: FloatArray) -> FloatArray:
        values = self.calibration.apply(scores)
        _, ascending, places = np.unique(scores, return_index=True, return_inverse=True)
        return _rising(values[ascending])[places]


def _rising(values: NDArray[np.float64]) -> FloatArray:
    """Return values, none below the one before it, as float32, each above the one before it.

    Read as integers, the bits of floats from 0 to 1 count them off, so that the next one is the next integer.
    """
    steps = np.arange(len(values))
    numbers = (values + 0.0).astype(np.float32).view(np.int32).astype(np.int64)  # + 0.0 takes a zero's sign away
    numbers = np.maximum.accumulate(numbers - steps) + steps
    numbers = np.minimum(numbers, _ONE - steps[::-1])
    return numbers.astype(np.int32).view(np.float32)
