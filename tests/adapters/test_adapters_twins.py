"""The two adapters are twins: the same names, files and parameters as far as the frameworks allow."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever as LangChainRetriever
from langchain_core.vectorstores import VectorStore
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.embeddings.base_sparse import BaseSparseEmbedding
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.vector_stores.types import BasePydanticVectorStore

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import HybridIndex
from hybrid_core.given_passages import RERANK_OPTIONS
from hybrid_core.searching import SEARCH_OPTIONS

BOTH = [langchain_hybrid, llamaindex_hybrid]


def parameters(function: Any, leave_out: set[str] = frozenset()) -> list[tuple[str, Any, Any]]:
    """Return (name, kind, default) of each parameter in order."""
    given = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in given if p.name not in leave_out | {"self"}]


def files_of(package: ModuleType) -> set[str]:
    return {path.name for path in Path(str(package.__file__)).parent.glob("*.py")}


@pytest.mark.parametrize("package", BOTH, ids=lambda package: package.__name__)
def test_all_is_sorted_complete_and_importable(package: ModuleType) -> None:
    defined = set()
    for file in files_of(package) - {"__init__.py"}:
        module = importlib.import_module(f"{package.__name__}.{Path(file).stem}")
        classes = inspect.getmembers(module, inspect.isclass)
        defined |= {name for name, cls in classes if cls.__module__ == module.__name__ and not name.startswith("_")}
    assert package.__all__ == sorted(defined)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name


@pytest.mark.parametrize("package", BOTH, ids=lambda package: package.__name__)
def test_a_name_that_is_not_there_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="VectorDatabase"):
        _ = package.VectorDatabase


SHARED = ["BgeReranker", "HybridRetriever", "HybridVectorStore"]


def test_class_names_are_the_same_but_for_the_plural_of_the_frameworks() -> None:
    own = {"BgeCrossEncoder", "HybridTranslator"}  # protocols that only LangChain has
    assert set(langchain_hybrid.__all__) == {"BgeM3Embeddings", "BgeM3SparseEmbeddings", *SHARED, *own}
    assert set(llamaindex_hybrid.__all__) == {"BgeM3Embedding", "BgeM3SparseEmbedding", *SHARED}


def test_file_names_are_the_same_but_for_what_only_one_framework_has() -> None:
    left, right = files_of(langchain_hybrid), files_of(llamaindex_hybrid)
    assert right - left == {"filters.py", "nodes.py"}
    assert left - right <= {"cross_encoder.py", "documents.py", "translator.py"}


def test_the_adapter_for_llamaindex_stays_small() -> None:
    folder = Path(str(llamaindex_hybrid.__file__)).parent
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.py")) < 700


def test_each_class_is_the_class_of_its_framework() -> None:
    assert issubclass(langchain_hybrid.HybridRetriever, LangChainRetriever)
    assert issubclass(langchain_hybrid.BgeReranker, BaseDocumentCompressor)
    assert issubclass(langchain_hybrid.BgeM3Embeddings, Embeddings)
    assert issubclass(llamaindex_hybrid.HybridRetriever, LlamaIndexRetriever)
    assert issubclass(llamaindex_hybrid.BgeReranker, BaseNodePostprocessor)
    assert issubclass(llamaindex_hybrid.BgeM3Embedding, BaseEmbedding)
    assert issubclass(llamaindex_hybrid.BgeM3SparseEmbedding, BaseSparseEmbedding)
    assert issubclass(langchain_hybrid.HybridVectorStore, VectorStore)
    assert issubclass(llamaindex_hybrid.HybridVectorStore, BasePydanticVectorStore)


def test_from_documents_takes_the_same_parameters_in_the_same_order() -> None:
    left = parameters(langchain_hybrid.HybridRetriever.from_documents)
    assert left == parameters(llamaindex_hybrid.HybridRetriever.from_documents, {"transformations"})
    assert [name for name, _, _ in left] == [
        "documents",
        "encoder",
        "path",
        "reranker",
        "fusion",
        "show_progress",
        "settings",
    ]


def test_from_texts_and_from_nodes_end_in_the_parameters_of_from_documents() -> None:
    shared = parameters(langchain_hybrid.HybridRetriever.from_documents, {"documents"})
    assert parameters(langchain_hybrid.HybridRetriever.from_texts, {"texts", "metadatas", "ids"}) == shared
    assert parameters(llamaindex_hybrid.HybridRetriever.from_nodes, {"nodes"}) == shared


def test_the_retrievers_have_the_same_settings_with_the_same_defaults() -> None:
    cls = langchain_hybrid.HybridRetriever
    own = [(name, cls.model_fields[name].get_default()) for name in cls.model_fields if name in cls.__annotations__]
    init = parameters(llamaindex_hybrid.HybridRetriever.__init__, {"callback_manager"})
    search = [name for name, _, _ in parameters(HybridIndex.search)]
    names = ["index", *SEARCH_OPTIONS]
    assert names[1:] == search[1:]
    assert [name for name, _ in own] == [name for name, _, _ in init] == names
    assert [default for _, default in own[1:]] == [default for _, _, default in init[1:]]
    assert cls.model_fields["index"].is_required()


def test_the_rerankers_have_the_same_settings_with_the_same_defaults() -> None:
    left, right = langchain_hybrid.BgeReranker, llamaindex_hybrid.BgeReranker
    for cls in (left, right):
        own = [name for name in cls.model_fields if name in cls.__annotations__]
        assert own == ["reranker", *RERANK_OPTIONS]
        assert cls.model_fields["reranker"].is_required()
    for name in own[1:]:
        assert left.model_fields[name].default == right.model_fields[name].default


def test_the_embeddings_take_the_encoder_first() -> None:
    for cls in (
        langchain_hybrid.BgeM3Embeddings,
        langchain_hybrid.BgeM3SparseEmbeddings,
        llamaindex_hybrid.BgeM3Embedding,
        llamaindex_hybrid.BgeM3SparseEmbedding,
    ):
        assert parameters(cls.__init__)[0][0] == "encoder"


def test_the_vector_stores_take_the_index_first() -> None:
    for package in BOTH:
        assert parameters(package.HybridVectorStore.__init__)[0][0] == "index"


def test_every_sync_method_of_ours_that_runs_the_model_has_an_async_twin() -> None:
    for cls, names in [
        (langchain_hybrid.HybridRetriever, ["add_documents"]),
        (langchain_hybrid.BgeReranker, ["compress_documents"]),
        (langchain_hybrid.BgeM3Embeddings, ["embed_documents", "embed_query"]),
        (llamaindex_hybrid.HybridRetriever, ["add_nodes"]),
        (llamaindex_hybrid.HybridVectorStore, ["get_nodes", "delete", "delete_nodes", "clear", "query"]),
    ]:
        for name in names:
            assert parameters(getattr(cls, name)) == parameters(getattr(cls, f"a{name}"))
            assert inspect.iscoroutinefunction(vars(cls)[f"a{name}"])
