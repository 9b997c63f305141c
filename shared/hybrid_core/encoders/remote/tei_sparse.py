"""Sparse weights from a SPLADE model served by text-embeddings-inference."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...checks import check_count, check_texts
from ...errors import EmbeddingError
from ...http.address import check_url
from ...http.answers import is_number
from ...http.batching import request_slices, sendable
from ...http.client import JsonClient
from ...http.keys import KeySource
from ...http.once import Once
from ...types import FloatArray
from ..csr import to_csr
from .served import Served, tei_served

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BERT = 30_522  # vocabulary of the published SPLADE models
_MOST_BYTES = 1_900_000  # of a request; the server's limit (--payload-limit) is 2,000,000


class TeiSparse:
    """The sparse side of an encoder, computed by text-embeddings-inference started with `--pooling splade`.

    One process of text-embeddings-inference serves either dense vectors or these, so this is a second address. What
    the server serves is asked at first use (/info). Texts longer than the model's limit are cut by the server.

    Args:
        url: its address.
        vocabulary: how many token ids the model has (`vocab_size` in its config.json), which the server does not say.
        model, revision: what the server is expected to serve; None is whatever it does.
        batch_size: texts in a request; None is what the server allows.
        api_key, headers, timeout, deadline, max_retries, concurrency: as in `RemoteEncoder`.

    Raises:
        InvalidInputError: an argument is out of range.
        MissingDependencyError: httpx or tenacity is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        vocabulary: int = _BERT,
        model: str | None = None,
        revision: str | None = None,
        api_key: KeySource | None = None,
        headers: Mapping[str, str] | None = None,
        batch_size: int | None = None,
        concurrency: int = 4,
        timeout: float = 60.0,
        deadline: float = 180.0,
        max_retries: int = 3,
    ) -> None:
        self._vocabulary = check_count(vocabulary, "vocabulary", least=1)
        self._expected = (model, revision)
        self._batch_size = None if batch_size is None else check_count(batch_size, "batch_size", least=1)
        self._client = JsonClient(
            check_url(url), api_key=api_key, headers=headers, timeout=timeout, deadline=deadline,
            max_retries=max_retries, concurrency=concurrency,
        )  # fmt: skip
        self._server = str(self._client.address)
        self._served = Once(self._ask)
        self._tokens: dict[int, str] = {}

    @property
    def name(self) -> str:
        """The model, its revision and the tokens it sees of a text, as the server reports them."""
        served = self._served.get()
        return f"splade(model={served.model!r}, revision={served.revision!r}, max_length={served.max_length})"

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        return self._vocabulary

    @property
    def idf(self) -> bool:
        """False: the model's weights are complete."""
        return False

    def __repr__(self) -> str:
        return f"TeiSparse({self._server!r}, vocabulary={self._vocabulary})"

    def __enter__(self) -> TeiSparse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; may be called twice."""
        self._client.close()

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        """Return (n, vocabulary) float32, sorted ids, weights above zero.

        Raises:
            InvalidTextError: naming the position of what is not a string.
            EmbeddingError: a row is missing, or holds an id outside the vocabulary or a weight that is no number.
            BackendUnavailableError, ModelLoadError, ModelError: as in `RemoteEncoder`.
        """
        sent = [sendable(text, None) for text in check_texts(texts)]
        entries: list[NDArray[np.int64]] = []
        weights: list[FloatArray] = []
        slices = request_slices(sent, most=self._most(), budget=_MOST_BYTES) if sent else []

        def call(part: slice, unwanted: threading.Event) -> Any:
            return self._client.post("/embed_sparse", {"inputs": sent[part], "truncate": True}, unwanted)

        with closing(self._client.each(call, slices)) as answers, self._client.judging():
            for part, answer in zip(slices, answers, strict=True):
                count = len(sent[part])
                if not isinstance(answer, list) or len(answer) != count:
                    what = f"{len(answer)} rows" if isinstance(answer, list) else f"{answer!r:.80}"
                    raise EmbeddingError(f"{self._server} gave {what} for {count} texts; check sparse_url")
                for i, row in enumerate(answer, start=part.start):
                    ids, values = self._row(row, i)
                    entries.append(i * self._vocabulary + ids)
                    weights.append(values)
        return to_csr(entries, weights, (len(sent), self._vocabulary))

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        """Return (n, vocabulary) float32, as `encode_documents` does: SPLADE treats both alike."""
        return self.encode_documents(check_texts(texts, "query"))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens for ids, as the server's tokenizer decodes each by itself (/decode)."""
        wanted = [int(i) for i in ids]
        missing = sorted(set(wanted) - set(self._tokens))
        with self._client.judging():
            while missing:
                part, missing = missing[: self._most()], missing[self._most() :]
                answer = self._client.post("/decode", {"ids": [[i] for i in part], "skip_special_tokens": False})
                if not isinstance(answer, list) or len(answer) != len(part):
                    raise EmbeddingError(f"{self._server} gave {answer!r:.80} for {len(part)} ids; check sparse_url")
                self._tokens.update(zip(part, map(str, answer), strict=True))
        return [self._tokens[i] for i in wanted]

    def _ask(self) -> Served:
        with self._client.judging():
            return tei_served(self._client.get("/info"), self._server, "splade", *self._expected)

    def _most(self) -> int:
        """Return how many texts a request may hold."""
        allowed = self._served.get().most_texts or 1
        return min(self._batch_size or allowed, allowed)

    def _row(self, row: Any, position: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Read [{"index", "value"}, ...]."""
        try:
            pairs = [(item["index"], item["value"]) for item in row]
        except (TypeError, KeyError):
            raise EmbeddingError(
                f"{self._server} gave no list of index and value for text {position}: {row!r:.60}"
            ) from None
        for index, value in pairs:
            if type(index) is not int or not 0 <= index < self._vocabulary:
                raise EmbeddingError(
                    f"{self._server} gave id {index!r:.40} for text {position}, but vocabulary is {self._vocabulary}; "
                    "pass vocab_size of the model's config.json as TeiSparse(url, vocabulary=...)"
                )
            if not is_number(value):
                raise EmbeddingError(f"{self._server} gave weight {value!r:.40} for text {position}; see its log")
        kept = [(index, value) for index, value in pairs if value > 0]
        return (
            np.array([index for index, _ in kept], dtype=np.int64),
            np.array([value for _, value in kept], dtype=np.float32),
        )
