"""bge-hybrid for LlamaIndex: embedding, retriever and reranker as LlamaIndex's own classes."""

from typing import TYPE_CHECKING

from hybrid_core._lazy import lazy_exports

if TYPE_CHECKING:
    from .embeddings import BgeM3Embedding as BgeM3Embedding
    from .reranker import BgeReranker as BgeReranker
    from .retriever import HybridRetriever as HybridRetriever

__getattr__, __all__ = lazy_exports(
    __name__,
    {"BgeM3Embedding": ".embeddings", "BgeReranker": ".reranker", "HybridRetriever": ".retriever"},
    needs="llama_index.core",
    extra="llamaindex",
)
