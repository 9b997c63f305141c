"""The usage files, which `make lint` gives to mypy and pyright, use every public name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hybrid_core
import langchain_hybrid
import llamaindex_hybrid

FILES = {
    "usage_core.py": hybrid_core,
    "usage_langchain.py": langchain_hybrid,
    "usage_llamaindex.py": llamaindex_hybrid,
}


@pytest.mark.parametrize("file", FILES)
def test_every_public_name_is_used(file: str) -> None:
    tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}  # an import alone is no use
    assert set(FILES[file].__all__) - used == set()
