"""Every public class of `langchain_hybrid` in use, for type checkers: nothing here is run."""

from __future__ import annotations

from typing import assert_type

from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.structured_query import Visitor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from hybrid_core import BgeM3Encoder, Budget, CrossEncoderReranker, Eq, HybridIndex, Reranker, Selection, WeightedSum
from langchain_hybrid import (
    BgeCrossEncoder,
    BgeM3Embeddings,
    BgeM3SparseEmbeddings,
    BgeReranker,
    HybridRetriever,
    HybridTranslator,
    HybridVectorStore,
)


async def embeddings(encoder: BgeM3Encoder) -> Embeddings:
    """Dense vectors."""
    made = BgeM3Embeddings(encoder)
    assert_type(made.embed_query("a question"), list[float])
    assert_type(await made.aembed_documents(["a text"]), list[list[float]])
    return made


async def sparse_embeddings(encoder: BgeM3Encoder) -> None:
    """Sparse vectors, in the classes of the stores that take them."""
    made = BgeM3SparseEmbeddings(encoder)
    made.for_qdrant()
    made.for_milvus()
    documents = await made.aembed_documents(["a text"])
    assert len(documents) == len(made.embed_documents(["a text"])) == 1


async def retriever(index: HybridIndex, encoder: BgeM3Encoder, reranker: Reranker) -> BaseRetriever:
    """A retriever over an index, and in chains."""
    made = HybridRetriever(
        index=index,
        k=5,
        candidates=None,
        filter=Eq("lang", "en"),
        mode="hybrid",
        rerank=None,
        fusion=WeightedSum.from_alpha(0.7),
        budget=Budget(milliseconds=100),
        min_score=0.2,
        instruction=None,
        selection=Selection(per_parent=2),
        tags=["docs"],
    )
    assert_type(made.invoke("a question", k=3), list[Document])
    assert_type(await made.ainvoke("a question"), list[Document])
    assert_type(made.index, HybridIndex)
    runnable: Runnable[str, list[Document]] = made
    runnable.batch(["a", "b"])
    assert_type(
        HybridRetriever.from_documents([Document("a text")], encoder=encoder, path=None, reranker=reranker, k=3),
        HybridRetriever,
    )
    assert_type(HybridRetriever.from_texts(["a text"], [{"lang": "en"}], ["a"], encoder=encoder), HybridRetriever)
    assert_type(made.add_documents([Document("a text")], show_progress=True), list[str])
    assert_type(await made.aadd_documents([Document("a text")]), list[str])
    return made


async def rerankers(encoder: BgeM3Encoder) -> list[BaseDocumentCompressor]:
    """A reranker of ours as a compressor, and for LangChain's own."""
    core = CrossEncoderReranker.tiny()
    made = BgeReranker(
        reranker=core,
        top_n=5,
        budget=Budget(milliseconds=100),
        min_score=0.2,
        selection=Selection(near_duplicates=0.95),
        encoder=encoder,
    )
    assert_type(made.compress_documents([Document("a text")], "a question"), list[Document])
    assert_type(await made.acompress_documents([Document("a text")], "a question"), list[Document])
    cross: BaseCrossEncoder = BgeCrossEncoder(core)
    assert_type(BgeCrossEncoder(core).score([("a question", "a text")]), list[float])
    cross.score([("a question", "a text")])
    return [made]


async def vector_store(index: HybridIndex, encoder: BgeM3Encoder) -> VectorStore:
    """A vector store and its retrievers."""
    made = HybridVectorStore(index)
    assert_type(HybridVectorStore.from_texts(["a text"], encoder, ids=["a"]), HybridVectorStore)
    assert_type(await HybridVectorStore.afrom_texts(["a text"], BgeM3Embeddings(encoder)), HybridVectorStore)
    assert_type(made.add_texts(["a text"], [{"lang": "en"}], ids=["a"]), list[str])
    assert_type(await made.aadd_texts(["a text"]), list[str])
    assert_type(made.get_by_ids(["a"]), list[Document])
    assert_type(made.similarity_search("a question", k=4, mode="sparse", filter={"lang": "en"}), list[Document])
    assert_type(made.similarity_search_with_score("a question"), list[tuple[Document, float]])
    assert_type(made.similarity_search_by_vector([0.0]), list[Document])
    assert_type(made.max_marginal_relevance_search("a question", k=4, fetch_k=20, lambda_mult=0.5), list[Document])
    assert_type(made.as_retriever(search_type="mmr", search_kwargs={"k": 3}), VectorStoreRetriever)
    assert_type(made.delete(["a"]), bool)
    assert_type(await made.adelete(filter={"lang": "en"}), bool)
    assert_type(made.embeddings, Embeddings)
    return made


def translator() -> Visitor:
    """What SelfQueryRetriever takes."""
    return HybridTranslator()
