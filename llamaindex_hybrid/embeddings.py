"""BGE-M3's dense vectors as a LlamaIndex embedding."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr

from hybrid_core.encoders.base import Encoder
from hybrid_core.encoders.written import named_after, with_encoder


class BgeM3Embedding(BaseEmbedding):
    """Dense vectors of BGE-M3 for any LlamaIndex index.

    Args:
        encoder: a loaded encoder; share one between all classes that use the model.
        embed_batch_size: texts handed over at once, up to 2,048; the encoder makes batches of its own by tokens, so
            the default, the most LlamaIndex allows, is the fastest.
        **settings: the other fields of BaseEmbedding, such as callback_manager.

    Example:
        >>> embedding = BgeM3Embedding(BgeM3Encoder.tiny())
        >>> len(embedding.get_query_embedding("how do I add a route?"))
        256
    """

    fingerprint: dict[str, Any] = Field(default_factory=dict, description="What decides which vector a text gets.")
    _encoder: Encoder = PrivateAttr()

    def __init__(self, encoder: Encoder, *, embed_batch_size: int = 2048, **settings: Any) -> None:
        super().__init__(**named_after(encoder), embed_batch_size=embed_batch_size, **settings)
        self._encoder = encoder

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex writes this class down."""
        return "BgeM3Embedding"

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, encoder: Encoder | None = None, **kwargs: Any) -> BgeM3Embedding:
        """Read what `to_dict` wrote; the encoder must be given, and ModelMismatchError tells if it is another."""
        data = {key: value for key, value in data.items() if key != "class_name"}
        return cls(**with_encoder({**data, **kwargs}, encoder))

    @property
    def encoder(self) -> Encoder:
        """The encoder given."""
        return self._encoder

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._encoder.encode_queries([query]).dense[0].tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)  # LlamaIndex leaves the loop little time

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._encoder.encode_documents(texts).dense.tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
