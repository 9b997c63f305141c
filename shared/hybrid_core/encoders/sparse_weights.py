"""An encoder's sparse side as plain dicts, as the vector stores of others take it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from ..errors import InvalidInputError
from ..types import Encoding
from .base import Encoder, aencode_queries

Weights: TypeAlias = dict[int, float]  # token id -> weight


class SparseWeights:
    """Sparse vectors as {token id: weight}, sync and async, under the names that Milvus's integrations call.

    Args:
        encoder: a loaded encoder.

    Raises:
        InvalidInputError: its sparse weights need inverse document frequencies, which other stores do not multiply by.

    Example:
        >>> sorted(SparseWeights(BgeM3Encoder.tiny()).encode_queries(["tasks"])[0].values())[-1] > 0
        True
    """

    def __init__(self, encoder: Encoder) -> None:
        if encoder.fingerprint.sparse_weighting != "plain":
            raise InvalidInputError(
                f"{encoder!r} leaves a part of the sparse score to the store; use HybridVectorStore"
            )
        self.encoder = encoder

    def encode_documents(self, documents: Sequence[str]) -> list[Weights]:
        """Return one dict a passage."""
        return _rows(self.encoder.encode_documents(documents))

    def encode_queries(self, queries: Sequence[str]) -> list[Weights]:
        """Return one dict a query."""
        return _rows(self.encoder.encode_queries(queries))

    async def async_encode_documents(self, documents: Sequence[str]) -> list[Weights]:
        """As `encode_documents`, in a thread."""
        return await asyncio.to_thread(self.encode_documents, documents)

    async def async_encode_queries(self, queries: Sequence[str]) -> list[Weights]:
        """As `encode_queries`; tasks that ask at once share forward passes."""
        return _rows(await aencode_queries(self.encoder, queries))


def _rows(encoding: Encoding) -> list[Weights]:
    return [encoding.sparse_row(i).as_dict() for i in range(len(encoding))]
