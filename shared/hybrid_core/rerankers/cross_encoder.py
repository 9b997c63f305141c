"""Cross-encoders: query and passage read together by one model."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_count, check_text, check_texts
from ..encoders.batching import run_batches, token_batches
from ..encoders.checkpoint import TINY, find_folder
from ..encoders.queue import BatchingQueue
from ..encoders.runtimes.base import Backend, Precision, ScorerRuntime
from ..encoders.runtimes.choose import choose_backend
from ..encoders.runtimes.onnx_folder import is_export
from ..encoders.runtimes.onnx_scorer import OnnxScorer
from ..encoders.runtimes.torch_scorer import TorchScorer
from ..encoders.runtimes.transformer import ROBERTA, unsupported
from ..encoders.tokenizing import load_tokenizer
from ..errors import EmbeddingError, ModelLoadError
from ..types import FloatArray, IntArray
from .base import Windowed
from .library_scorer import LibraryScorer
from .pairs import PairBuilder, Pairs
from .windows import Pooling, check_pooling

logger = logging.getLogger(__name__)

_WAITING = 64  # full passes that may wait; callers beyond them wait for room


class CrossEncoderReranker:
    """Scores passages with a sequence-classification model of one label.

    BAAI/bge-reranker-base, -large and -v2-m3, cross-encoder/ms-marco-MiniLM-L6-v2 and all of BERT's and XLM-RoBERTa's
    architecture run without padding on an engine of our own; any other architecture runs in sentence-transformers.

    A text that does not fit beside the query is read in overlapping windows, and `score_windows` names the best; each
    window's own characters, scored alone, give that window's score, unless a window had to begin or end inside a word.
    The windows of a call are run `batch_tokens` at a time, so the model's memory does not grow with a text's length.
    Only what lies beyond 256 windows is not read, and that is reported.

    Args:
        model: a hub name or a folder.
        precision: "auto" (float16 on a GPU, float32 on the CPU), "fp32", "fp16", "bf16", or "int8" (CPU; scores differ
            a little from the others').
        device: a torch device; None takes the best there is.
        backend: "torch", "onnx" (for what `bge-hybrid export` wrote), or "auto": whichever the folder is for.
        max_length: tokens of query and passage together; the model's own limit where that is less. Where they do not
            fit, a query over half of it is cut to half, and the passage is read in windows.
        pooling: how the windows of a text make its score: "max" is the best window's, "top3" the mean of the three
            best, "first" the first window's, without reading the others (what truncation would give).
        batch_tokens: the most tokens in a pass; None takes 2,048 on the CPU, 65,536 on a GPU.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, or it is not a reranker with one label.
        MissingDependencyError: torch is not installed.
        InvalidInputError: an argument is out of range.
    """

    def __init__(
        self,
        model: str | Path = "BAAI/bge-reranker-v2-m3",
        *,
        precision: Precision = "auto",
        device: str | None = None,
        backend: Backend = "auto",
        max_length: int = 1024,
        pooling: Pooling = "max",
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        check_count(max_length, "max_length", least=4)
        self._pooling = check_pooling(pooling)
        if batch_tokens is not None:
            check_count(batch_tokens, "batch_tokens", least=1)
        self.name, folder = find_folder(
            model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only
        )
        config = _read_config(folder, self.name)
        self._runtime = _open_runtime(folder, config, self.name, backend, device, precision)
        self._max_length = min(max_length, _own_limit(config, folder))
        self._pairs = PairBuilder(
            load_tokenizer(folder, self.name),
            self.name,
            max_length=self._max_length,
            typed=int(config.get("type_vocab_size", 1)) > 1,
            pooling=self._pooling,
        )
        self._batch_tokens = batch_tokens or (2_048 if self._runtime.device.startswith("cpu") else 65_536)
        self._queue = BatchingQueue(
            self._answer,
            weight=attrgetter("tokens"),
            most_weight=self._batch_tokens,
            most_waiting=_WAITING * self._batch_tokens,
            name=self.name,
        )

    @classmethod
    def tiny(cls, *, device: str | None = "cpu") -> CrossEncoderReranker:
        """Load the small English and Chinese model that comes with the package (6 MB, 256 tokens a pair, offline).

        Trained on technical documentation; a real model for first contact, demos and tests, weak outside its domain.
        """
        reranker = cls(Path(str(files("hybrid_core") / "models" / "tiny_reranker")), device=device)
        reranker.name = TINY
        return reranker

    @property
    def device(self) -> str:
        """The torch device in use."""
        return self._runtime.device

    @property
    def precision(self) -> str:
        """The precision in use: "fp32", "fp16", "bf16" or "int8"."""
        return self._runtime.precision

    def __repr__(self) -> str:
        return (
            f"CrossEncoderReranker({self.name!r}, max_length={self._max_length}, pooling={self._pooling!r}, "
            f"precision={self.precision!r}, device={self.device!r})"
        )

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return sigmoid(logit) of each text, float32 (n,) in [0, 1], in the order given.

        Calls from several threads share forward passes; a lone one waits for no one.

        Raises:
            InvalidTextError: the query or a text is not a string.
            EmbeddingError: naming the position of a text for which the model returned NaN.
        """
        return self.score_windows(query, texts).scores

    def score_windows(self, query: str, texts: Sequence[str]) -> Windowed:
        """Return what `score` returns, and of each text that is read in windows the characters of the best.

        Raises:
            InvalidTextError, EmbeddingError: as `score`.
        """
        check_text(query, "query")
        texts = check_texts(texts)
        if not texts:
            return Windowed(np.empty(0, dtype=np.float32), [])
        pairs = self._pairs.build(query, texts)
        found = pairs.pooled(self._queue.call(pairs), self._pooling)
        if np.isnan(found.scores).any():
            position = int(np.flatnonzero(np.isnan(found.scores))[0])
            raise EmbeddingError(f"{self.name!r} returned NaN for text {position}")
        return found

    def _answer(self, jobs: list[Pairs]) -> list[FloatArray]:
        """Score the pairs of several callers in shared passes."""
        rows = [row for job in jobs for row in job.rows]
        types = [kinds for job in jobs for kinds in job.types]
        logits = np.empty(len(rows), dtype=np.float64)
        batches = token_batches([len(row) for row in rows], self._batch_tokens)
        for batch, out in run_batches(batches, partial(self._run, rows, types)):
            logits[batch] = out
        with np.errstate(over="ignore"):  # exp of a large number is infinity, and 1 / infinity the 0 that is meant
            scores = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
        return np.split(scores, np.cumsum([len(job.rows) for job in jobs])[:-1])

    def _run(self, rows: list[IntArray], types: list[IntArray], batch: IntArray) -> FloatArray:
        return self._runtime.run([rows[i] for i in batch], [types[i] for i in batch] if types else None)


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"reranker {name!r} cannot be loaded: config.json: {error}") from error
    # a configuration of one label says so by naming it; without names, transformers means two
    labels = int(config.get("num_labels", len(config.get("id2label", {"0": "", "1": ""}))))
    if labels != 1:
        raise ModelLoadError(
            f"{name!r} has {labels} labels; a reranker has one. Use a model such as BAAI/bge-reranker-v2-m3"
        )
    return config


def _open_runtime(
    folder: Path, config: Mapping[str, Any], name: str, backend: Backend, device: str | None, precision: Precision
) -> ScorerRuntime:
    runtime: ScorerRuntime
    if choose_backend(name, backend, exported=is_export(folder)) == "onnx":
        runtime = OnnxScorer(folder, device=device, precision=precision)
    elif unsupported(config):
        runtime = LibraryScorer(folder, name=name, device=device, precision=precision)
    else:
        runtime = TorchScorer(folder, config, name=name, device=device, precision=precision)
    logger.info("%s runs on %s in %s on %s", name, runtime.backend, runtime.precision, runtime.device)
    return runtime


def _own_limit(config: Mapping[str, Any], folder: Path) -> int:
    """Tokens the model can take; RoBERTa's positions start behind the padding id."""
    limit = int(config.get("max_position_embeddings", 1 << 30))
    if config.get("model_type") in ROBERTA:
        limit -= int(config.get("pad_token_id", 1)) + 1
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        return min(limit, int(settings.get("model_max_length", limit)))
    except (OSError, ValueError):
        return limit
