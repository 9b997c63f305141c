"""LangChain's own suites for retrievers and embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, RetrieversIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from hybrid_core import BgeM3Encoder, HybridIndex, LateInteractionReranker
from langchain_hybrid import BgeM3Embeddings, HybridRetriever


class RetrieverSuite(RetrieversIntegrationTests):
    in_folder = False
    reranked = False

    @pytest.fixture(autouse=True)
    def _open(self, encoder: BgeM3Encoder, tmp_path: Path, documents: list[Document]) -> Iterator[None]:
        path = tmp_path / "index" if self.in_folder else None
        reranker = LateInteractionReranker(encoder) if self.reranked else None
        with HybridIndex.open(path, encoder=encoder, reranker=reranker) as self.index:
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
    in_folder = True


class TestRetrieverWithReranker(RetrieverSuite):
    reranked = True


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
