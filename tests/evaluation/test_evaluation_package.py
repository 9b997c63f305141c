"""The package's names, and what importing it costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import hybrid_core.evaluation as package


def test_all_is_sorted_complete_and_resolves_every_time() -> None:
    tree = ast.parse(Path(inspect.getfile(package)).read_text(encoding="utf-8"))
    declared = {
        alias.asname
        for node in tree.body
        if isinstance(node, ast.If)
        for imported in node.body
        if isinstance(imported, ast.ImportFrom)
        for alias in imported.names
    }
    assert package.__all__ == sorted(declared)
    for _ in range(2):  # a module of the same name would take a function's place once it is imported
        for name in package.__all__:
            assert not inspect.ismodule(getattr(package, name)), name


def test_importing_it_loads_no_heavy_library() -> None:
    code = "import sys, hybrid_core.evaluation; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy", "sklearn", "pandas", "ir_measures", "pytrec_eval", "typer"} & set(loaded)
