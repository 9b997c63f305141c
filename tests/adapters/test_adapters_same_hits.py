"""LangChain, LlamaIndex and the core give the same answers from one index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import BgeM3Encoder, HybridIndex, LateInteractionReranker, Passage


@pytest.fixture(scope="module", params=["fused", "reranked"])
def index(
    request: pytest.FixtureRequest,
    encoder: BgeM3Encoder,
    corpus: list[Passage],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[HybridIndex]:
    """The corpus in a folder, with the first or with both stages."""
    reranker = LateInteractionReranker(encoder) if request.param == "reranked" else None
    folder: Path = tmp_path_factory.mktemp("demo") / "index"
    with HybridIndex.open(folder, encoder=encoder, reranker=reranker) as opened:
        opened.add(corpus)
        yield opened


def answers(index: HybridIndex, question: str, **settings: Any) -> list[list[tuple[str, float, Any]]]:
    """What the core, LangChain and LlamaIndex find: ids, scores and stages."""
    hits = index.search(question, **settings)
    documents = langchain_hybrid.HybridRetriever(index=index, **settings).invoke(question)
    nodes = llamaindex_hybrid.HybridRetriever(index, **settings).retrieve(question)
    return [
        [(hit.passage.id, hit.score, {name: s._asdict() for name, s in hit.stages.items()}) for hit in hits],
        [(d.id or "", d.metadata["relevance_score"], d.metadata["stage_scores"]) for d in documents],
        [(n.node.node_id, n.get_score(), n.node.metadata["stage_scores"]) for n in nodes],
    ]


def test_fifty_questions_give_the_same_ids_scores_and_stages(index: HybridIndex, questions: list[str]) -> None:
    assert len(set(questions)) == 50
    firsts = set()
    for question in questions:
        core, langchain, llamaindex = answers(index, question, k=5, candidates=12)
        assert len(core) == 5
        assert langchain == core, question
        assert llamaindex == core, question
        firsts.add(core[0][0])
    assert len(firsts) > 20  # the questions do ask for different sections


@pytest.mark.parametrize("mode", ["dense", "sparse"])
@pytest.mark.parametrize("filter", [None, {"lang": "zh"}, {"page": {"$in": ["jobs", "plugins"]}}])
def test_modes_and_filters_are_the_same_too(
    index: HybridIndex, questions: list[str], mode: str, filter: dict[str, Any] | None
) -> None:
    found = 0
    for question in questions[:4]:
        core, langchain, llamaindex = answers(index, question, k=4, candidates=8, mode=mode, filter=filter)
        assert langchain == core
        assert llamaindex == core
        found += len(core)
    assert found > 4


def test_the_vector_stores_give_the_same(index: HybridIndex, questions: list[str]) -> None:
    left = langchain_hybrid.HybridVectorStore(index)
    right = llamaindex_hybrid.HybridVectorStore(index, candidates=12)
    modes = {
        "hybrid": VectorStoreQueryMode.HYBRID,
        "dense": VectorStoreQueryMode.DEFAULT,
        "sparse": VectorStoreQueryMode.SPARSE,
    }
    if index.reranker:
        modes["reranked"] = VectorStoreQueryMode.SEMANTIC_HYBRID
    for question in questions[:6]:
        for way, mode in modes.items():
            settings: dict[str, Any] = {"mode": "hybrid"} if way == "reranked" else {"mode": way, "rerank": False}
            core = index.search(question, k=5, candidates=12, **settings)
            documents = left.similarity_search_with_score(question, k=5, candidates=12, **settings)
            nodes = right.query(VectorStoreQuery(query_str=question, similarity_top_k=5, mode=mode))
            expected = [(hit.passage.id, hit.score) for hit in core]
            assert [(document.id, score) for document, score in documents] == expected
            assert list(zip(nodes.ids or [], nodes.similarities or [], strict=True)) == expected
            assert len(expected) == 5 or way == "sparse"


def test_maximal_marginal_relevance_chooses_the_same(index: HybridIndex, questions: list[str]) -> None:
    left = langchain_hybrid.HybridVectorStore(index)
    right = llamaindex_hybrid.HybridVectorStore(index, candidates=12)
    for question in questions[:6]:
        documents = left.max_marginal_relevance_search(question, k=4, fetch_k=12, lambda_mult=0.3, mode="dense")
        asked = VectorStoreQuery(query_str=question, similarity_top_k=4, mode=VectorStoreQueryMode.MMR)
        assert right.query(asked, mmr_threshold=0.3).ids == [document.id for document in documents]


def test_the_sparse_embeddings_give_the_same(encoder: BgeM3Encoder, questions: list[str]) -> None:
    left, right = langchain_hybrid.BgeM3SparseEmbeddings(encoder), llamaindex_hybrid.BgeM3SparseEmbedding(encoder)
    assert left.embed_documents(questions) == right.get_text_embedding_batch(questions)
    assert left.embed_query(questions[0]) == right.get_query_embedding(questions[0])


async def test_the_async_twins_give_the_same(index: HybridIndex, questions: list[str]) -> None:
    langchain = langchain_hybrid.HybridRetriever(index=index, k=3, candidates=8)
    llamaindex = llamaindex_hybrid.HybridRetriever(index, k=3, candidates=8)
    for question in questions[:5]:
        expected = [(hit.passage.id, hit.score) for hit in index.search(question, k=3, candidates=8)]
        documents = await langchain.ainvoke(question)
        nodes = await llamaindex.aretrieve(question)
        assert [(d.id, d.metadata["relevance_score"]) for d in documents] == expected
        assert [(n.node.node_id, n.score) for n in nodes] == expected


async def test_the_rerankers_give_the_same(index: HybridIndex, encoder: BgeM3Encoder, questions: list[str]) -> None:
    core = LateInteractionReranker(encoder)
    documents = langchain_hybrid.BgeReranker(reranker=core, top_n=4)
    nodes = llamaindex_hybrid.BgeReranker(reranker=core, top_n=4)
    for question in questions[:5]:
        left = documents.compress_documents(
            langchain_hybrid.HybridRetriever(index=index, k=10).invoke(question), question
        )
        right = nodes.postprocess_nodes(
            llamaindex_hybrid.HybridRetriever(index, k=10).retrieve(question), query_str=question
        )
        found = [(document.id, document.metadata["relevance_score"]) for document in left]
        assert found == [(item.node.node_id, item.score) for item in right]
        assert len(found) == 4


def test_the_embeddings_give_the_same(encoder: BgeM3Encoder, questions: list[str]) -> None:
    left, right = langchain_hybrid.BgeM3Embeddings(encoder), llamaindex_hybrid.BgeM3Embedding(encoder)
    assert left.embed_documents(questions) == right.get_text_embedding_batch(questions)
    assert left.embed_query(questions[0]) == right.get_query_embedding(questions[0])
