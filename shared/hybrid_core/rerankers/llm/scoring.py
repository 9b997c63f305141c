"""From prompts to scores: padded batches, one queue before the model, the sigmoid at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...checks import check_count
from ...encoders.batching import run_batches
from ...encoders.queue import BatchingQueue
from ...errors import EmbeddingError
from ...types import FloatArray, IntArray
from ..base import Windowed
from ..windows import MOST_WINDOWS, Pooling, Reports
from .prompting import Prompts

logger = logging.getLogger(__name__)

_WAITING = 64  # full passes that may wait; callers beyond them wait for room


class LogitModel(Protocol):
    """A language model that answers yes or no."""

    @property
    def device(self) -> str:
        """Where it runs, as torch names it."""
        ...

    @property
    def precision(self) -> str:
        """The arithmetic: "fp32", "fp16" or "bf16"."""
        ...

    def run(self, prompts: Prompts, batch_tokens: int) -> FloatArray:
        """Return the logit of each prompt (n,), in passes of at most `batch_tokens` tokens."""
        ...


class Scorer:
    """Scores prompts, one call after the other.

    Args:
        model: gives the logits.
        name: of the model, for errors.
        batch_tokens: the most tokens in a pass, padding counted; None takes 4,096 on the CPU, 16,384 on a GPU.
    """

    def __init__(self, model: LogitModel, name: str, batch_tokens: int | None) -> None:
        self.device, self.precision = model.device, model.precision
        self._model, self._name = model, name
        self._batch_tokens = batch_tokens or (4_096 if model.device.startswith("cpu") else 16_384)
        self._reports = Reports(logger)
        # callers do not share passes: those of one call share the beginning of their prompts instead
        self._queue = BatchingQueue(
            self._run,
            weight=attrgetter("tokens"),
            most_weight=1,
            most_waiting=_WAITING * self._batch_tokens,
            name=name,
        )

    def score(self, prompts: Prompts, max_length: int) -> Windowed:
        """Return for each text the pooled sigmoid(logit) of its prompts, float32 (n,), and its best window.

        Args:
            prompts: of at least one text.
            max_length: what they were made to fit, for the report.

        Raises:
            EmbeddingError: naming the position of a text for which the model returned NaN.
        """
        self._report(prompts, max_length)
        logits = self._queue.call(prompts)
        if np.isnan(logits).any():
            position = prompts.text_of(int(np.flatnonzero(np.isnan(logits))[0]))
            raise EmbeddingError(f"{self._name!r} returned NaN for text {position}")
        with np.errstate(over="ignore"):  # exp of a large number is infinity, and 1 / infinity the 0 that is meant
            scores: FloatArray = (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        return prompts.pooled(scores)

    def _report(self, prompts: Prompts, max_length: int) -> None:
        if prompts.query_cut:
            self._reports.give(
                "the query has more tokens than max_length=%d leaves it, and its end is not read. Shorten it, or raise "
                "max_length. Reported once.", max_length,
            )  # fmt: skip
        if prompts.cut and prompts.pooling == "first":
            self._reports.give(
                "%d of %d texts are cut to fit max_length=%d; what lies beyond is not scored, for pooling='first'. "
                "Reported once.", prompts.cut, len(prompts.windows), max_length,
            )  # fmt: skip
        elif prompts.cut:
            self._reports.give(
                "%d of %d texts have over %d windows; what lies beyond is not scored. Split such texts, or raise "
                "max_length. Reported once.", prompts.cut, len(prompts.windows), MOST_WINDOWS,
            )  # fmt: skip

    def _run(self, jobs: list[Prompts]) -> list[FloatArray]:
        return [self._model.run(job, self._batch_tokens) for job in jobs]


def check_batch_tokens(batch_tokens: int | None) -> int | None:
    """Return the argument of that name, or raise InvalidInputError."""
    return None if batch_tokens is None else check_count(batch_tokens, "batch_tokens", least=1)


def run_padded(
    rows: Sequence[IntArray], run: Callable[[list[IntArray]], FloatArray], *, batch_tokens: int, device: str
) -> FloatArray:
    """Run rows in batches of like length and return one logit a row, float32 (n,), in the order given."""
    out = np.empty(len(rows), dtype=np.float32)
    # on a CPU tokens cost time, on a GPU passes do
    batches = padded_batches([len(row) for row in rows], batch_tokens, 0.75 if device.startswith("cpu") else 0.5)
    for batch, logits in run_batches(batches, lambda batch: run([rows[i] for i in batch])):
        out[batch] = logits
    return out


def padded_batches(lengths: Sequence[int], budget: int, least_filled: float) -> list[IntArray]:
    """Group rows that will be padded to the longest of their batch.

    Args:
        lengths: tokens of each row.
        budget: the most tokens a batch may hold, padding counted; a longer row gets a batch of its own.
        least_filled: a row shorter than this part of the longest starts a new batch.

    Returns:
        Batches of positions, longest rows first: each position once.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable").astype(np.int32)
    batches: list[IntArray] = []
    start = 0
    for end in range(1, len(order) + 1):
        longest = sizes[order[start]]
        if end < len(order) and (end + 1 - start) * longest <= budget and sizes[order[end]] >= least_filled * longest:
            continue
        batches.append(order[start:end])
        start = end
    return batches


def pad(rows: Sequence[IntArray]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return token ids (n, longest), zeros behind the end of each row, and the length of each row (n,)."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    ids = np.zeros((len(rows), int(lengths.max())), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return ids, lengths


class PromptReranker:
    """What the rerankers of this folder share: a name, a scorer, a length, and what is done about longer texts."""

    name: str
    _scorer: Scorer
    _max_length: int
    _pooling: Pooling

    @property
    def device(self) -> str:
        """The torch device in use."""
        return self._scorer.device

    @property
    def precision(self) -> str:
        """The precision in use: "fp32", "fp16" or "bf16"."""
        return self._scorer.precision

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, max_length={self._max_length}, precision={self.precision!r}, "
            f"device={self.device!r})"
        )
