"""`bge-hybrid index` run again: what changed is embedded, what is gone goes, nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_files import GUIDE, pdf

from hybrid_core import Passage

Command = Callable[..., Any]
Stored = Callable[[], dict[str, Passage]]


@pytest.fixture(autouse=True)
def indexed(bge_hybrid: Command, documents: Path, folder: Path, passes: list[int]) -> None:
    """The documents are in the index; what that cost is not counted."""
    assert "11 new or changed" in bge_hybrid("index", documents, "--into", folder, "--model", "tiny").text
    assert sum(passes) == 11
    passes.clear()


def first_source(bge_hybrid: Command, folder: Path, question: str) -> str:
    found = json.loads(bge_hybrid("search", folder, question, "--json").out)
    return Path(found[0]["metadata"]["source"]).name


def test_nothing_changed_embeds_and_writes_nothing(
    bge_hybrid: Command, documents: Path, folder: Path, passes: list[int]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("*.sqlite3")}
    done = bge_hybrid("index", documents, "--into", folder)
    assert (done.code, passes) == (0, [])
    assert done.text == f"8 files, 11 passages: 0 new or changed, 11 unchanged, 0 removed. {folder} holds 11."
    assert {path.name: path.read_bytes() for path in folder.glob("*.sqlite3")} == before


def test_a_changed_file_costs_only_its_changed_passages(
    bge_hybrid: Command, documents: Path, folder: Path, passes: list[int]
) -> None:
    (documents / "guide.md").write_text(GUIDE.replace("oldest job", "most urgent job"), encoding="utf-8")
    done = bge_hybrid("index", documents, "--into", folder)
    assert "1 new or changed, 10 unchanged, 0 removed" in done.text
    assert sum(passes) == 1
    found = json.loads(bge_hybrid("search", folder, "most urgent job", "--json", "-k", "1").out)
    assert "most urgent job" in found[0]["text"]
    assert "oldest" not in bge_hybrid("search", folder, "oldest job", "--json", "-k", "20").text


def test_passages_that_move_down_in_their_file_are_not_embedded_again(
    bge_hybrid: Command, documents: Path, folder: Path, passes: list[int], stored: Stored
) -> None:
    (documents / "guide.md").write_text("# Preface\n\nRead this first.\n\n" + GUIDE, encoding="utf-8")
    done = bge_hybrid("index", documents, "--into", folder)
    assert "12 passages: 4 new or changed" in done.text  # three have another number now
    assert sum(passes) == 1
    assert "Queues" in stored()["guide.md#4"].text


def test_a_deleted_file_takes_its_passages_with_it(
    bge_hybrid: Command, documents: Path, folder: Path, passes: list[int]
) -> None:
    assert first_source(bge_hybrid, folder, "telescope calibrated at dawn") == "notes.txt"
    (documents / "deep" / "notes.txt").unlink()
    passes.clear()
    done = bge_hybrid("index", documents, "--into", folder)
    assert "0 new or changed, 10 unchanged, 1 removed" in done.text
    assert passes == []
    assert first_source(bge_hybrid, folder, "telescope calibrated at dawn") != "notes.txt"


def test_a_file_that_got_shorter_loses_the_passages_it_no_longer_has(
    bge_hybrid: Command, documents: Path, folder: Path, stored: Stored
) -> None:
    (documents / "guide.md").write_text(GUIDE.partition("## Queues")[0], encoding="utf-8")
    assert "0 new or changed, 10 unchanged, 1 removed" in bge_hybrid("index", documents, "--into", folder).text
    assert "guide.md#3" not in stored()


def test_a_moved_file_is_found_in_its_new_place_and_not_embedded_again(
    bge_hybrid: Command, documents: Path, folder: Path, passes: list[int]
) -> None:
    (documents / "guide.md").rename(documents / "deep" / "handbook.md")
    done = bge_hybrid("index", documents, "--into", folder)
    assert "3 new or changed, 8 unchanged, 3 removed" in done.text
    assert passes == []
    assert first_source(bge_hybrid, folder, "the wait doubles after a failed job") == "handbook.md"


def test_other_folders_keep_their_passages(bge_hybrid: Command, documents: Path, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "documents-2"  # a name that begins like the first
    other.mkdir()
    (other / "more.txt").write_text("Penguins live in the south.", encoding="utf-8")
    done = bge_hybrid("index", other, "--into", folder)
    assert done.text == f"1 files, 1 passages: 1 new or changed, 0 unchanged, 0 removed. {folder} holds 12."
    (documents / "guide.md").unlink()
    assert "3 removed" in bge_hybrid("index", documents, "--into", folder).text
    assert first_source(bge_hybrid, folder, "where do penguins live?") == "more.txt"


def test_a_single_file_given_touches_no_other(bge_hybrid: Command, documents: Path, folder: Path) -> None:
    (documents / "guide.md").write_text("# Workers\n\nAll new.\n", encoding="utf-8")
    (documents / "sensors.py").unlink()
    done = bge_hybrid("index", documents / "guide.md", "--into", folder)
    assert "1 new or changed, 0 unchanged, 2 removed" in done.text
    assert done.text.endswith("holds 9.")  # the deleted one is not of the path given


def test_a_file_that_cannot_be_read_any_more_keeps_its_passages(
    bge_hybrid: Command, documents: Path, folder: Path, stored: Stored
) -> None:
    (documents / "report.pdf").write_bytes(pdf("Half written")[:80])
    done = bge_hybrid("index", documents, "--into", folder)
    assert "not read" in done.text
    assert "7 files, 9 passages: 0 new or changed, 9 unchanged, 0 removed" in done.text
    assert {"report.pdf#1", "report.pdf#2"} <= set(stored())


def test_an_emptied_file_loses_its_passages(bge_hybrid: Command, documents: Path, folder: Path) -> None:
    (documents / "sensors.py").write_text("", encoding="utf-8")
    assert "1 removed" in bge_hybrid("index", documents, "--into", folder).text


def test_a_folder_emptied_of_documents_loses_its_passages(
    bge_hybrid: Command, documents: Path, folder: Path, stored: Stored
) -> None:
    (documents / "zh" / "manual.md").unlink()
    bge_hybrid("index", documents / "zh", "--into", folder)
    assert not {"manual.md#1", "manual.md#2"} & set(stored())


def test_two_files_with_the_same_text_are_embedded_once(
    bge_hybrid: Command, documents: Path, folder: Path, passes: list[int]
) -> None:
    for name in ("one.txt", "two.txt"):
        (documents / name).write_text("A text that is there twice.", encoding="utf-8")
    assert "2 new or changed" in bge_hybrid("index", documents, "--into", folder).text
    assert sum(passes) == 1
