"""HybridVectorStore under LlamaIndex's VectorStoreIndex and IngestionPipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import forward_passes
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.indices.loading import load_index_from_storage
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, NodeWithScore, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore

from hybrid_core import BgeM3Encoder, HybridIndex, LateInteractionReranker
from hybrid_core.encoders.one_pass import OnePass
from llamaindex_hybrid import BgeM3Embedding, HybridRetriever, HybridVectorStore

QUESTION = "how does a worker get its tasks?"


@pytest.fixture
def documents() -> list[Document]:
    """Three documents: a long one that is split into several nodes, and two short ones."""
    steps = " ".join(f"In step {n} the worker pulls task number {n} from its queue." for n in range(60))
    return [
        Document(id_="steps", text=steps, metadata={"lang": "en", "title": "Workers", "nested": {"list": [1, None]}}),
        Document(id_="limit", text="The gateway rejects requests over the limit.", metadata={"lang": "en"}),
        Document(id_="zh", text="网关在这里配置限流。", metadata={"lang": "zh"}),
    ]


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridVectorStore]:
    path = tmp_path / "index" if request.param == "folder" else None
    with HybridIndex.open(path, encoder=encoder, reranker=LateInteractionReranker(encoder)) as index:
        yield HybridVectorStore(index)


def made(store: HybridVectorStore, documents: list[Document], **settings: Any) -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(
        documents,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=store.embed_model,
        transformations=[SentenceSplitter(chunk_size=120, chunk_overlap=0)],
        **settings,
    )


def found(items: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(item.node.node_id, item.score) for item in items]


def texts(store: HybridVectorStore) -> list[str]:
    return sorted(node.get_content() for node in store.get_nodes())


# VectorStoreIndex


@pytest.mark.parametrize("use_async", [False, True])
async def test_documents_become_nodes_that_remember_their_document(
    store: HybridVectorStore, documents: list[Document], use_async: bool
) -> None:
    made(store, documents, use_async=use_async)
    nodes = store.get_nodes()
    assert {node.ref_doc_id for node in nodes} == {"steps", "limit", "zh"}
    parts = [node for node in nodes if node.ref_doc_id == "steps"]
    assert len(parts) > 3
    assert all(node.metadata == documents[0].metadata for node in parts)
    assert sum(node.next_node is not None for node in parts) == len(parts) - 1
    assert " ".join(sorted((node.get_content() for node in parts), key=documents[0].text.index)) == documents[0].text


@pytest.mark.parametrize("mode", ["default", "sparse", "text_search", "hybrid", "semantic_hybrid", "mmr"])
async def test_every_mode_works_through_the_retriever_of_llamaindex(
    store: HybridVectorStore, documents: list[Document], mode: str
) -> None:
    retriever = made(store, documents).as_retriever(vector_store_query_mode=mode, similarity_top_k=3)
    items = retriever.retrieve(QUESTION)
    assert 1 <= len(items) <= 3
    assert items[0].node.ref_doc_id == "steps"
    assert found(await retriever.aretrieve(QUESTION)) == found(items)
    settings = {"default": {"mode": "dense"}, "sparse": {"mode": "sparse"}, "text_search": {"mode": "sparse"}}
    if mode != "mmr":
        hits = store.index.search(QUESTION, k=3, rerank=mode == "semantic_hybrid", **settings.get(mode, {}))
        assert found(items) == [(hit.passage.id, hit.score) for hit in hits]


def test_a_hybrid_query_engine_answers_from_what_was_found(store: HybridVectorStore, documents: list[Document]) -> None:
    engine = made(store, documents).as_query_engine(
        vector_store_query_mode="hybrid", similarity_top_k=2, alpha=0.5, llm=MockLLM()
    )
    response = engine.query(QUESTION)
    assert len(response.source_nodes) == 2
    assert all(item.text in str(response) for item in response.source_nodes)
    assert "title: Workers" in str(response)
    assert "_bge_hybrid" not in str(response)


def test_filters_and_arguments_of_the_mode_reach_the_store(store: HybridVectorStore, documents: list[Document]) -> None:
    from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

    index = made(store, documents)
    chinese = MetadataFilters(filters=[MetadataFilter(key="lang", value="zh")])
    assert [i.node.ref_doc_id for i in index.as_retriever(filters=chinese).retrieve(QUESTION)] == ["zh"]
    assert [i.node.ref_doc_id for i in index.as_retriever(doc_ids=["limit"]).retrieve(QUESTION)] == ["limit"]
    settings = {"vector_store_query_mode": "mmr", "similarity_top_k": 3}
    near = index.as_retriever(**settings, vector_store_kwargs={"mmr_threshold": 1.0}).retrieve(QUESTION)
    far = index.as_retriever(**settings, vector_store_kwargs={"mmr_threshold": 0.0}).retrieve(QUESTION)
    assert len({i.node.ref_doc_id for i in near}) == 1
    assert len({i.node.ref_doc_id for i in far}) == 3


async def test_a_changed_document_replaces_its_nodes_and_the_others_stay(
    store: HybridVectorStore, documents: list[Document]
) -> None:
    index = made(store, documents)
    before = texts(store)
    assert index.refresh_ref_docs(documents) == [False, False, False]
    assert texts(store) == before
    documents[0].set_content("A worker takes one task at a time.")
    documents[1].metadata["lang"] = "fr"
    assert index.refresh_ref_docs([*documents, Document(id_="new", text="A new one.")]) == [True, True, False, True]
    assert texts(store) == ["A new one.", "A worker takes one task at a time.", documents[1].text, documents[2].text]
    documents[2].set_content("网关。")
    assert await index.arefresh_ref_docs(documents) == [False, False, True]
    assert documents[2].text in texts(store)
    assert len(texts(store)) == 4


def test_documents_and_nodes_are_inserted_and_deleted_one_by_one(
    store: HybridVectorStore, documents: list[Document]
) -> None:
    index = made(store, documents[1:])
    index.insert(documents[0])
    index.insert_nodes([TextNode(id_="alone", text="A node without a document.")])
    assert len(store.get_nodes()) > 5
    index.delete_ref_doc("steps")
    assert {node.ref_doc_id for node in store.get_nodes()} == {"limit", "zh", None}
    index.delete_nodes(["alone"])
    assert {node.ref_doc_id for node in store.get_nodes()} == {"limit", "zh"}


def test_an_index_in_a_folder_reopens_from_the_vector_store_alone(
    encoder: BgeM3Encoder, documents: list[Document], tmp_path: Path
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        first = made(HybridVectorStore(index), documents).as_retriever(vector_store_query_mode="hybrid")
        expected = first.retrieve(QUESTION)
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index, forward_passes(encoder) as passes:
        store = HybridVectorStore(index)
        again = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
        assert again.as_retriever(vector_store_query_mode="hybrid").retrieve(QUESTION) == expected
        assert passes == []


def test_what_llamaindex_persists_beside_the_folder_lets_refresh_go_on_after_reopening(
    encoder: BgeM3Encoder, documents: list[Document], tmp_path: Path
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        made(HybridVectorStore(index), documents).storage_context.persist(tmp_path / "llama")
    documents[1].set_content("The gateway accepts everything.")
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        store = HybridVectorStore(index)
        context = StorageContext.from_defaults(vector_store=store, persist_dir=str(tmp_path / "llama"))
        again = load_index_from_storage(context, embed_model=store.embed_model)
        assert again.refresh_ref_docs(documents) == [False, True, False]
        assert documents[1].text in texts(store)
        assert "The gateway rejects requests over the limit." not in texts(store)


# how often the model runs


def test_documents_cost_one_pass_with_the_stores_embedding(encoder: BgeM3Encoder, documents: list[Document]) -> None:
    store = HybridVectorStore(HybridIndex.open(None, encoder=encoder))
    with forward_passes(encoder) as passes:
        made(store, documents)
        assert sum(passes) == len(store.get_nodes())
        passes.clear()
        question = "a question that this store has not been asked"
        VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model).as_retriever(
            vector_store_query_mode="hybrid"
        ).retrieve(question)
        assert passes == [1]


@pytest.mark.parametrize(("shared", "times"), [(True, 1), (False, 2)])
def test_documents_cost_one_pass_with_any_embedding_on_the_indexs_one_pass(
    encoder: BgeM3Encoder, documents: list[Document], shared: bool, times: int
) -> None:
    given = OnePass(encoder) if shared else encoder
    store = HybridVectorStore(HybridIndex.open(None, encoder=given))
    with forward_passes(encoder) as passes:
        VectorStoreIndex.from_documents(
            documents,
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=BgeM3Embedding(given),
        )
    assert sum(passes) == times * len(store.get_nodes())


def test_both_ways_of_passing_give_the_same_scores(encoder: BgeM3Encoder, documents: list[Document]) -> None:
    scores = []
    for given in (OnePass(encoder), encoder):
        store = HybridVectorStore(HybridIndex.open(None, encoder=given))
        VectorStoreIndex.from_documents(
            documents,
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=BgeM3Embedding(given),
        )
        hits = HybridRetriever(store.index).retrieve(QUESTION)
        scores.append([(item.text, pytest.approx(item.score, abs=1e-6)) for item in hits])
    assert scores[0] == [(text, score.expected) for text, score in scores[1]]


# IngestionPipeline


def pipeline(store: HybridVectorStore, **settings: Any) -> IngestionPipeline:
    splitter = SentenceSplitter(chunk_size=120, chunk_overlap=0)
    return IngestionPipeline(
        transformations=[splitter, store.embed_model],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        **settings,
    )


async def test_a_pipeline_upserts_by_document(store: HybridVectorStore, documents: list[Document]) -> None:
    into = pipeline(store, docstore_strategy=DocstoreStrategy.UPSERTS)
    assert len(into.run(documents=documents)) == len(store.get_nodes()) > 5
    before = texts(store)
    assert into.run(documents=documents) == []
    assert texts(store) == before
    documents[0] = Document(id_="steps", text="A worker takes one task at a time.")
    into.run(documents=documents)
    assert texts(store) == sorted(document.text for document in documents)
    documents[2] = Document(id_="zh", text="网关。")
    await into.arun(documents=documents)
    assert texts(store) == sorted(document.text for document in documents)


def test_a_pipeline_deletes_what_is_gone(store: HybridVectorStore, documents: list[Document]) -> None:
    into = pipeline(store, docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE)
    into.run(documents=documents)
    into.run(documents=documents[1:])
    assert {node.ref_doc_id for node in store.get_nodes()} == {"limit", "zh"}


def test_a_pipeline_without_a_splitter_replaces_whole_documents(
    store: HybridVectorStore, documents: list[Document]
) -> None:
    into = IngestionPipeline(
        transformations=[store.embed_model],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    into.run(documents=documents)
    assert {node.node_id for node in store.get_nodes()} == {"steps", "limit", "zh"}
    changed = Document(id_="limit", text="The gateway accepts everything.")
    into.run(documents=[documents[0], changed])
    assert {node.node_id for node in store.get_nodes()} == {"steps", "limit"}
    assert changed.text in texts(store)


def test_a_pipeline_costs_one_pass_a_node_and_its_cache_knows_the_model(
    encoder: BgeM3Encoder, random_m3: Path, documents: list[Document]
) -> None:
    store = HybridVectorStore(HybridIndex.open(None, encoder=encoder))
    into = pipeline(store)
    nodes = SentenceSplitter().get_nodes_from_documents(documents)
    with forward_passes(encoder) as passes:
        into.run(nodes=nodes)
        assert sum(passes) == len(store.get_nodes())
    written = [str(embedding.to_dict()) for embedding in (store.embed_model, BgeM3Embedding(encoder))]
    assert written[0] == written[1] != str(BgeM3Embedding(BgeM3Encoder(random_m3, device="cpu")).to_dict())
