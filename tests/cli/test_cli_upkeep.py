"""`bge-hybrid optimize`, `compact` and `backup`, and a latency budget on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def indexed(bge_hybrid: Command, documents: Path, folder: Path) -> Path:
    assert bge_hybrid("index", documents, "--into", folder, "--model", "tiny").code == 0
    return folder


def hits(bge_hybrid: Command, folder: Path, *options: object) -> list[dict[str, Any]]:
    done = bge_hybrid("search", folder, "how long is the wait before a failed job is tried again?", "--json", *options)
    assert done.code == 0, done.err
    return list(json.loads(done.out))


def test_a_backup_answers_as_the_index_does(bge_hybrid: Command, indexed: Path, tmp_path: Path) -> None:
    done = bge_hybrid("backup", indexed, tmp_path / "copy")
    assert done.code == 0
    assert "passages copied to" in done.text
    assert hits(bge_hybrid, tmp_path / "copy") == hits(bge_hybrid, indexed)


def test_a_backup_replaces_nothing(bge_hybrid: Command, indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("kept", encoding="utf-8")
    done = bge_hybrid("backup", indexed, tmp_path / "taken")
    assert (done.code, "exists already" in done.err) == (1, True)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine"]


def test_compact_gives_back_what_is_gone_and_changes_no_answer(
    bge_hybrid: Command, indexed: Path, documents: Path
) -> None:
    (documents / "guide.md").unlink()
    bge_hybrid("index", documents, "--into", indexed)
    before = hits(bge_hybrid, indexed)
    done = bge_hybrid("compact", indexed)
    assert done.code == 0
    assert not done.text.startswith("0 passages")
    assert hits(bge_hybrid, indexed) == before
    assert bge_hybrid("compact", indexed).text.startswith("0 passages")


def test_optimize_folds_once(bge_hybrid: Command, indexed: Path) -> None:
    before = hits(bge_hybrid, indexed)
    assert "passages folded in" in bge_hybrid("optimize", indexed).text
    assert bge_hybrid("optimize", indexed).text.startswith("0 passages")
    assert hits(bge_hybrid, indexed) == before


@pytest.mark.parametrize("command", ["optimize", "compact"])
def test_upkeep_of_a_folder_without_an_index_makes_none(bge_hybrid: Command, command: str, tmp_path: Path) -> None:
    done = bge_hybrid(command, tmp_path / "nothing")
    assert (done.code, "there is no index" in done.err) == (1, True)
    assert not (tmp_path / "nothing").exists()


def test_a_budget_on_the_command_line(bge_hybrid: Command, indexed: Path) -> None:
    found = hits(bge_hybrid, indexed, "--rerank", "tiny", "--budget-ms", 60_000)
    plain = hits(bge_hybrid, indexed, "--rerank", "tiny")
    assert [hit["id"] for hit in found] == [hit["id"] for hit in plain]
    assert all("reranked" in hit["stages"] for hit in found)


def test_a_least_score_on_the_command_line(bge_hybrid: Command, indexed: Path) -> None:
    every = hits(bge_hybrid, indexed, "--rerank", "tiny")
    bar = sorted(hit["score"] for hit in every)[-2]
    assert len(every) > 2
    assert len(hits(bge_hybrid, indexed, "--rerank", "tiny", "--min-score", bar)) == 2


def test_late_interaction_with_the_other_scores_on_the_command_line(bge_hybrid: Command, indexed: Path) -> None:
    assert all("reranked" in hit["stages"] for hit in hits(bge_hybrid, indexed, "--rerank", "combined"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--budget-ms", 50), "--rerank"),
        (("--rerank", "tiny", "--budget-ms", -1), "-1"),
        (("--min-score", 0.5), "--rerank"),
        (("--rerank", "tiny", "--min-score", 5), "min_score=5"),
        (("--rerank", "tiny", "--instruction", "find answers"), "takes none"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(
    bge_hybrid: Command, indexed: Path, options: tuple[object, ...], said: str
) -> None:
    done = bge_hybrid("search", indexed, "who?", *options)
    assert (done.code, said in done.err) == (1, True)


def test_exporting_the_name_of_both_small_models_says_where_they_are(bge_hybrid: Command, tmp_path: Path) -> None:
    done = bge_hybrid("export", "tiny", tmp_path / "onnx")
    assert (done.code, "models/tiny_m3" in done.err) == (1, True)
