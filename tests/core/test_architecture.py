"""What the packages may import and call, and what importing them costs."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hybrid_core

PACKAGES = ["hybrid_core", "langchain_hybrid", "llamaindex_hybrid"]
HEAVY = {
    "torch", "transformers", "sentence_transformers", "tokenizers", "chromadb", "FlagEmbedding", "huggingface_hub",
    "scipy", "langchain_core", "llama_index", "pandas", "onnxruntime",
}  # fmt: skip
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LIMIT = 0.3  # seconds


def folder(package: str) -> Path:
    return Path(importlib.import_module(package).__path__[0])


SOURCES = [path for package in PACKAGES for path in sorted(folder(package).rglob("*.py"))]


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def import_times() -> dict[str, tuple[int, float]]:
    """Return (depth, cumulative seconds) of every module that importing the three packages loads."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {', '.join(PACKAGES)}"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lines = re.findall(r"^import time:\s+\d+ \|\s+(\d+) \| ( *)(\S+)$", report, flags=re.MULTILINE)
    return {name: (len(indent), int(micros) / 1e6) for micros, indent, name in lines}


@pytest.fixture(scope="module")
def imports() -> list[dict[str, tuple[int, float]]]:
    return [import_times() for _ in range(3)]


def test_importing_the_packages_loads_no_heavy_library(imports: list[dict[str, tuple[int, float]]]) -> None:
    loaded = {name.partition(".")[0] for name in imports[0]}
    assert set(PACKAGES) <= loaded
    assert loaded & HEAVY == set()


def test_importing_the_packages_takes_less_than_0_3_seconds(imports: list[dict[str, tuple[int, float]]]) -> None:
    totals = [sum(times[package][1] for package in PACKAGES) for times in imports]
    assert statistics.median(totals) < LIMIT


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_sorted_complete_and_resolves(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(set(module.__all__))
    declared = {  # what a type checker sees, under `if TYPE_CHECKING`
        alias.asname or alias.name
        for node in nodes(folder(package) / "__init__.py")
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for imported in node.body
        if isinstance(imported, ast.ImportFrom)
        for alias in imported.names
    }
    assert set(module.__all__) == declared
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        module.Nonsense  # noqa: B018 - looking it up is the test


def test_the_names_that_others_rely_on_are_exported() -> None:
    promised = {
        "HybridIndex", "BgeM3Encoder", "CrossEncoderReranker", "LateInteractionReranker", "ReciprocalRank", "WeightedSum",
        "DistributionBased", "Passage", "Hit", "StageScore", "Encoding", "SparseVector", "And", "Or", "Not", "Eq", "In",
    }  # fmt: skip
    assert promised <= set(hybrid_core.__all__)


def test_there_are_sources_to_check() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_is_unpickled_and_no_remote_code_trusted(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & UNPICKLERS
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in UNPICKLERS
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in UNPICKLERS | {"trust_remote_code"}
        elif isinstance(node, ast.Call):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert "trust_remote_code" not in keywords
            assert keywords.get("allow_pickle", "False") == "False"
            if ast.unparse(node.func) == "torch.load":
                assert keywords.get("weights_only") == "True"
