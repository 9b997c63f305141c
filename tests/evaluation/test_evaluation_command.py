"""`bge-hybrid eval`: tables, JSON, where the index goes, resuming, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from evaluation_files import CORPUS, QRELS, QUERIES, TEXTS, write_beir, write_trec
from typer.testing import CliRunner

from hybrid_core import BgeM3Encoder, HybridError, HybridIndex, InvalidInputError
from hybrid_core.cli.evaluate import evaluate

Command = Callable[..., Result]


@pytest.fixture
def bge_hybrid(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `bge-hybrid eval ARGUMENTS`."""
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    app = typer.Typer()
    app.command("eval")(evaluate)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small set in BEIR's layout."""
    return write_beir(tmp_path_factory.mktemp("data") / "small")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, encoder: BgeM3Encoder) -> Path:
    """The index of the small set; not to be written to."""
    folder = tmp_path_factory.mktemp("indexed") / "index"
    with HybridIndex.open(folder, encoder=encoder) as index:
        index.add(CORPUS)
    return folder


def stored(folder: Path, encoder: BgeM3Encoder) -> dict[str, str]:
    with HybridIndex.open(folder, encoder=encoder) as index:
        return {passage.id: passage.text for passage in index.get(index.ids()) if passage}


def test_the_tables_show_figures_comparisons_and_latencies(bge_hybrid: Command, data: Path) -> None:
    done = bge_hybrid(data, "--model", "tiny", "--k", 3)
    assert done.exit_code == 0, done.output
    heading, finding, _, *lines = done.stdout.splitlines()
    assert heading.startswith("small: 12 passages, 6 questions, BgeM3Encoder('tiny'")
    assert "dense" in finding
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["system"] == "system nDCG@3 R@3 R@50 RR AP Success@3 P@3 Judged@3 pairs".split()
    text = " ".join(done.stdout.split())
    assert "nDCG@3 against dense difference 95 % interval wins losses ties p" in text
    assert "milliseconds a query encode dense sparse fused total" in text
    for name in ("dense", "sparse", "rrf", "weighted"):
        assert sum(line.startswith(name) for line in lines) == (2 if name == "dense" else 3)
    assert rows["dense"].count("-") == 2  # of the last table: milliseconds of stages that dense does not have


def test_json_is_for_machines_and_the_same_as_the_file(
    bge_hybrid: Command, indexed: Path, data: Path, tmp_path: Path
) -> None:
    done = bge_hybrid(data, "--index", indexed, "--out", tmp_path / "out", "--systems", "sparse, rrf", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [system["name"] for system in found["systems"]] == ["sparse", "rrf"]
    assert found["comparisons"][0]["baseline"] == "sparse"
    assert set(found["systems"][0]["values"]["nDCG@10"]) == set(QRELS)
    assert found["query_texts"] == QUERIES
    assert (tmp_path / "out" / "runs" / "rrf.run").is_file()
    assert not (tmp_path / "out" / "index").exists()


def test_the_index_is_built_where_it_is_asked_for_and_used_again(
    bge_hybrid: Command, data: Path, tmp_path: Path, encoder: BgeM3Encoder
) -> None:
    for arguments, folder in (
        (["--index", tmp_path / "index"], tmp_path / "index"),
        (["--out", tmp_path / "out"], tmp_path / "out" / "index"),
    ):
        assert bge_hybrid(data, "--model", "tiny", "--systems", "dense", *arguments).exit_code == 0
        assert stored(folder, encoder) == TEXTS
        before = (folder / "passages.sqlite3").read_bytes()
        assert bge_hybrid(data, "--systems", "dense", *arguments).exit_code == 0  # the model is the index's own
        assert (folder / "passages.sqlite3").read_bytes() == before


def test_an_index_that_was_half_built_is_completed(
    bge_hybrid: Command, data: Path, tmp_path: Path, encoder: BgeM3Encoder
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(CORPUS[:5])
    done = bge_hybrid(data, "--index", tmp_path / "index", "--systems", "dense")
    assert done.exit_code == 0, done.output
    assert stored(tmp_path / "index", encoder) == TEXTS


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        ({**dict(list(TEXTS.items())[:5]), "mine": "A passage of my own."}, "holds 1 other passages"),
        ({**TEXTS, "retry": "Another text."}, "holds another text under id 'retry'"),
    ],
)
def test_an_index_of_something_else_is_not_written_to(
    bge_hybrid: Command, data: Path, tmp_path: Path, encoder: BgeM3Encoder, texts: dict[str, str], part: str
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(list(texts.values()), ids=list(texts))
    done = bge_hybrid(data, "--index", tmp_path / "index")
    assert done.exit_code == 1
    assert isinstance(done.exception, HybridError)
    assert part in str(done.exception)
    assert "choose a folder of its own" in str(done.exception)
    assert stored(tmp_path / "index", encoder) == texts


def test_an_index_that_holds_the_corpus_and_more_is_searched_as_it_is(
    bge_hybrid: Command, data: Path, tmp_path: Path, encoder: BgeM3Encoder
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add([*TEXTS.values(), "A passage of my own."], ids=[*TEXTS, "mine"])
    done = bge_hybrid(data, "--index", tmp_path / "index", "--systems", "dense", "--json")
    assert json.loads(done.stdout)["documents"] == 13


def test_questions_alone_are_asked_of_an_index(bge_hybrid: Command, indexed: Path, tmp_path: Path) -> None:
    folder = write_trec(tmp_path / "trec")
    path = tmp_path / "questions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [[QUERIES[query], id_, grade] for query, grades in QRELS.items() for id_, grade in grades.items()]
        csv.writer(file).writerows([["question", "document", "grade"], *rows])
    found = []
    for questions in (folder, path):
        done = bge_hybrid(questions, "--index", indexed, "--systems", "rrf", "--json")
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout)["systems"][0]["means"])
    assert found[0] == found[1]


