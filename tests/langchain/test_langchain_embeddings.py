"""BgeM3Embeddings, alone and under a vector store of LangChain's own."""

from __future__ import annotations

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from hybrid_core import BgeM3Encoder, InvalidTextError
from langchain_hybrid import BgeM3Embeddings

QUESTION = "how does a worker get its tasks?"

TEXTS = ["A worker pulls tasks.", "", "网关限流。", "A worker pulls tasks."]


@pytest.fixture
def embeddings(encoder: BgeM3Encoder) -> BgeM3Embeddings:
    return BgeM3Embeddings(encoder)


async def test_vectors_are_the_dense_vectors_of_the_encoder(embeddings: BgeM3Embeddings, encoder: BgeM3Encoder) -> None:
    dense = encoder.encode_documents(TEXTS).dense.tolist()
    assert embeddings.embed_documents(TEXTS) == dense
    assert await embeddings.aembed_documents(TEXTS) == dense
    query = encoder.encode_queries([QUESTION]).dense[0].tolist()
    assert embeddings.embed_query(QUESTION) == query
    assert await embeddings.aembed_query(QUESTION) == query


def test_vectors_have_unit_length(embeddings: BgeM3Embeddings) -> None:
    vectors = np.array([*embeddings.embed_documents(TEXTS), embeddings.embed_query("")])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-6)


async def test_no_texts_give_no_vectors(embeddings: BgeM3Embeddings) -> None:
    assert embeddings.embed_documents([]) == []
    assert await embeddings.aembed_documents([]) == []


def test_a_text_that_is_none_is_an_error_naming_its_position(embeddings: BgeM3Embeddings) -> None:
    with pytest.raises(InvalidTextError, match="text 1"):
        embeddings.embed_documents(["fine", "\ud800"])
    with pytest.raises(InvalidTextError, match="query 0"):
        embeddings.embed_query("\ud800")


async def test_a_vector_store_ranks_by_the_encoders_cosine(
    embeddings: BgeM3Embeddings, encoder: BgeM3Encoder, documents: list[Document]
) -> None:
    store = InMemoryVectorStore.from_documents(documents, embeddings)
    rows = encoder.encode_documents([document.page_content for document in documents]).dense
    scores = rows @ encoder.encode_queries([QUESTION]).dense[0]
    expected = [documents[i].id for i in np.argsort(-scores)[:3]]
    found = store.similarity_search_with_score(QUESTION, k=3)
    assert [document.id for document, _ in found] == expected
    assert [score for _, score in found] == pytest.approx(np.sort(scores)[::-1][:3].tolist(), abs=1e-5)
    assert [document.id for document in await store.asimilarity_search(QUESTION, k=3)] == expected
    assert "queue" in expected
