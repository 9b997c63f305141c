"""LangChain's own suites for retrievers, vector stores and embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from hybrid_core import BgeM3Encoder, Fingerprint, HybridIndex, LateInteractionReranker, MilvusStore, QdrantStore, Store
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
from langchain_hybrid import BgeM3Embeddings, HybridRetriever, HybridVectorStore
from langchain_hybrid.embeddings import to_encoder


class RetrieverSuite(RetrieversIntegrationTests):
    reranked = False

    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return MemoryStore(fingerprint)

    @pytest.fixture(autouse=True)
    def _open(self, encoder: BgeM3Encoder, tmp_path: Path, documents: list[Document]) -> Iterator[None]:
        reranker = LateInteractionReranker(encoder) if self.reranked else None
        store = self.open(tmp_path / "index", encoder.fingerprint)
        with HybridIndex(store, encoder=encoder, reranker=reranker) as self.index:
            HybridRetriever(index=self.index).add_documents(documents)
            yield

    @property
    def retriever_constructor(self) -> type[HybridRetriever]:
        return HybridRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.index}

    @property
    def retriever_query_example(self) -> str:
        return "how does a worker get its tasks?"


class TestRetrieverInMemory(RetrieverSuite):
    pass


class TestRetrieverInFolder(RetrieverSuite):
    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return EmbeddedStore(folder, fingerprint)


class TestRetrieverOnQdrant(RetrieverSuite):
    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return QdrantStore(":memory:", fingerprint)


class TestRetrieverOnMilvus(RetrieverSuite):
    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return MilvusStore(folder, fingerprint, timeout=120)


class TestRetrieverWithReranker(RetrieverSuite):
    reranked = True


class VectorStoreSuite(VectorStoreIntegrationTests):
    """Over BGE-M3, or over the suite's own embeddings, which are random vectors, with BM25 beside them."""

    of_bge_m3 = False

    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return EmbeddedStore(folder, fingerprint)

    @pytest.fixture
    def vectorstore(self, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridVectorStore]:
        chosen = encoder if self.of_bge_m3 else to_encoder(self.get_embeddings())
        with HybridIndex(self.open(tmp_path / "index", chosen.fingerprint), encoder=chosen) as index:
            yield HybridVectorStore(index)


class TestVectorStoreInFolder(VectorStoreSuite):
    pass


class TestVectorStoreInFolderOfBgeM3(VectorStoreSuite):
    of_bge_m3 = True


class TestVectorStoreInMemory(VectorStoreSuite):
    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return MemoryStore(fingerprint)


class TestVectorStoreOnQdrant(VectorStoreSuite):
    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return QdrantStore(":memory:", fingerprint)


class TestVectorStoreOnQdrantOfBgeM3(TestVectorStoreOnQdrant):
    of_bge_m3 = True


class TestVectorStoreOnMilvus(VectorStoreSuite):
    of_bge_m3 = True  # Milvus has no inverse document frequencies for BM25

    def open(self, folder: Path, fingerprint: Fingerprint) -> Store:
        return MilvusStore(folder, fingerprint, timeout=120)


class _Embeddings:
    @pytest.fixture(autouse=True)
    def _load(self, encoder: BgeM3Encoder) -> None:
        self.encoder = encoder

    @property
    def embeddings_class(self) -> type[BgeM3Embeddings]:
        return BgeM3Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": self.encoder}


class TestEmbeddingsUnit(_Embeddings, EmbeddingsUnitTests):
    pass


class TestEmbeddingsIntegration(_Embeddings, EmbeddingsIntegrationTests):
    pass
