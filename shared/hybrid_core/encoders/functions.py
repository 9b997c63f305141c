"""An encoder made of functions: how the embedding classes of frameworks come in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_text, check_texts
from ..errors import EmbeddingError, InvalidInputError
from ..types import Encoding, Fingerprint, FloatArray
from .query_cache import QueryCache, QueryKey
from .sparse_sides.base import SparseSide

EmbedDocuments: TypeAlias = Callable[[list[str]], ArrayLike]  # texts -> one vector each
EmbedQuery: TypeAlias = Callable[[str], ArrayLike]  # text -> its vector


class FunctionEncoder:
    """Dense vectors by two functions, normalised, and beside them a sparse side: hybrid search for any embedding model.

    The vectors of the last 128 queries are remembered, so that a question asked in several ways costs one call.

    Args:
        model: names the model, for the fingerprint. Nothing else tells two models of one dimension apart, so it should
            say all that decides a vector: the model, its version, a shortened dimension.
        embed_documents: gives the vectors of a list of passages, in their order; may be called from several threads.
        embed_query: gives the vector of a query.
        sparse: turns texts into sparse weights: `Bm25()` or another `SparseSide`.

    Raises:
        InvalidInputError: `sparse` is not a sparse side, or the model has no name.
        EmbeddingError: the model cannot be asked for its dimension; one text is embedded for that.

    Example:
        >>> def embed(text):
        ...     return [len(text), 1.0]
        >>> encoder = FunctionEncoder("lengths", lambda texts: list(map(embed, texts)), embed, sparse=Bm25())
        >>> float((encoder.encode_documents(["a worker"]).dense ** 2).sum().round(6))
        1.0
    """

    def __init__(
        self, model: str, embed_documents: EmbedDocuments, embed_query: EmbedQuery, *, sparse: SparseSide
    ) -> None:
        if not check_text(model, "model"):
            raise InvalidInputError("model is an empty string; name the model, since an index is bound to it")
        if not isinstance(sparse, SparseSide) or isinstance(sparse, type):
            raise InvalidInputError(f"sparse={sparse!r:.80} is no sparse side; pass an object such as Bm25()")
        self._model = model
        self._embed_documents = embed_documents
        self._embed_query = embed_query
        self._sparse = sparse
        self._queries: QueryCache[FloatArray] = QueryCache(lambda row: row.nbytes)
        self._fingerprint = Fingerprint(
            model=model,
            digest=hashlib.blake2b(model.encode(), digest_size=16).hexdigest(),
            dimension=_unit_rows(embed_documents(["dimension"]), 1, None, model).shape[1],
            vocabulary=sparse.vocabulary,
            pooling="function",
            max_length=0,
            sparse=sparse.name,
            sparse_weighting="idf" if sparse.idf else "plain",
        )

    @property
    def fingerprint(self) -> Fingerprint:
        """What an index is bound to: the model's name, its dimension, and the sparse side."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"FunctionEncoder({self._model!r}, sparse={self._sparse!r})"

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """Encode passages.

        Args:
            texts: strings, the empty one included.
            multi: not to be had from such functions.
            show_progress: has no effect: the function is called once.

        Returns:
            An Encoding with one row a text, in the order given.

        Raises:
            InvalidTextError: naming the position of what is not a string or holds a lone surrogate.
            InvalidInputError: multi is set.
            EmbeddingError: there is not one vector a text, of the dimension that the model had at first, all finite.
        """
        checked = check_texts(texts)
        self._check_multi(multi)
        dense = self._rows(self._embed_documents(checked), len(checked)) if checked else self._rows([], 0)
        return Encoding(dense, self._sparse.encode_documents(checked))

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """Encode queries, one call of the function each; otherwise as `encode_documents`."""
        checked = check_texts(texts, "query")
        self._check_multi(multi)
        rows = {text: self._query(text) for text in dict.fromkeys(checked)}
        dense = np.stack([rows[text] for text in checked]) if checked else self._rows([], 0)
        return Encoding(dense, self._sparse.encode_queries(checked))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the strings of the sparse side's ids."""
        return self._sparse.tokens(ids)

    def _query(self, text: str) -> FloatArray:
        key = QueryKey(self._fingerprint.digest, "query", 0, text)
        row = self._queries.get(key)
        if row is None:
            row = self._rows([self._embed_query(text)], 1)[0]
            self._queries.put(key, row)
        return row

    def _rows(self, answer: Any, count: int) -> FloatArray:
        return _unit_rows(answer, count, self._fingerprint.dimension, self._model)

    def _check_multi(self, multi: bool) -> None:
        if multi:
            raise InvalidInputError(
                f"{self._model!r} has no multi-vectors; rerank with CrossEncoderReranker, or take a BgeM3Encoder"
            )


def _unit_rows(answer: ArrayLike, count: int, dimension: int | None, model: str) -> FloatArray:
    """Return (n, d) float32 rows of unit length, the zero vector as it is, or raise EmbeddingError."""
    if not count:
        return np.empty((0, dimension or 0), dtype=np.float32)
    try:
        rows: NDArray[np.float64] = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(f"{model!r} gave {answer!r:.80} for {count} texts: {error}") from error
    if rows.ndim != 2 or len(rows) != count or rows.shape[1] == 0 or dimension not in (None, rows.shape[1]):
        due = f"({count}, {dimension or 'd'})"
        raise EmbeddingError(f"{model!r} gave vectors of shape {rows.shape} where {due} is due")
    good = np.isfinite(rows).all(axis=1)
    if not good.all():
        raise EmbeddingError(f"{model!r} gave NaN or infinity for text {int(np.flatnonzero(~good)[0])}")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: FloatArray = (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return unit
