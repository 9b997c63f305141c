"""What a user reads who lacks a package, and what is not loaded before it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run_without(blocked: set[str], code: str) -> str:
    """Run code in a Python in which some packages are not installed; return what it prints."""
    program = BLOCK.format(blocked=blocked) + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [("langchain_hybrid", "langchain_core", "langchain"), ("llamaindex_hybrid", "llama_index", "llamaindex")],
)
def test_every_name_of_an_adapter_without_its_framework_says_how_to_install_it(
    package: str, framework: str, extra: str
) -> None:
    code = f"""
import {package}
from hybrid_core import HybridError, MissingDependencyError
for name in {package}.__all__:
    try:
        getattr({package}, name)
    except ImportError as error:
        assert isinstance(error, MissingDependencyError) and isinstance(error, HybridError), error
        print(error)
"""
    lines = run_without({framework}, code).splitlines()
    names = importlib.import_module(package).__all__
    assert lines == [f'{framework} is not installed. Run: pip install "bge-hybrid[{extra}]"'] * len(names)


def test_one_adapter_works_without_the_framework_of_the_other() -> None:
    code = "import langchain_hybrid; print(langchain_hybrid.HybridRetriever.__name__)"
    assert run_without({"llama_index", "torch", "transformers", "chromadb"}, code) == "HybridRetriever"
    code = "import llamaindex_hybrid; print(llamaindex_hybrid.HybridRetriever.__name__)"
    assert run_without({"langchain_core", "torch", "transformers", "chromadb"}, code) == "HybridRetriever"


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("torch", "hybrid_core.BgeM3Encoder.tiny()", "torch"),
        ("safetensors", "hybrid_core.BgeM3Encoder.tiny()", "torch"),
        ("tokenizers", "hybrid_core.BgeM3Encoder.tiny()", "onnx"),
        ("torch", "hybrid_core.CrossEncoderReranker.tiny()", "torch"),
        ("huggingface_hub", "hybrid_core.CrossEncoderReranker('a/b')", "torch"),
        ("Stemmer", "hybrid_core.Bm25().encode_queries(['a'])", "bm25"),
        ("httpx", "hybrid_core.RemoteReranker('http://127.0.0.1:1', api='tei').score('q', ['a'])", "remote"),
    ],
)
def test_a_model_without_its_packages_says_how_to_install_them(missing: str, code: str, extra: str) -> None:
    program = (
        f"import hybrid_core\ntry:\n    {code}\nexcept hybrid_core.MissingDependencyError as error:\n    print(error)"
    )
    assert run_without({missing}, program) == f'{missing} is not installed. Run: pip install "bge-hybrid[{extra}]"'


def test_importing_the_packages_needs_none_of_the_heavy_ones() -> None:
    heavy = {"torch", "transformers", "sentence_transformers", "chromadb", "FlagEmbedding", "tokenizers", "sqlite3"}
    code = "import hybrid_core, hybrid_core.cli, langchain_hybrid, llamaindex_hybrid; print(hybrid_core.__name__)"
    assert run_without(heavy | {"langchain_core", "llama_index"}, code) == "hybrid_core"


def test_without_chromadb_a_folder_is_searched_and_only_its_hnsw_step_fails(tmp_path: Path) -> None:
    code = f"""
from hybrid_core import BgeM3Encoder, HybridError, HybridIndex
with HybridIndex.open({str(tmp_path / "index")!r}, encoder=BgeM3Encoder.tiny()) as index:
    index.add(["Workers pull tasks."], ids=["a"])
    print(index.search("workers")[0].passage.id)
    try:
        index.optimize()
    except HybridError as error:
        print("chromadb" in str(error))
    print(index.search("workers")[0].passage.id)
"""
    assert run_without({"chromadb"}, code).splitlines() == ["a", "True", "a"]
