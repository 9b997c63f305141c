"""bge-hybrid for LlamaIndex: embeddings, retriever, reranker and vector store as LlamaIndex's own classes."""

from typing import TYPE_CHECKING

from hybrid_core._lazy import lazy_exports

if TYPE_CHECKING:
    from .embeddings import BgeM3Embedding as BgeM3Embedding
    from .reranker import BgeReranker as BgeReranker
    from .retriever import HybridRetriever as HybridRetriever
    from .sparse_embeddings import BgeM3SparseEmbedding as BgeM3SparseEmbedding
    from .vector_store import HybridVectorStore as HybridVectorStore

__getattr__, __all__ = lazy_exports(
    __name__,
    {
        "BgeM3Embedding": ".embeddings",
        "BgeM3SparseEmbedding": ".sparse_embeddings",
        "BgeReranker": ".reranker",
        "HybridRetriever": ".retriever",
        "HybridVectorStore": ".vector_store",
    },
    needs="llama_index.core",
    extra="llamaindex",
)
