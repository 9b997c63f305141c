"""BGE-M3's dense vectors as a LlamaIndex embedding."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field

from hybrid_core.encoders.base import Encoder
from hybrid_core.encoders.written import named_after, with_encoder
from hybrid_core.searching import check_part


class BgeM3Embedding(BaseEmbedding):
    """Dense vectors of BGE-M3 for any LlamaIndex index.

    Args:
        encoder: a loaded encoder; share one between all classes that use the model.
        embed_batch_size: texts handed over at once, up to 2,048, and a step of LlamaIndex's progress bar; the encoder
            makes batches of its own by tokens, so the default, the most LlamaIndex allows, is the fastest.
        **settings: the other fields of BaseEmbedding, such as callback_manager.

    Example:
        >>> embedding = BgeM3Embedding(BgeM3Encoder.tiny())
        >>> len(embedding.get_query_embedding("how do I add a route?"))
        256
    """

    fingerprint: dict[str, Any] = Field(default_factory=dict, description="What decides which vector a text gets.")
    encoder: Encoder = Field(exclude=True)

    def __init__(self, encoder: Encoder, *, embed_batch_size: int = 2048, **settings: Any) -> None:
        check_part(encoder, Encoder, "encoder")
        super().__init__(**{"encoder": encoder, **named_after(encoder)}, embed_batch_size=embed_batch_size, **settings)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex writes this class down."""
        return "BgeM3Embedding"

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, encoder: Encoder | None = None, **kwargs: Any) -> BgeM3Embedding:
        """Read what `to_dict` wrote; the encoder must be given, and ModelMismatchError tells if it is another."""
        return cls(**with_encoder({**{key: data[key] for key in data if key != "class_name"}, **kwargs}, encoder))

    def __getstate__(self) -> dict[str, Any]:  # IngestionPipeline.run(num_workers=2) would wait for ever
        raise TypeError("a loaded encoder is sent to no other process; leave num_workers out, or see WorkerPool")

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self.encoder.encode_queries([query]).dense[0].tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        await asyncio.sleep(0)  # what LlamaIndex does for fifty tasks at once is over before threads vie with the loop
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self.encoder.encode_documents(texts).dense.tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
