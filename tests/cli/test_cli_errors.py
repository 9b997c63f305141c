"""What goes wrong ends in one line with the remedy, exit code 1 (2 for usage), and nothing written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hybrid_core import BgeM3Encoder, HybridIndex, InvalidInputError, ModelMismatchError
from hybrid_core.cli.app import app

Command = Callable[..., Any]


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, and every folder."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(root.rglob("*"))}


@pytest.fixture
def indexed(folder: Path, encoder: BgeM3Encoder) -> Path:
    with HybridIndex.open(folder, encoder=encoder) as index:
        index.add(["Workers pull tasks."], ids=["a"])
    return folder


def assert_fails(result: Any, *parts: str) -> None:
    """The command ended as our own errors do: one line on stderr that holds the parts."""
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("error: ")
    for part in parts:
        assert part in result.err
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


def test_searching_where_there_is_no_index(bge_hybrid: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        done = bge_hybrid("search", tmp_path / name, "workers")
        assert_fails(done, f"no index in {tmp_path / name}", f"bge-hybrid index PATH --into {tmp_path / name}")
    assert tree(tmp_path) == {str(tmp_path / "empty"): b""}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("missing.md", ["missing.md does not exist"]),
        ("picture.png", ["picture.png is of a kind that is not read", ".pdf"]),
        ("nothing", ["no files of a kind that is read", "nothing"]),
    ],
)
def test_paths_that_cannot_be_indexed(
    bge_hybrid: Command, tmp_path: Path, folder: Path, name: str, parts: list[str]
) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "good.md").write_text("Workers pull tasks.", encoding="utf-8")
    paths = [tmp_path / name] if name == "nothing" else [tmp_path / "good.md", tmp_path / name]
    assert_fails(bge_hybrid("index", *paths, "--into", folder, "--model", "tiny"), *parts)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("./no-such-folder", ["./no-such-folder", "does not exist"]),
        ("nobody/no-such-model", ["nobody/no-such-model", "--model tiny"]),
        (None, ["BAAI/bge-m3", "--model tiny"]),
    ],
)
def test_a_model_that_is_not_to_be_had(
    bge_hybrid: Command, documents: Path, folder: Path, model: str | None, parts: list[str]
) -> None:
    chosen = [] if model is None else ["--model", model]
    assert_fails(bge_hybrid("index", documents, "--into", folder, *chosen), *parts)
    assert not folder.exists()


def test_a_model_folder_without_a_model(bge_hybrid: Command, documents: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    done = bge_hybrid("index", documents, "--into", folder, "--model", tmp_path / "model")
    assert_fails(done, "config.json", str(tmp_path / "model"))
    assert not folder.exists()


@pytest.mark.parametrize("command", ["search", "index"])
def test_another_model_than_the_one_of_the_index_is_refused_naming_both(
    bge_hybrid: Command, documents: Path, indexed: Path, random_m3: Path, command: str
) -> None:
    before = (indexed / "passages.sqlite3").read_bytes()
    arguments = [indexed, "workers"] if command == "search" else [documents, "--into", indexed]
    done = bge_hybrid(command, *arguments, "--model", random_m3)
    assert_fails(done, "'tiny'", str(random_m3), str(indexed), "index the documents again")
    assert (indexed / "passages.sqlite3").read_bytes() == before


def test_the_errors_are_those_of_the_library(indexed: Path, random_m3: Path, tmp_path: Path) -> None:
    for arguments, kind in (
        (["search", str(indexed), "workers", "--model", str(random_m3)], ModelMismatchError),
        (["search", str(tmp_path / "none"), "workers"], InvalidInputError),
        (["index", str(tmp_path / "none"), "--into", str(indexed)], InvalidInputError),
    ):
        assert type(CliRunner().invoke(app, arguments).exception) is kind


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--filter", "lang"], ["--filter 'lang'", "KEY=VALUE"]),
        (["--filter", "=en"], ["--filter '=en'", "KEY=VALUE"]),
        (["--filter", "$near=3"], ["$near"]),
        (["--mode", "both"], ["'both'", "'hybrid', 'dense', 'sparse'"]),
        (["--rerank", "nobody/no-such-reranker"], ["nobody/no-such-reranker"]),
    ],
)
def test_settings_of_a_search_that_make_no_sense(
    bge_hybrid: Command, indexed: Path, arguments: list[str], parts: list[str]
) -> None:
    before = tree(indexed)
    assert_fails(bge_hybrid("search", indexed, "workers", *arguments), *parts)
    assert tree(indexed) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["search", "DIR"],
        ["search", "DIR", "workers", "-k", "-1"],
        ["search", "DIR", "workers", "-k", "two"],
        ["search", "DIR", "workers", "--candidates", "-1"],
        ["search", "DIR", "workers", "--limit", "3"],
        ["index", "DIR"],
        ["index", "--into", "DIR"],
        ["index", "DIR", "--into", "DIR", "--chunk-tokens", "3"],
        ["serve"],
    ],
)
def test_wrong_usage_ends_with_2_and_how_to_use_it(
    bge_hybrid: Command, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = bge_hybrid(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: ")
    assert "bge-hybrid" in done.err.splitlines()[0]
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_index(bge_hybrid: Command, documents: Path, indexed: Path) -> None:
    for path in indexed.glob("passages.sqlite3*"):
        path.write_bytes(b"no database " * 1000)
    assert_fails(bge_hybrid("search", indexed, "workers"), "passages.sqlite3", "damaged", "index again")
    assert_fails(bge_hybrid("index", documents, "--into", indexed), "passages.sqlite3", "damaged")


def test_a_file_in_place_of_the_index_folder(bge_hybrid: Command, documents: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    done = bge_hybrid("index", documents, "--into", tmp_path / "taken", "--model", "tiny")
    assert_fails(done, str(tmp_path / "taken"))
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "a file"


def test_an_index_that_something_else_is_writing_to(
    bge_hybrid: Command, documents: Path, indexed: Path, encoder: BgeM3Encoder
) -> None:
    with HybridIndex.open(indexed, encoder=encoder) as writer:
        writer.add(["A second passage."])
        assert_fails(bge_hybrid("index", documents, "--into", indexed), str(indexed), "being written to")
        assert "second passage" in bge_hybrid("search", indexed, "second passage").out
        assert len(writer) == 2


@pytest.mark.parametrize(
    ("module", "name"), [("pypdf", "report.pdf"), ("bs4", "legend.html"), ("langchain_text_splitters", "guide.md")]
)
def test_a_package_that_is_needed_to_read_a_file(
    bge_hybrid: Command, documents: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    done = bge_hybrid("index", documents / name, "--into", folder, "--model", "tiny")
    assert_fails(done, f"{module} is not installed", 'pip install "bge-hybrid[files]"')
    assert not folder.exists()
