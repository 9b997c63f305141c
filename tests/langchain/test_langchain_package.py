"""The adapter as a whole: small, lazy, and never reading what it stored as anything but data."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.structured_query import Visitor
from langchain_core.vectorstores import VectorStore

import langchain_hybrid

FILES = sorted(Path(str(langchain_hybrid.__file__)).parent.glob("*.py"))
LOADERS = {"load", "loads", "Reviver"}


def test_the_adapter_stays_under_700_lines() -> None:
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES) < 700


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_langchains_load_is_never_called(path: Path) -> None:
    """A security promise: `lc` dicts in metadata stay data."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("langchain_core.load"):
            assert not {alias.name for alias in node.names} & LOADERS
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func).rpartition(".")[2] not in LOADERS


def test_each_class_is_langchains_kind() -> None:
    assert issubclass(langchain_hybrid.HybridVectorStore, VectorStore)
    assert issubclass(langchain_hybrid.BgeCrossEncoder, BaseCrossEncoder)
    assert issubclass(langchain_hybrid.HybridTranslator, Visitor)


def test_the_vector_stores_writes_have_async_twins_of_our_own() -> None:
    own = vars(langchain_hybrid.HybridVectorStore)
    for name in ("aadd_texts", "adelete"):
        assert inspect.iscoroutinefunction(own[name])
    assert inspect.iscoroutinefunction(own["afrom_texts"].__func__)
