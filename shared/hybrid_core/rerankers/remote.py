"""RemoteReranker: scores from a model server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from ..checks import check_count, check_text, check_texts
from ..encoders.remote.served import tei_served
from ..errors import EmbeddingError, InvalidInputError
from ..http.address import check_url
from ..http.answers import is_number
from ..http.batching import request_slices, sendable
from ..http.client import JsonClient
from ..http.keys import KeySource
from ..http.once import Once
from ..types import FloatArray
from .base import Span, Windowed
from .remote_apis import RerankApiName, find_api
from .windows import MOST_WINDOWS, Pooling, Reports, check_pooling, cut_text, pool_all

logger = logging.getLogger(__name__)

ScoreScale: TypeAlias = Literal["probability", "logit", "cosine"]

_SLACK = 1e-3  # what half precision may put above 1 or below 0
_BYTES = 3  # of UTF-8 in a token, at the least in most texts; about four on average, in English as in Chinese
_ASSUMED, _LEAST = 8_192, 512  # tokens: what rerankers in use read at the most, and at the least


class _Limits(NamedTuple):
    """What a request may hold, and what is read of a text beside a query."""

    texts: int
    tokens: int
    known: bool


class RemoteReranker:
    """Scores passages with a reranker that a server or a service already serves.

    Nothing is asked of the server before the first score. Texts beyond what a request may hold go in several, a few at
    a time; the scores of listwise models (jina-reranker-v3) depend on the texts beside them, so keep those in one
    request. Threads may share the object. Close it, or use it in a `with` block.

    A server cuts what is longer than its model takes, and does not say so. So a text that may be too long is sent in
    overlapping windows, and `score_windows` names the best.

    Args:
        url: the server's address, with or without "/v1" at the end; None is the service's own for "cohere", "jina" and
            "voyage". A user and password in it are sent, and never shown.
        api: "tei" (text-embeddings-inference, /rerank), "vllm" (/v1/rerank), "infinity" (/rerank), "cohere"
            (/v2/rerank), "jina" or "voyage" (/v1/rerank).
        model: its name, needed for the three services; else None is what the server serves.
        api_key: a str, anything with `get_secret_value()`, or a function that gives a str for each request. It is never
            shown. The three services need one.
        headers: sent with each request; the values are never shown.
        scale: what the model's scores are: "probability" (in [0, 1] already, as all these APIs give for cross-encoders
            with one label), "logit" (any number; the sigmoid is taken), "cosine" (in [-1, 1]; (1 + x) / 2 is taken).
        max_length: tokens of query and text together that the model reads. They are estimated, at three bytes of UTF-8
            each, since the tokenizer is elsewhere. None is what TEI reports; 4,096 for Cohere, 8,192 for Jina, 8,000
            for Voyage; and 8,192 for vLLM and Infinity, which do not say: a warning tells once that it matters.
        pooling: how the windows of a text make its score: "max" is the best window's, "top3" the mean of the three
            best; "first" sends long texts whole, and the server reads their beginning.
        batch_size: texts in a request; None takes 32 (TEI), 64 (vLLM, Infinity), 100 (Jina) or 1,000 (Cohere, Voyage).
            Never more than TEI reports that it takes.
        concurrency: requests under way at a time.
        timeout: seconds to wait for a connection (10 at most) and for each part of an answer.
        deadline: seconds a request may take, with its retries.
        max_retries: how often a request is repeated that met a timeout, a broken connection, 408, 425, 429 or 5xx.

    Raises:
        InvalidInputError: an argument is out of range.
        MissingDependencyError: httpx or tenacity is not installed.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api: RerankApiName,
        model: str | None = None,
        api_key: KeySource | None = None,
        headers: Mapping[str, str] | None = None,
        scale: ScoreScale = "probability",
        max_length: int | None = None,
        pooling: Pooling = "max",
        batch_size: int | None = None,
        concurrency: int = 4,
        timeout: float = 60.0,
        deadline: float = 180.0,
        max_retries: int = 3,
    ) -> None:
        self._api = find_api(api)
        if model is not None and not check_text(model, "model"):
            raise InvalidInputError("model='' names nothing; leave it out")
        if self._api.home and model is None:
            raise InvalidInputError(f"api={api!r} needs model=, the name of one of the service's rerankers")
        if self._api.home and url is None and api_key in (None, "") and not headers:
            raise InvalidInputError(f"api={api!r} needs api_key=, the key of your account there")
        if scale not in get_args(ScoreScale):
            raise InvalidInputError(f"scale={scale!r:.80} must be one of {', '.join(map(repr, get_args(ScoreScale)))}")
        self._max_length = None if max_length is None else check_count(max_length, "max_length", least=16)
        self._pooling = check_pooling(pooling)
        self._batch_size = check_count(self._api.batch if batch_size is None else batch_size, "batch_size", least=1)
        if self._api.most_texts and self._batch_size > self._api.most_texts:
            raise InvalidInputError(
                f"batch_size={batch_size} is over the {self._api.most_texts} texts that api={api!r} takes in a request"
            )
        self._model, self._scale = model, scale
        self._client = JsonClient(
            check_url(self._api.home if url is None else url), api_key=api_key, headers=headers, timeout=timeout,
            deadline=deadline, max_retries=max_retries, concurrency=concurrency,
        )  # fmt: skip
        self._server = str(self._client.address)
        self._limits = Once(self._find_limits)
        self._reports = Reports(logger)

    @property
    def name(self) -> str:
        """The model's name as given, or the server's address."""
        return self._model or self._server

    def __repr__(self) -> str:
        return f"RemoteReranker({self._server!r}, api={self._api.name!r}, model={self._model!r})"

    def __enter__(self) -> RemoteReranker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; may be called twice."""
        self._client.close()

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return the score of each text, float32 (n,) in [0, 1], in the order given.

        Raises:
            InvalidTextError: the query or a text is not a string.
            BackendUnavailableError: no answer in time, after the retries; or the key is refused.
            ModelLoadError: the server does not serve the route or the model.
            ModelError: the server refuses a request, with its own words; or the reranker is closed.
            EmbeddingError: the answer is not one number on the scale for each text.
        """
        return self.score_windows(query, texts).scores

    def score_windows(self, query: str, texts: Sequence[str]) -> Windowed:
        """Return what `score` returns, and of each text that is sent in windows the characters of the best.

        Raises:
            InvalidTextError, BackendUnavailableError, ModelLoadError, ModelError, EmbeddingError: as `score`.
        """
        check_text(query, "query")
        texts = check_texts(texts)
        if not texts:
            return Windowed(np.empty(0, dtype=np.float32), [])
        limits = self._limits.get()
        windows = self._cut(query, texts, limits)
        owners = [i for i, spans in enumerate(windows) for _ in spans]
        pieces = [
            text if span is None else text[slice(*span)]
            for text, spans in zip(texts, windows, strict=True)
            for span in spans
        ]
        values = self._ask(query, pieces, limits.texts)
        with self._client.judging():
            return pool_all(self._scaled(values, owners), windows, self._pooling)

    def _ask(self, query: str, texts: list[str], most: int) -> list[Any]:
        """Return what the server gives for each text, in as many requests as it takes."""
        query = sendable(query, self._api.most_characters)
        sent = [sendable(text, self._api.most_characters) for text in texts]
        beside = len(query.encode()) if self._api.query_counts else 0
        slices = request_slices(sent, most=most, budget=self._api.most_bytes, beside=beside)

        def call(part: slice, unwanted: threading.Event) -> Any:
            return self._client.post(self._api.route, self._api.body(query, sent[part], self._model), unwanted)

        values: list[Any] = []
        with closing(self._client.each(call, slices)) as answers, self._client.judging():
            for part, answer in zip(slices, answers, strict=True):
                values += self._api.scores(answer, part.stop - part.start, self._server)
        return values

    def _cut(self, query: str, texts: list[str], limits: _Limits) -> list[tuple[Span | None, ...]]:
        """Return the windows of each text, (None,) of one that is sent whole, and report what may not be read."""
        whole, asked = _BYTES * limits.tokens, len(query.encode())
        room = whole - min(asked, whole // 2)
        if self._api.most_characters:
            room = min(room, self._api.most_characters)
        sizes = [len(text.encode()) for text in texts]
        long = [size > room for size in sizes]
        if asked > whole // 2:
            self._reports.give(
                "the query has %d bytes, over half of what %s reads of query and text together, and may be cut there. "
                "Shorten it, or raise max_length=. Reported once.", asked, self.name,
            )  # fmt: skip
        if not limits.known and max(sizes) + asked > _BYTES * _LEAST:
            self._reports.give(
                "texts of up to %d bytes are sent, and %s does not say how much of them its model reads; it may cut "
                "those of over about %d tokens. Pass max_length=, the model's own. Reported once.",
                max(sizes), self._server, _LEAST,
            )  # fmt: skip
        if self._pooling == "first":
            if any(long):
                self._reports.give(
                    "%d of %d texts are probably cut by the server, for pooling='first'. Reported once.",
                    sum(long), len(texts),
                )  # fmt: skip
            return [(None,) for _ in texts]
        windows: list[tuple[Span | None, ...]] = [
            tuple(cut_text(text, room)) if over else (None,) for text, over in zip(texts, long, strict=True)
        ]
        beyond = sum(len(spans) == MOST_WINDOWS for spans in windows)
        if beyond:
            self._reports.give(
                "%d of %d texts have %d windows or more; what lies beyond is not scored. Split such texts, or raise "
                "max_length=. Reported once.", beyond, len(texts), MOST_WINDOWS,
            )  # fmt: skip
        return windows

    def _find_limits(self) -> _Limits:
        """Return what a request may hold and how much of a text is read; only TEI has to be asked."""
        told = self._max_length or self._api.max_tokens
        if self._api.name != "tei":
            return _Limits(self._batch_size, told or _ASSUMED, told is not None)
        with self._client.judging():
            served = tei_served(self._client.get("/info"), self._server, "reranker", self._model, None)
        told = self._max_length or served.max_length
        return _Limits(min(self._batch_size, served.most_texts or self._batch_size), told or _ASSUMED, bool(told))

    def _scaled(self, values: list[Any], owners: list[int]) -> FloatArray:
        for i, value in enumerate(values):
            if not is_number(value):
                raise EmbeddingError(
                    f"{self._server} gave the score {value!r:.40} for text {owners[i]}; see the server's log"
                )
        scores = np.array(values, dtype=np.float64)
        if self._scale == "logit":
            return (0.5 * (1.0 + np.tanh(scores / 2))).astype(np.float32)  # the sigmoid, without overflow
        least = -1.0 if self._scale == "cosine" else 0.0
        outside = (scores < least - _SLACK) | (scores > 1 + _SLACK)
        if outside.any():
            first = int(np.flatnonzero(outside)[0])
            raise EmbeddingError(
                f"{self._server} gave the score {scores[first]:g} for text {owners[first]}, outside {least:g} to 1; "
                "the model's scores are no probabilities: pass scale='logit' or scale='cosine'"
            )
        return np.clip((scores + 1) / 2 if self._scale == "cosine" else scores, 0, 1).astype(np.float32)
