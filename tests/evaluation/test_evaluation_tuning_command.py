"""`bge-hybrid tune`: the table, the sentence about noise, the settings file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import typer
from click.testing import Result
from evaluation_files import write_beir, write_rows
from typer.testing import CliRunner

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridError, HybridIndex, Passage
from hybrid_core.cli.tune import tune
from hybrid_core.evaluation import EvaluationSet, synthetic_set
from hybrid_core.settings import Settings
from langchain_hybrid import HybridRetriever as LangChainRetriever
from llamaindex_hybrid import HybridRetriever as LlamaIndexRetriever

Command = Callable[..., Result]


@pytest.fixture
def bge_hybrid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run `bge-hybrid tune ARGUMENTS` in an empty folder."""
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command("tune")(tune)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def packaged(most: int, count: int) -> EvaluationSet:
    """Questions made from the first passages in the package."""
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return synthetic_set([Passage(**json.loads(line)) for line in lines[:most]], count=count)


def write_set(folder: Path, dataset: EvaluationSet) -> Path:
    """Write a set in BEIR's layout."""
    folder.mkdir()
    write_rows(folder / "corpus.jsonl", [{"_id": p.id, "title": "", "text": p.text} for p in dataset.corpus])
    write_rows(folder / "queries.jsonl", [{"_id": id_, "text": text} for id_, text in dataset.queries.items()])
    lines = [f"{query}\t{id_}\t{grade}\n" for query, grades in dataset.qrels.items() for id_, grade in grades.items()]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made() -> EvaluationSet:
    """About thirty questions."""
    return packaged(76, 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, made: EvaluationSet) -> Path:
    """The same as files."""
    return write_set(tmp_path_factory.mktemp("data") / "made", made)


def test_one_table_a_verdict_and_a_settings_file(
    bge_hybrid: Command, data: Path, made: EvaluationSet, tmp_path: Path
) -> None:
    done = bge_hybrid(data, "--model", "tiny", "--index", tmp_path / "index")
    assert done.exit_code == 0, done.output
    heading, default, tuned, *rest = done.stdout.splitlines()
    for name in ("setting", "nDCG@10 held out", "against the default", "ms p50 / p95"):
        assert name in heading
    assert default.startswith("default: RRF k=60, 50 candidates")
    assert tuned.startswith("tuned: ")
    text = "\n".join(rest)
    assert f"{len(made.queries)} questions" in text
    assert "noise" in text or "is kept: it is what the questions choose." in text
    assert 'use it with: HybridIndex.open("my-index", encoder=encoder, settings="settings.json")' in text
    settings = Settings.from_json(tmp_path / "settings.json")
    assert settings.rerank is None
    assert settings.note.startswith(f"bge-hybrid tune: made, {len(made.queries)} questions, target best")


def test_the_file_is_taken_by_the_index_and_by_both_retrievers(bge_hybrid: Command, tmp_path: Path) -> None:
    folder, file = tmp_path / "index", tmp_path / "own.json"
    data = write_set(tmp_path / "small", packaged(16, 5))
    done = bge_hybrid(
        data, "--model", "tiny", "--index", folder, "--rerank", "tiny", "-k", 3, "--out", file, "--target", "cheapest"
    )
    assert done.exit_code == 0, done.output
    assert "reranker=reranker, settings=" in done.stdout
    settings = Settings.from_json(file)
    assert settings.k is not None
    assert settings.k <= 3
    encoder, reranker = BgeM3Encoder.tiny(), CrossEncoderReranker.tiny()
    with HybridIndex.open(folder, encoder=encoder, reranker=reranker, settings=str(file)) as index:
        assert index.settings == settings
        hits = index.search("how is a failed job tried again?")
        assert len(hits) <= settings.k
        expected = [(hit.passage.text, hit.score) for hit in hits]
        documents = LangChainRetriever(index=index).invoke("how is a failed job tried again?")
        assert [document.page_content for document in documents] == [text for text, _ in expected]
        nodes = LlamaIndexRetriever(index=index).retrieve("how is a failed job tried again?")
        assert [(node.text, node.score) for node in nodes] == expected


def test_json_has_every_figure(bge_hybrid: Command, data: Path) -> None:
    done = bge_hybrid(data, "--model", "tiny", "--json", "--max-ms", 60_000)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["max_ms"] == 60_000
    assert found["noise"] in (True, False)
    assert set(found["latency_ms"]) == {"default", "tuned"}
    assert len(found["trials"]) == 30
    assert Settings.from_dict(found["settings"]) == Settings.from_json("settings.json")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--target", "fastest"), "target='fastest' must be one of"),
        (("--out", "nowhere/settings.json"), "cannot be written: there is no folder"),
        (("--max-ms", "0.0001"), "max_ms=0.0001 cannot be kept"),
    ],
)
def test_what_is_refused_leaves_no_file(
    bge_hybrid: Command, data: Path, tmp_path: Path, arguments: tuple[str, ...], part: str
) -> None:
    done = bge_hybrid(data, "--model", "tiny", *arguments)
    assert isinstance(done.exception, HybridError)
    assert part in str(done.exception)
    assert not list(tmp_path.rglob("*.json"))


def test_too_few_questions_are_refused(bge_hybrid: Command, tmp_path: Path) -> None:
    done = bge_hybrid(write_beir(tmp_path / "small"), "--model", "tiny")
    assert "has 6 questions with judgements; 5 folds need at least 10" in str(done.exception)


def test_an_index_in_place_of_questions_is_refused(bge_hybrid: Command, tmp_path: Path, encoder: BgeM3Encoder) -> None:
    HybridIndex.open(tmp_path / "index", encoder=encoder).close()
    done = bge_hybrid(tmp_path / "index")
    assert "is an index; give questions with known answers" in str(done.exception)