def test_a_reranker_is_compared_when_one_is_given(bge_hybrid: Command, indexed: Path, data: Path) -> None:
    done = bge_hybrid(data, "--index", indexed, "--rerank", "tiny", "--candidates", 3, "--json")
    assert done.exit_code == 0, done.output
    systems = json.loads(done.stdout)["systems"]
    assert [system["name"] for system in systems] == ["dense", "sparse", "rrf", "weighted", "rerank"]
    assert "reranked" in systems[-1]["latency_ms"]


def test_synthetic_questions_from_a_corpus_or_an_index(
    bge_hybrid: Command, indexed: Path, data: Path, encoder: BgeM3Encoder
) -> None:
    found: list[Any] = []
    for source in (data, data / "corpus.jsonl", indexed):
        done = bge_hybrid(source, "--model", "tiny", "--synthetic", 2, "--systems", "sparse", "--json")
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout))
    assert found[0]["query_texts"] == found[1]["query_texts"] == found[2]["query_texts"]
    assert found[0]["synthetic"] is True
    assert set(found[0]["query_kinds"].values()) == {"keywords"}  # these passages are too short for the other kinds
    assert stored(indexed, encoder) == TEXTS
    done = bge_hybrid(data, "--model", "tiny", "--synthetic", 2, "--systems", "sparse")
    assert "Synthetic questions use the passages' own words" in done.stdout
    assert "keywords" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["{missing}"], "does not exist"),
        (["{data}", "--systems", "bm25"], "no system 'bm25'"),
        (["{data}", "--systems", "dense,rerank"], "needs a reranker; give one (--rerank)"),
        (["{data}", "--systems", "dense,dense"], "two systems are named 'dense'"),
        (["{indexed}"], "is an index, without questions; add --synthetic 100"),
        (["{missing}", "--synthetic", "3"], "cannot be read"),
        (["{trec}"], "corpus.jsonl is not there"),
    ],
)
def test_what_cannot_be_evaluated(
    bge_hybrid: Command, data: Path, indexed: Path, tmp_path: Path, arguments: list[str], part: str
) -> None:
    places = {"data": data, "indexed": indexed, "missing": tmp_path / "missing", "trec": write_trec(tmp_path / "trec")}
    done = bge_hybrid(
        *(argument.format(**places) for argument in arguments), "--model", "tiny", "--out", tmp_path / "out"
    )
    assert done.exit_code == 1
    assert isinstance(done.exception, HybridError)
    assert part in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tnowhere\t1\n", ["qrels.tsv:2 names document 'nowhere'"]),
        ("qrels.tsv", "q99\tretry\t1\nq1\tretry\t1\n", ["qrels.tsv:1 names query 'q99'"]),
        ("qrels.tsv", "7\tretry\t1\n", ["share no query id", "qrels.tsv:1 has '7'"]),
        ("qrels.tsv", "", ["qrels.tsv holds no judgements"]),
        ("qrels.tsv", "q1 retry 1\n", ["qrels.tsv:1 has 1 columns; 3 are needed"]),
        ("qrels.tsv", "q1\tretry\tnan\n", ["qrels.tsv:1: grade 'nan'"]),
        ("queries.jsonl", "", ["queries.jsonl holds no queries"]),
        ("queries.jsonl", '{"id": "q1", "text": "why?"}\n', ["queries.jsonl:1 has 'id', 'text' where"]),
        ("corpus.jsonl", "\n", ["corpus.jsonl holds no documents"]),
        ("corpus.jsonl", '{"_id": "retry", "text": NaN}\n', ["corpus.jsonl:1 is no JSON", "NaN"]),
    ],
)
def test_a_bad_file_is_named_with_its_line_before_anything_is_written(
    bge_hybrid: Command, tmp_path: Path, name: str, text: str, parts: list[str]
) -> None:
    folder = write_beir(tmp_path / "bad")
    (folder / name).write_text(text, encoding="utf-8")
    done = bge_hybrid(folder, "--model", "tiny", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert isinstance(done.exception, InvalidInputError)
    for part in parts:
        assert part in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_the_finding_stands_above_the_tables(bge_hybrid: Command, indexed: Path, data: Path) -> None:
    done = bge_hybrid(data, "--index", indexed, "--systems", "dense,sparse")
    assert done.exit_code == 0, done.output
    _, finding, *_ = done.stdout.splitlines()
    assert finding.startswith(("sparse beats dense by ", "sparse falls behind dense by ", "sparse and dense cannot be"))
    assert "nDCG@10 [" in finding


def test_a_killed_evaluation_continues(
    bge_hybrid: Command, indexed: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second system stops at its third question; the next call asks for the other three only."""
    from hybrid_core.fusion import ReciprocalRank

    arguments = (data, "--index", indexed, "--out", tmp_path / "out", "--systems", "dense,rrf", "--json")
    fuse, fused = ReciprocalRank.__call__, []

    def stop(self: ReciprocalRank, lists: Any) -> Any:
        fused.append(1)
        if len(fused) == 4:
            raise KeyboardInterrupt
        return fuse(self, lists)

    monkeypatch.setattr(ReciprocalRank, "__call__", stop)
    assert bge_hybrid(*arguments).exit_code != 0
    assert not (tmp_path / "out" / "results.json").exists()
    done = bge_hybrid(*arguments)
    assert done.exit_code == 0, done.output
    assert len(fused) == 7
    monkeypatch.undo()
    fresh = json.loads(bge_hybrid(*arguments[:3], *arguments[5:]).stdout)
    for ours, theirs in zip(json.loads(done.stdout)["systems"], fresh["systems"], strict=True):
        assert ours["values"] == theirs["values"]
