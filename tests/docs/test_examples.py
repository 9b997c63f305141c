"""The examples, the README's snippets and the docstrings' examples run as they stand."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import chromadb
import pytest
from langchain_core.documents import Document
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

import hybrid_core
import langchain_hybrid
import llamaindex_hybrid

ROOT = Path(__file__).parents[2]


def snippets(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


SNIPPETS = snippets(ROOT / "README.md")
PAGES = {f"{path.stem}-{i}": one for path in (ROOT / "docs").rglob("*.md") for i, one in enumerate(snippets(path))}
MODULES = [
    "hybrid_core.choosing",
    "hybrid_core.chroma_functions",
    "hybrid_core.encoders.bge_m3",
    "hybrid_core.encoders.functions",
    "hybrid_core.encoders.one_pass",
    "hybrid_core.encoders.sparse_weights",
    "hybrid_core.encoders.sparse_sides.bm25",
    "hybrid_core.fusion",
    "hybrid_core.index_spec",
    "hybrid_core.pipeline",
    "hybrid_core.reasons",
    "hybrid_core.rerankers.calibrated",
    "hybrid_core.rerankers.calibration",
    "hybrid_core.rerankers.cascade",
    "hybrid_core.rerankers.stage",
    "hybrid_core.settings",
    "langchain_hybrid.cross_encoder",
    "langchain_hybrid.embeddings",
    "langchain_hybrid.reranker",
    "langchain_hybrid.retriever",
    "langchain_hybrid.sparse_embeddings",
    "langchain_hybrid.vector_store",
    "llamaindex_hybrid.embeddings",
    "llamaindex_hybrid.reranker",
    "llamaindex_hybrid.retriever",
    "llamaindex_hybrid.sparse_embeddings",
    "llamaindex_hybrid.vector_store",
]


@pytest.mark.parametrize("name", ["langchain_quickstart.py", "llamaindex_quickstart.py"])
def test_a_quickstart_answers_each_question_from_the_right_document(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = [block.splitlines()[2].split("]")[0].strip(" [") for block in done.stdout.strip().split("\n\n")]
    assert answers[1:] == ["key", "limit"]
    assert answers[0] in {"stop", "key"}


def test_the_readme_has_short_snippets_for_each_framework_the_core_and_a_server():
    assert len(SNIPPETS) == 4
    assert max(len(snippet.splitlines()) for snippet in SNIPPETS) <= 12


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["langchain", "llamaindex", "core", "server"])
def test_a_readme_snippet_runs_as_it_stands(snippet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})  # noqa: S102  # our own README
    printed = capsys.readouterr().out
    assert "SIGTERM" in printed or "网关" in printed or "worker" in printed


@pytest.mark.parametrize("page", PAGES)
def test_a_snippet_of_the_documentation_runs_as_it_stands(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PAGES[page], page, "exec"), {})  # noqa: S102  # our own documentation
    assert capsys.readouterr().out.strip()


@pytest.fixture
def names() -> dict[str, Any]:
    """What the examples take from other packages."""
    return {
        "Document": Document,
        "NodeWithScore": NodeWithScore,
        "QdrantClient": QdrantClient,
        "QdrantVectorStore": QdrantVectorStore,
        "StorageContext": StorageContext,
        "TextNode": TextNode,
        "VectorStoreIndex": VectorStoreIndex,
        "chromadb": chromadb,
        "documents": [LlamaDocument(text="Workers pull tasks.")],
    }


@pytest.mark.filterwarnings("ignore")  # of LlamaIndex's and LangChain's other packages
@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_give_what_they_say(
    module: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter = llamaindex_hybrid if module.startswith("llamaindex") else langchain_hybrid
    public = {name: getattr(package, name) for package in (hybrid_core, adapter) for name in package.__all__}
    results = doctest.testmod(importlib.import_module(module), extraglobs=public | names, verbose=False)
    assert results.attempted > 0
    assert results.failed == 0
