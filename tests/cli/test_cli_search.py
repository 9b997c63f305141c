"""`bge-hybrid search`: the table, the JSON, and the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_files import write_documents
from llama_index.core.schema import TextNode
from typer.testing import CliRunner

from hybrid_core import BgeM3Encoder, Eq, HybridIndex, LateInteractionReranker
from hybrid_core.cli.app import app
from hybrid_core.filters import And, Filter
from llamaindex_hybrid import HybridRetriever

Command = Callable[..., Any]
QUESTION = "how long is the wait before a failed job is tried again?"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The index of the documents; searches do not change it."""
    root = tmp_path_factory.mktemp("search")
    documents = write_documents(root / "documents")
    done = CliRunner().invoke(app, ["index", str(documents), "--into", str(root / "index"), "--model", "tiny"])
    assert done.exit_code == 0, done.output
    before = (root / "index" / "passages.sqlite3").read_bytes()
    yield root / "index"
    assert (root / "index" / "passages.sqlite3").read_bytes() == before


def explained(folder: Path, encoder: BgeM3Encoder, *, late: bool = False, **settings: Any) -> list[dict[str, Any]]:
    """What HybridIndex.explain says, in the form of the JSON output."""
    reranker = LateInteractionReranker(encoder) if late else None
    with HybridIndex.open(folder, encoder=encoder, reranker=reranker) as index:
        hits = index.explain(QUESTION, **settings)
    return [
        {
            "id": hit.passage.id,
            "score": hit.score,
            "stages": {name: {"score": stage.score, "rank": stage.rank} for name, stage in hit.stages.items()},
            "matches": [match._asdict() for match in hit.matches],
            "window": list(hit.window) if hit.window else None,
            "text": hit.passage.text,
            "metadata": hit.passage.metadata,
        }
        for hit in hits
    ]


def test_the_table_shows_each_hit_with_its_stages_and_matched_tokens(
    bge_hybrid: Command, searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searched.parent)  # short names, which the table need not break
    done = bge_hybrid("search", searched, QUESTION, "-k", "2")
    assert (done.code, done.err) == (0, "")
    heading, *lines = done.out.splitlines()
    assert heading.split() == ["#", "passage", "dense", "sparse", "fused"]
    rows = [line for line in lines if re.match(r"\d  ", line)]
    assert len(rows) == 2
    assert "guide.md" in rows[0]
    assert "Workers > Retries" in rows[0]
    assert [rank for _, rank in re.findall(r"(-?\d+\.\d{3}) #(\d+)", rows[0])][2:] == ["1"]
    assert "A failed job is tried again" in done.out
    assert re.search(r"fail\w* \d+\.\d\d( · |\s)", done.out)  # a matched token and what it adds


def test_the_numbers_of_the_table_are_those_of_the_index(
    bge_hybrid: Command, searched: Path, encoder: BgeM3Encoder
) -> None:
    done = bge_hybrid("search", searched, QUESTION, "-k", "3")
    shown = [re.findall(r"(-?\d+\.\d{3}) #(\d+)|( -) ", line) for line in done.out.splitlines() if line[0].isdigit()]
    for cells, hit in zip(shown, explained(searched, encoder, k=3), strict=True):
        expected = [f"{stage['score']:.3f} #{stage['rank']}" for stage in hit["stages"].values()]
        assert [f"{score} #{rank}" for score, rank, absent in cells if not absent] == expected


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ([], {}),
        (["-k", "2"], {"k": 2}),
        (["--k", "20", "--candidates", "3"], {"k": 20, "candidates": 3}),
        (["--mode", "dense"], {"mode": "dense"}),
        (["--mode", "sparse"], {"mode": "sparse"}),
        (["--filter", "page=2"], {"filter": Eq("page", 2)}),
        (["--filter", "title=Workers > Queues"], {"filter": Eq("title", "Workers > Queues")}),
        (["--filter", "page=2", "--filter", "title=x"], {"filter": And(Eq("page", 2), Eq("title", "x"))}),
        (["--rerank", "late"], {"late": True}),
        (["--rerank", "late", "-k", "1", "--candidates", "4"], {"late": True, "k": 1, "candidates": 4}),
        (["--model", "tiny"], {}),
    ],
)
def test_json_is_what_explain_returns(
    bge_hybrid: Command, searched: Path, encoder: BgeM3Encoder, arguments: list[str], settings: dict[str, Any]
) -> None:
    done = bge_hybrid("search", searched, QUESTION, "--json", *arguments)
    assert (done.code, done.err) == (0, "")
    rows = json.loads(done.out)
    assert rows == explained(searched, encoder, **settings)
    assert len(rows) <= settings.get("k", 5)


