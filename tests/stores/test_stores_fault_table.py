"""Every fault that a store can meet has a test that names it, so that `grep -rn "Fault 11:" tests` finds it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FAULTS = [*range(1, 9), 11, 12, *range(15, 29), *range(30, 34), 35]
TESTS = Path(__file__).parents[1]


def docstrings(file: Path) -> Iterator[str]:
    """What a file and its tests say of themselves."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
        if node is tree or named:
            yield ast.get_docstring(node) or ""  # type: ignore[arg-type]


def test_no_fault_is_without_a_test() -> None:
    files = [file for file in TESTS.rglob("test_*.py") if file != Path(__file__)]
    named = {int(n) for file in files for text in docstrings(file) for n in re.findall(r"\bFault (\d+):", text)}
    assert sorted(set(FAULTS) - named) == []
