"""bge-hybrid for LangChain: embeddings, retriever and reranker as LangChain's own classes."""

from typing import TYPE_CHECKING

from hybrid_core._lazy import lazy_exports

if TYPE_CHECKING:
    from .embeddings import BgeM3Embeddings as BgeM3Embeddings
    from .reranker import BgeReranker as BgeReranker
    from .retriever import HybridRetriever as HybridRetriever

__getattr__, __all__ = lazy_exports(
    __name__,
    {"BgeM3Embeddings": ".embeddings", "BgeReranker": ".reranker", "HybridRetriever": ".retriever"},
    needs="langchain_core",
    extra="langchain",
)
