"""The tree of errors is the one that is drawn, and each is also the builtin that callers already catch."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import hybrid_core
from hybrid_core import HybridError, MissingDependencyError, errors
from hybrid_core.errors import require

BUILTIN = {
    "InvalidInputError": ValueError,
    "InvalidTextError": ValueError,
    "MetadataError": ValueError,
    "FilterError": ValueError,
    "DuplicateIdError": ValueError,
    "ModelError": RuntimeError,
    "ModelLoadError": RuntimeError,
    "EmbeddingError": RuntimeError,
    "ModelMismatchError": ValueError,
    "StorageError": OSError,
    "StorageFullError": OSError,
    "IndexLockedError": OSError,
    "IndexCorruptError": OSError,
    "BackendUnavailableError": ConnectionError,
    "MissingDependencyError": ImportError,
}
CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def drawn() -> dict[str, set[str]]:
    """Class name -> names of its bases, as the module's docstring draws them."""
    tree: dict[str, set[str]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │├└─]*?)([A-Z]\w*Error|Exception)(?:\(([\w, ]+)\))?(?:\s|$)", line)
        if not found or ("─" not in found[1] and not found[3]):
            continue
        depth = len(found[1]) // 4 - 1
        path[depth:] = [found[2]]
        tree[found[2]] = set(found[3].split(", ")) if found[3] else {path[depth - 1]}
    return tree


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert drawn() == {name: {base.__name__ for base in kind.__bases__} for name, kind in CLASSES.items()}


def test_every_error_is_a_hybrid_error_and_its_builtin() -> None:
    assert set(CLASSES) == {"HybridError", *BUILTIN}
    for name, builtin in BUILTIN.items():
        assert issubclass(CLASSES[name], HybridError)
        assert issubclass(CLASSES[name], builtin)


def test_every_error_is_exported() -> None:
    for name, kind in CLASSES.items():
        assert getattr(hybrid_core, name) is kind


def test_a_missing_module_is_named_with_the_line_that_installs_it() -> None:
    with pytest.raises(MissingDependencyError, match=r'pip install "bge-hybrid\[torch\]"') as caught:
        require("no_such_module.sub", "torch")
    assert caught.value.name == "no_such_module"
    assert isinstance(caught.value, ImportError)


def test_a_module_that_is_there_is_returned() -> None:
    assert require("json.decoder", "torch").JSONDecoder


def test_what_an_installed_module_lacks_is_not_blamed_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "installed_but_broken.py").write_text("import something_it_needs\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_needs") as caught:
        require("installed_but_broken", "torch")
    assert not isinstance(caught.value, HybridError)
