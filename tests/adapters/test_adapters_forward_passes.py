"""How often the model runs: once a question and once a batch of documents, whichever classes share the encoder."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoints import forward_passes
from langchain_core.documents import Document
from llama_index.core.schema import TextNode

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import BgeM3Encoder, HybridIndex, LateInteractionReranker
from hybrid_core.encoders.one_pass import OnePass

TEXTS = [f"Worker {n} pulls tasks from queue {n}." for n in range(20)]


@pytest.fixture
def index(encoder: BgeM3Encoder) -> HybridIndex:
    index = HybridIndex.open(None, encoder=encoder)
    index.add(TEXTS)
    return index


def test_a_question_costs_one_pass_through_all_classes_together(encoder: BgeM3Encoder, index: HybridIndex) -> None:
    question = "a question that no class has been asked before"
    with forward_passes(encoder) as passes:
        langchain_hybrid.HybridRetriever(index=index).invoke(question)
        llamaindex_hybrid.HybridRetriever(index).retrieve(question)
        langchain_hybrid.BgeM3Embeddings(encoder).embed_query(question)
        llamaindex_hybrid.BgeM3Embedding(encoder).get_query_embedding(question)
        index.explain(question)
    assert passes == [1]


async def test_the_async_methods_share_the_pass_too(encoder: BgeM3Encoder, index: HybridIndex) -> None:
    question = "another question that no class has been asked before"
    with forward_passes(encoder) as passes:
        await langchain_hybrid.BgeM3Embeddings(encoder).aembed_query(question)
        await llamaindex_hybrid.BgeM3Embedding(encoder).aget_query_embedding(question)
        await llamaindex_hybrid.HybridRetriever(index).aretrieve(question)
        await langchain_hybrid.HybridRetriever(index=index).ainvoke(question)
    assert passes == [1]


def test_late_interaction_adds_only_the_pass_over_the_candidates(encoder: BgeM3Encoder, index: HybridIndex) -> None:
    question = "a question for two stages that no class has been asked before"
    index.reranker = LateInteractionReranker(encoder)
    with forward_passes(encoder) as passes:
        langchain_hybrid.HybridRetriever(index=index, candidates=6, mode="dense").invoke(question)
        assert passes == [1, 6]
        llamaindex_hybrid.HybridRetriever(index, candidates=6, mode="dense").retrieve(question)
        assert passes == [1, 6, 6]  # candidates are not kept, the question is


@pytest.mark.parametrize("side", ["langchain", "llamaindex", "embeddings", "embedding"])
def test_a_batch_of_documents_costs_one_pass(encoder: BgeM3Encoder, side: str) -> None:
    with forward_passes(encoder) as passes:
        match side:
            case "langchain":
                documents = [Document(text) for text in TEXTS]
                langchain_hybrid.HybridRetriever.from_documents(documents, encoder=encoder)
            case "llamaindex":
                nodes = [TextNode(text=text) for text in TEXTS]
                llamaindex_hybrid.HybridRetriever.from_nodes(nodes, encoder=encoder)
            case "embeddings":
                langchain_hybrid.BgeM3Embeddings(encoder).embed_documents(TEXTS)
            case "embedding":
                llamaindex_hybrid.BgeM3Embedding(encoder).get_text_embedding_batch(TEXTS)
    assert passes == [len(TEXTS)]


def test_documents_that_fill_the_token_budget_cost_one_pass_a_batch(random_m3: str) -> None:
    encoder = BgeM3Encoder(random_m3, device="cpu", batch_tokens=64)
    text = " ".join(["task"] * 30)
    length = encoder.token_count(text) + 2
    texts = [f"{text} {n}" for n in "abcdefgh"]
    with forward_passes(encoder) as passes:
        langchain_hybrid.BgeM3Embeddings(encoder).embed_documents(texts)
        expected = [64 // (length + 1)] * (8 // (64 // (length + 1)))
        assert passes == expected
        assert sum(passes) == 8


def test_a_text_already_in_the_index_costs_no_pass_whoever_adds_it(encoder: BgeM3Encoder, index: HybridIndex) -> None:
    with forward_passes(encoder) as passes:
        langchain_hybrid.HybridRetriever(index=index).add_documents([Document(text, id=text) for text in TEXTS])
        llamaindex_hybrid.HybridRetriever(index).add_nodes([TextNode(text=text) for text in TEXTS])
    assert passes == []
    assert len(index) == 3 * len(TEXTS)


def test_documents_cost_one_pass_through_all_classes_on_one_pass(encoder: BgeM3Encoder) -> None:
    shared, texts = OnePass(encoder), [f"{text} Once." for text in TEXTS]
    with forward_passes(encoder) as passes:
        langchain_hybrid.BgeM3Embeddings(shared).embed_documents(texts)
        langchain_hybrid.BgeM3SparseEmbeddings(shared).embed_documents(texts)
        llamaindex_hybrid.BgeM3Embedding(shared).get_text_embedding_batch(texts)
        llamaindex_hybrid.BgeM3SparseEmbedding(shared).get_text_embedding_batch(texts)
        index = HybridIndex.open(None, encoder=shared)
        llamaindex_hybrid.HybridVectorStore(index).add([TextNode(text=text) for text in texts])
        langchain_hybrid.HybridVectorStore(index).add_texts(texts)
    assert passes == [len(texts)]


def test_what_comes_through_a_vector_store_of_llamaindex_keeps_the_vectors_it_comes_with(encoder: BgeM3Encoder) -> None:
    index = HybridIndex.open(None, encoder=encoder)
    store = llamaindex_hybrid.HybridVectorStore(index)
    nodes = [TextNode(text=f"{text} Kept.", metadata={"title": "Queues"}) for text in TEXTS]
    with forward_passes(encoder) as passes:
        store.embed_model(nodes)
        store.add(nodes)
    assert passes == [len(TEXTS)]
    rows = np.array([node.embedding for node in nodes], dtype=np.float32)
    query = encoder.encode_queries(["queue 7"]).dense[0]
    scores = dict(zip([node.node_id for node in nodes], (rows @ query).tolist(), strict=True))
    hits = index.search("queue 7", k=20, mode="dense")
    assert {hit.passage.id: pytest.approx(hit.score, abs=1e-6) for hit in hits} == scores
