"""LangChain's own retrievers around ours, with its real classes."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_classic.chains.query_constructor.schema import AttributeInfo
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MultiQueryRetriever,
    ParentDocumentRetriever,
)
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, DocumentCompressorPipeline
from langchain_classic.retrievers.self_query.base import SelfQueryRetriever
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.stores import InMemoryStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from hybrid_core import BgeM3Encoder, FilterError, HybridIndex
from hybrid_core import CrossEncoderReranker as Core
from langchain_hybrid import BgeCrossEncoder, BgeReranker, HybridRetriever, HybridTranslator, HybridVectorStore

QUESTION = "how does a worker get its tasks?"


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


@pytest.fixture
def store(index: HybridIndex, documents: list[Document]) -> HybridVectorStore:
    made = HybridVectorStore(index)
    made.add_documents(documents)
    return made


async def test_ensemble_retriever_joins_two_of_ours(store: HybridVectorStore) -> None:
    dense, sparse = (HybridRetriever(index=store.index, k=6, mode=mode) for mode in ("dense", "sparse"))
    ensemble = EnsembleRetriever(retrievers=[dense, sparse], weights=[0.5, 0.5], c=60)
    found = ensemble.invoke(QUESTION)
    assert len(set(ids(found))) == len(found) == 6
    fused = store.index.search(QUESTION, 6)
    assert ids(found)[0] == fused[0].passage.id == "queue"  # its reciprocal ranks are ours
    assert await ensemble.ainvoke(QUESTION) == found
    by_id = EnsembleRetriever(retrievers=[dense, store.as_retriever()], weights=[0.5, 0.5], id_key="lang")
    assert len(by_id.invoke(QUESTION)) == 2


@pytest.mark.parametrize("kind", ["retriever", "store"])
async def test_multi_query_retriever_keeps_of_each_document_one(store: HybridVectorStore, kind: str) -> None:
    ours: Any = HybridRetriever(index=store.index, k=3) if kind == "retriever" else store.as_retriever()
    model = FakeListChatModel(responses=["what pulls tasks?\nwhere do tasks come from?\n工作节点做什么？"])
    several = MultiQueryRetriever.from_llm(retriever=ours, llm=model)
    found = several.invoke(QUESTION)
    assert "queue" in ids(found)
    assert len(set(ids(found))) == len(found)  # although each question gave it other scores
    assert ids(await several.ainvoke(QUESTION)) == ids(found)


async def test_parent_document_retriever_finds_by_parts_and_returns_wholes(encoder: BgeM3Encoder) -> None:
    store = HybridVectorStore.from_texts([], encoder)
    parents = [
        Document("A worker pulls tasks from the queue. " * 6 + "It stops on SIGTERM.", metadata={"page": 1}),
        Document("The gateway rejects requests over the limit. " * 6, metadata={"page": 2}),
    ]
    retriever = ParentDocumentRetriever(
        vectorstore=store,
        docstore=InMemoryStore(),
        child_splitter=RecursiveCharacterTextSplitter(chunk_size=80, chunk_overlap=0),
    )
    retriever.add_documents(parents, ids=["worker", "gateway"])
    assert len(store.index) > 2
    [first, *_] = retriever.invoke("what happens on SIGTERM?")
    assert first == parents[0]
    assert (await retriever.ainvoke("requests over the limit"))[0] == parents[1]
    await retriever.aadd_documents([Document("图例显示在图表的右侧。")], ids=["chart"])
    assert "图例" in retriever.invoke("图例")[0].page_content


FIELDS = [
    AttributeInfo(name="lang", description="the language, en or zh", type="string"),
    AttributeInfo(name="tags", description="what it is about", type="list[string]"),
]


def answer(query: str, filter: str) -> FakeListChatModel:
    return FakeListChatModel(responses=[f'```json\n{{"query": "{query}", "filter": "{filter}"}}\n```'])


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ('eq(\\"lang\\", \\"zh\\")', {"zh-worker", "zh-limit", "zh-chart"}),
        ('and(eq(\\"lang\\", \\"en\\"), contain(\\"tags\\", \\"queue\\"))', {"queue"}),
        (
            'or(contain(\\"tags\\", \\"charts\\"), not(eq(\\"lang\\", \\"zh\\")))',
            {"queue", "retry", "limit", "zh-chart"},
        ),
        ('in(\\"lang\\", [\\"en\\"])', {"queue", "retry", "limit"}),
        ("NO_FILTER", {"queue", "retry", "limit", "zh-worker", "zh-limit", "zh-chart"}),
    ],
)
async def test_self_query_retriever_filters_as_the_model_says(
    store: HybridVectorStore, filter: str, expected: set[str]
) -> None:
    for search_type in ("similarity", "mmr"):
        retriever = SelfQueryRetriever.from_llm(
            answer("tasks", filter),
            store,
            "documentation",
            FIELDS,
            structured_query_translator=HybridTranslator(),
            search_type=search_type,
            search_kwargs={"k": 6},
        )
        assert set(ids(retriever.invoke("tasks"))) == expected
        assert set(ids(await retriever.ainvoke("tasks"))) == expected


def test_self_query_retriever_takes_the_limit_and_names_what_cannot_be_compared(store: HybridVectorStore) -> None:
    limited = FakeListChatModel(responses=['```json\n{"query": "tasks", "filter": "NO_FILTER", "limit": 2}\n```'])
    settings: dict[str, Any] = {"structured_query_translator": HybridTranslator()}
    retriever = SelfQueryRetriever.from_llm(limited, store, "documentation", FIELDS, enable_limit=True, **settings)
    assert len(retriever.invoke("two about tasks")) == 2
    wrong = SelfQueryRetriever.from_llm(
        answer("tasks", 'gt(\\"lang\\", true)'), store, "documentation", FIELDS, **settings
    )
    with pytest.raises(FilterError, match="order"):
        wrong.invoke("tasks")


async def test_contextual_compression_retriever_reranks_with_either_of_our_rerankers(store: HybridVectorStore) -> None:
    core = Core.tiny()
    ours = BgeReranker(reranker=core, top_n=3)
    theirs = CrossEncoderReranker(model=BgeCrossEncoder(core), top_n=3)
    orders = []
    for compressor in (ours, theirs, DocumentCompressorPipeline(transformers=[theirs])):
        both = ContextualCompressionRetriever(
            base_compressor=compressor, base_retriever=store.as_retriever(search_kwargs={"k": 6})
        )
        orders.append(ids(both.invoke(QUESTION)))
        assert ids(await both.ainvoke(QUESTION)) == orders[-1]
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][0] == "queue"
