"""bge-hybrid for LangChain: embeddings, vector store, retriever and rerankers as LangChain's own classes."""

from typing import TYPE_CHECKING

from hybrid_core._lazy import lazy_exports

if TYPE_CHECKING:
    from .cross_encoder import BgeCrossEncoder as BgeCrossEncoder
    from .embeddings import BgeM3Embeddings as BgeM3Embeddings
    from .reranker import BgeReranker as BgeReranker
    from .retriever import HybridRetriever as HybridRetriever
    from .sparse_embeddings import BgeM3SparseEmbeddings as BgeM3SparseEmbeddings
    from .translator import HybridTranslator as HybridTranslator
    from .vector_store import HybridVectorStore as HybridVectorStore

__getattr__, __all__ = lazy_exports(
    __name__,
    {
        "BgeCrossEncoder": ".cross_encoder",
        "BgeM3Embeddings": ".embeddings",
        "BgeM3SparseEmbeddings": ".sparse_embeddings",
        "BgeReranker": ".reranker",
        "HybridRetriever": ".retriever",
        "HybridTranslator": ".translator",
        "HybridVectorStore": ".vector_store",
    },
    needs="langchain_core",
    extra="langchain",
)