def test_the_cases_above_do_differ(searched: Path, encoder: BgeM3Encoder) -> None:
    cases: list[dict[str, Any]] = [{}, {"k": 2}, {"mode": "dense"}, {"mode": "sparse"}, {"late": True}]
    found = [[(row["id"], row["score"]) for row in explained(searched, encoder, **case)] for case in cases]
    assert all(found)
    assert len({str(rows) for rows in found}) == len(cases)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("page=2", Eq("page", 2)),
        ('page="2"', Eq("page", "2")),
        ("title=Chart legends", Eq("title", "Chart legends")),
        ("title=a=b", Eq("title", "a=b")),
        ("title=", Eq("title", "")),
    ],
)
def test_a_filter_value_is_a_number_where_it_reads_as_one(
    bge_hybrid: Command, searched: Path, encoder: BgeM3Encoder, pair: str, expected: Filter
) -> None:
    done = bge_hybrid("search", searched, QUESTION, "--json", "--filter", pair)
    assert json.loads(done.out) == explained(searched, encoder, filter=expected)


def test_rerank_late_adds_the_stage_that_decides(bge_hybrid: Command, searched: Path) -> None:
    plain = bge_hybrid("search", searched, QUESTION)
    reranked = bge_hybrid("search", searched, QUESTION, "--rerank", "late")
    assert "reranked" not in plain.out.splitlines()[0]
    assert reranked.out.splitlines()[0].split()[-1] == "reranked"


def test_nothing_found_is_said_in_words_and_in_json(bge_hybrid: Command, searched: Path) -> None:
    nothing = ["--filter", "title=no such title"]
    assert bge_hybrid("search", searched, QUESTION, *nothing) == (0, "nothing found\n", "")
    done = bge_hybrid("search", searched, QUESTION, *nothing, "--json")
    assert json.loads(done.out) == []


@pytest.mark.parametrize("question", ["", "   ", "😀", "[bold]", "限流 " * 400])
def test_odd_questions_are_answered(bge_hybrid: Command, searched: Path, question: str) -> None:
    done = bge_hybrid("search", searched, question, "-k", "1")
    assert done.code == 0, done.err
    assert "#1" in done.out


def test_documents_that_look_like_markup_are_printed_as_they_are(
    bge_hybrid: Command, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "markup.md"
    path.write_text("# [red]Title[/red]\n\nPut [bold]words[/bold] and [/] in brackets.\n", encoding="utf-8")
    bge_hybrid("index", path, "--into", folder, "--model", "tiny")
    done = bge_hybrid("search", folder, "words in brackets")
    assert "[red]Title[/red]" in done.out
    assert "Put [bold]words[/bold] and [/] in brackets." in done.out


def test_the_model_of_the_index_is_used_without_being_named(
    bge_hybrid: Command, documents: Path, folder: Path, random_m3: Path
) -> None:
    bge_hybrid("index", documents, "--into", folder, "--model", random_m3)
    done = bge_hybrid("search", folder, QUESTION, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == explained(folder, BgeM3Encoder(random_m3, device="cpu"))
    again = bge_hybrid("index", documents, "--into", folder)
    assert "0 new or changed, 11 unchanged" in again.text


def test_entries_that_an_adapter_keeps_for_itself_are_not_printed(
    bge_hybrid: Command, folder: Path, encoder: BgeM3Encoder
) -> None:
    nodes = [TextNode(text="Workers pull tasks.", metadata={"lang": "en"})]
    HybridRetriever.from_nodes(nodes, encoder=encoder, path=folder).index.close()
    [row] = json.loads(bge_hybrid("search", folder, "workers", "--json").out)
    assert row["metadata"] == {"lang": "en"}
