"""Dense vectors from a model server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, get_args

import numpy as np

from ...checks import check_count, check_text
from ...errors import EmbeddingError, InvalidInputError
from ...http.batching import request_slices, sendable
from ...http.client import JsonClient
from ...http.once import Once
from ...types import FloatArray
from .apis import EmbeddingApi, EncodingFormat
from .served import Served, listed, tei_served


class DenseServer:
    """Encodes texts on a server; arguments as in `RemoteEncoder`, which see.

    Args:
        api: how to ask.
        connect: makes the client, once the other arguments are found good.
        model, revision, batch_size, dimension, encoding_format: as in `RemoteEncoder`.
    """

    def __init__(
        self,
        api: EmbeddingApi,
        connect: Callable[[], JsonClient],
        *,
        model: str | None,
        revision: str | None,
        batch_size: int | None,
        dimension: int | None,
        encoding_format: EncodingFormat,
    ) -> None:
        for value, name in ((model, "model"), (revision, "revision")):
            if value is not None and not check_text(value, name):
                raise InvalidInputError(f"{name}='' names nothing; leave it out")
        if api.name == "openai" and model is None:
            raise InvalidInputError("api='openai' needs model=, such as 'text-embedding-3-small'")
        self._batch_size = check_count(api.batch if batch_size is None else batch_size, "batch_size", least=1)
        if api.most_texts and self._batch_size > api.most_texts:
            raise InvalidInputError(
                f"batch_size={batch_size} is over the {api.most_texts} texts that api={api.name!r} takes in a request"
            )
        if encoding_format not in get_args(EncodingFormat):
            raise InvalidInputError(f"encoding_format={encoding_format!r:.80} must be 'float' or 'base64'")
        self._api = api
        self._model, self._revision = model, revision
        self._dimension = None if dimension is None else check_count(dimension, "dimension", least=1)
        self._encoding_format = encoding_format
        self._client = connect()
        self.server = str(self._client.address)
        self._lock = threading.Lock()
        self._served = Once(self._ask)

    def served(self) -> Served:
        """Return what is served, asked of the server the first time."""
        return self._served.get()

    def dimension(self) -> int:
        """Return the length of the vectors: as given, or of the first that came, or of one text sent for it."""
        if self._dimension is None:
            self.encode(["dimension"])
        return self._dimension or 0

    def encode(self, texts: list[str], *, show_progress: bool = False) -> FloatArray:
        """Return (n, d) float32 rows of unit length, in the order given."""
        served = self.served()
        sent = [sendable(text, self._api.most_characters) for text in texts]
        most = min(self._batch_size, served.most_texts or self._batch_size)
        slices = request_slices(sent, most=most, budget=self._api.most_bytes)

        def call(part: slice, unwanted: threading.Event) -> Any:
            body = self._api.body(sent[part], served.model, self._encoding_format)
            return self._client.post(self._api.route, body, unwanted)

        dense = np.empty((len(sent), self.dimension() if not sent else self._dimension or 0), dtype=np.float32)
        with _bar(len(sent), show_progress) as bar, closing(self._client.each(call, slices)) as answers:
            for part, answer in zip(slices, answers, strict=True):
                with self._client.judging():
                    rows = self._api.vectors(answer, part.stop - part.start, part.start, self.server)
                self._check_dimension(rows.shape[1])
                if not dense.shape[1]:
                    dense = np.empty((len(sent), rows.shape[1]), dtype=np.float32)
                dense[part] = rows
                bar.update(len(rows))
        return dense

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _ask(self) -> Served:
        if not self._api.info:
            return Served(self._model or "", self._revision or "")
        info = self._client.get(self._api.info)
        with self._client.judging():
            if self._api.name == "tei":
                return tei_served(info, self.server, "dense", self._model, self._revision)
            return listed(info, self.server, self._model, self._revision)

    def _check_dimension(self, found: int) -> None:
        with self._lock:
            if self._dimension is None:
                self._dimension = found
        if found != self._dimension:
            raise EmbeddingError(
                f"{self.server} gave vectors of {found} dimensions where {self._dimension} are due; "
                "another model is served now, or dimension= is not that of the model"
            )


class _NoBar:
    """Stands in for a progress bar that is not wanted."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def update(self, count: int) -> None:
        """Count nothing."""


def _bar(total: int, show: bool) -> Any:
    if not show:
        return _NoBar()
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="Encoding", unit="text", unit_scale=True)
