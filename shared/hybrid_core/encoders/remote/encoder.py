"""RemoteEncoder: dense vectors from a model server, joined with a sparse side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ...checks import check_count, check_text, check_texts
from ...errors import EmbeddingError, InvalidInputError
from ...http.address import check_url
from ...http.client import JsonClient
from ...http.keys import KeySource
from ...types import Encoding, Fingerprint
from ..sparse_sides.base import SparseSide
from .apis import EmbeddingApiName, EncodingFormat, find_api
from .dense import DenseServer
from .tei_sparse import TeiSparse

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class RemoteEncoder:
    """Encodes texts with an embedding model that a server already serves.

    The dense side comes from text-embeddings-inference, vLLM, Infinity, OpenAI or any server with OpenAI's embeddings
    route; vectors are checked and normalised here. These APIs give no lexical weights beside them, so the sparse side
    comes from elsewhere: a second text-embeddings-inference process with a SPLADE model (`sparse_url`), or any
    `SparseSide`. There are no multi-vectors.

    Nothing is asked of the server before first use. Then its info route (TEI, vLLM, Infinity) tells model, revision,
    lengths and limits; no API tells the dimension, which is taken from the first answer, or from one text sent for it
    where the fingerprint is wanted before any.

    Threads may share the object; at most `concurrency` requests are under way. Close it, or use it in a `with` block.

    Args:
        url: the server's address, with or without "/v1" at the end; None is api.openai.com for "openai". A user and
            password in it are sent, and never shown.
        api: "tei" (/embed), "openai" (/v1/embeddings), "vllm" (the same, with truncation), "infinity" (/embeddings).
        model: its name, needed for "openai". Else None takes what the server serves; a name must match that.
        sparse: the partner for the sparse side.
        sparse_url: the address of text-embeddings-inference with a SPLADE model over BERT's vocabulary, reached with
            the same key and headers; only for "tei". For another vocabulary or key, pass `TeiSparse` as `sparse`.
        api_key: a str, anything with `get_secret_value()`, or a function that gives a str for each request. It is never
            shown.
        headers: sent with each request; the values are never shown.
        passage_instruction, query_instruction: text put before every passage or query for the dense side; the sparse
            side sees the text alone.
        batch_size: texts in a request; None takes 32 (TEI), 64 (vLLM, Infinity) or 256 (OpenAI). Never more than TEI
            reports that it takes.
        concurrency: requests under way at a time.
        timeout: seconds to wait for a connection (10 at most) and for each part of an answer.
        deadline: seconds a request may take, with its retries.
        max_retries: how often a request is repeated that met a timeout, a broken connection, 408, 425, 429 or 5xx.
        revision: the commit served, for the fingerprint, where the server does not report it; TEI's must match.
        dimension: of the vectors, if you know it: saves the text sent for it, and must match.
        max_length: tokens of a passage that the model sees, for the fingerprint; None takes what the server reports,
            0 where it reports none.
        encoding_format: how OpenAI's route is asked to write vectors; "base64" is smaller, and some servers lack it.

    Raises:
        InvalidInputError: an argument is out of range, or there is no sparse side.
        MissingDependencyError: httpx or tenacity is not installed.

    Example:
        >>> encoder = RemoteEncoder(
        ...     "http://127.0.0.1:8080", api="tei", sparse_url="http://127.0.0.1:8081"
        ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api: EmbeddingApiName,
        model: str | None = None,
        sparse: SparseSide | None = None,
        sparse_url: str | None = None,
        api_key: KeySource | None = None,
        headers: Mapping[str, str] | None = None,
        passage_instruction: str = "",
        query_instruction: str = "",
        batch_size: int | None = None,
        concurrency: int = 4,
        timeout: float = 60.0,
        deadline: float = 180.0,
        max_retries: int = 3,
        revision: str | None = None,
        dimension: int | None = None,
        max_length: int | None = None,
        encoding_format: EncodingFormat = "float",
    ) -> None:
        self._api = find_api(api)
        self._passage_instruction = check_text(passage_instruction, "passage_instruction")
        self._query_instruction = check_text(query_instruction, "query_instruction")
        self._max_length = None if max_length is None else check_count(max_length, "max_length", least=1)
        _check_sides(sparse, sparse_url, api)
        self._dense = DenseServer(
            self._api,
            lambda: JsonClient(
                check_url(self._api.home if url is None else url), api_key=api_key, headers=headers, timeout=timeout,
                deadline=deadline, max_retries=max_retries, concurrency=concurrency,
            ),
            model=model, revision=revision, batch_size=batch_size, dimension=dimension,
            encoding_format=encoding_format,
        )  # fmt: skip
        self._own: TeiSparse | None = None
        if sparse is None:
            sparse = self._own = TeiSparse(
                str(sparse_url), api_key=api_key, headers=headers, batch_size=batch_size, concurrency=concurrency,
                timeout=timeout, deadline=deadline, max_retries=max_retries,
            )  # fmt: skip
        self.sparse: SparseSide = sparse
        self._fingerprint: Fingerprint | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides which vector a passage gets.

        The digest is of the model's name and its revision where that is known: the same model behind another API or
        address is the same. A server that serves other weights under the same name and without a revision is not
        noticed.

        Raises:
            BackendUnavailableError, ModelLoadError, ModelError, EmbeddingError: the server cannot tell.
        """
        if self._fingerprint is None:
            served = self._dense.served()
            facts = json.dumps([served.model, served.revision])
            self._fingerprint = Fingerprint(
                model=served.model,
                digest=hashlib.blake2b(facts.encode(), digest_size=16).hexdigest(),
                dimension=self._dense.dimension(),
                vocabulary=self.sparse.vocabulary,
                pooling="remote",
                max_length=served.max_length if self._max_length is None else self._max_length,
                instruction=self._passage_instruction,
                query_instruction=self._query_instruction,
                sparse=self.sparse.name,
                sparse_weighting="idf" if self.sparse.idf else "plain",
            )
        return self._fingerprint

    def __repr__(self) -> str:
        return f"RemoteEncoder({self._dense.server!r}, api={self._api.name!r}, sparse={self.sparse!r})"

    def __enter__(self) -> RemoteEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections, those to `sparse_url` too; a `sparse` that was passed in stays open."""
        self._dense.close()
        if self._own is not None:
            self._own.close()

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """Encode passages.

        Args:
            texts: strings; the empty one is sent as a blank, since the APIs refuse it.
            multi: must be False.
            show_progress: draw a progress bar over the texts.

        Returns:
            An Encoding with one row a text, in the order given.

        Raises:
            InvalidTextError: naming the position of what is not a string or holds a lone surrogate.
            InvalidInputError: multi-vectors are asked for.
            BackendUnavailableError: no answer in time, after the retries; or the key is refused.
            ModelLoadError: the server does not serve the route or the model.
            ModelError: the server refuses a request, with its own words; or the encoder is closed.
            EmbeddingError: the answer is not one vector of the right length, without NaN, for each text.
        """
        return self._encode(
            check_texts(texts), self._passage_instruction, self.sparse.encode_documents, multi, show_progress
        )

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """Encode queries; arguments, result and errors as in `encode_documents`."""
        return self._encode(
            check_texts(texts, "query"), self._query_instruction, self.sparse.encode_queries, multi, False
        )

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the sparse side's strings for its ids."""
        return self.sparse.tokens(ids)

    def _encode(
        self,
        texts: list[str],
        instruction: str,
        sparse_of: Callable[[Sequence[str]], csr_array],
        multi: bool,
        show_progress: bool,
    ) -> Encoding:
        if multi:
            raise InvalidInputError(
                "multi=True: a remote encoder has no multi-vectors, since the servers give one vector a text. "
                "Use BgeM3Encoder for them, or rerank with RemoteReranker or CrossEncoderReranker"
            )
        dense = self._dense.encode([instruction + text for text in texts], show_progress=show_progress)
        sparse = sparse_of(texts)
        if sparse.shape != (len(texts), self.sparse.vocabulary):
            raise EmbeddingError(
                f"{self.sparse!r} gave sparse rows of shape {sparse.shape} for {len(texts)} texts and a vocabulary of "
                f"{self.sparse.vocabulary}"
            )
        return Encoding(dense, sparse)


def _check_sides(sparse: object, sparse_url: object, api: str) -> None:
    """Raise InvalidInputError unless there is one sparse side that can be reached."""
    if sparse is None and sparse_url is None:
        raise InvalidInputError(
            f"api={api!r} gives dense vectors only, and hybrid search needs a sparse side too. Either pass sparse=, a "
            "SparseSide that works here, such as Bm25() or Splade(); or let a server compute it: start "
            "text-embeddings-inference with a SPLADE model and --pooling splade, and pass sparse_url= (api='tei') or "
            "sparse=TeiSparse(url)"
        )
    if sparse is not None and sparse_url is not None:
        raise InvalidInputError("sparse= and sparse_url= exclude each other; pass one")
    if sparse_url is not None and api != "tei":
        raise InvalidInputError(
            f"sparse_url= would send the key of api={api!r} to another service; pass sparse=TeiSparse(url) instead"
        )
    # asked in this order, because looking at the properties of a TeiSparse would ask its server
    if sparse is not None and not isinstance(sparse, (TeiSparse, SparseSide)):
        raise InvalidInputError(f"sparse={sparse!r:.80} is no SparseSide; pass an object such as Bm25()")
