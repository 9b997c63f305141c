"""benchmarks/quality.py: what is there is measured and written down, what is not is said loudly."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from evaluation_files import QRELS, QUERIES, write_beir

from benchmarks import measure as writing
from benchmarks import quality
from hybrid_core import BgeM3Encoder, CrossEncoderReranker, Passage
from hybrid_core.evaluation import EvaluationSet, named_systems


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_beir(tmp_path / "data" / "scifact")
    write_beir(tmp_path / "data" / "xquad_zh")
    return tmp_path / "data"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_the_section_is_written_beside_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n\n## Other\n\nkept\n", encoding="utf-8")
    monkeypatch.setattr(writing, "RESULTS", results)
    monkeypatch.setattr("sys.argv", ["quality", "--data", str(data), "--sample", "3"])
    quality.main()
    text = results.read_text(encoding="utf-8")
    assert "## Other\n\nkept" in text
    said = "NOT MEASURED, for these sets were not there: xquad_en, xquad_zh2en, xquad_en2zh, cmrc2018_dev"
    checkpoints = "NOT REPRODUCED: no sentence-transformers checkpoint is on this machine"
    loud = capsys.readouterr().err
    for place in (text, loud):
        assert re.search(said, place)
        assert checkpoints in place
    assert str(tmp_path) not in text
    rows = [cells(line) for line in text.splitlines() if line.startswith("| xquad_zh")]
    assert [row[1] for row in rows] == [
        "BM25 (k1 .9, b .4)", "dense", "sparse", "rrf", "weighted",
        "dense to rrf", "sparse to rrf", "rrf to weighted", "rrf to rrf+rerank",
    ]  # fmt: skip
    assert rows[0][0] == "xquad_zh (12 / 6)"
    assert rows[-1][0] == "xquad_zh (3 of the questions)"


def test_the_figures_are_those_of_the_evaluation(
    encoder: BgeM3Encoder, reranker: CrossEncoderReranker, small_set: EvaluationSet
) -> None:
    systems = named_systems(["dense", "sparse", "rrf", "weighted"], encoder=encoder, reranker=reranker)
    found = quality.run(small_set, encoder, systems)
    text = quality.small_models([small_set], 0)
    rrf = found.system("rrf")
    low, high = rrf.intervals["nDCG@10"]
    expected = [f"{rrf.means['nDCG@10']:.4f} [{low:.3f}, {high:.3f}]", f"{rrf.means['R@10']:.4f}"]
    assert f"| small (12 / 6) | rrf | {' | '.join(expected)} | {rrf.means['RR']:.4f} |" in text
    change = found.compare("dense", "rrf")
    assert f"{change.difference:+.4f}" in text
    assert f"{len(change.wins)} / {change.ties} / {len(change.losses)}" in text


def test_bm25_takes_the_corpuss_own_average_length() -> None:
    corpus = (Passage("long", "one two three"), Passage("short", "one"))
    dataset = EvaluationSet("two", corpus, {"q": "one"}, {"q": {"short": 1}})
    found = quality.bm25(dataset, k1=0.9, b=0.4)
    [result] = found.systems
    assert result.name == "Bm25(language='english', k1=0.9, b=0.4, average_length=2)"
    # tf 1: 1.9 / (1 + 0.9 * (0.6 + 0.4 * length / 2)), times ln(1 + 0.5 / 2.5)
    expected = [1.9 / (1 + 0.9 * (0.6 + 0.4 * length / 2)) * math.log(1.2) for length in (1, 3)]
    assert [item.id for item in result.rankings["q"]] == ["short", "long"]
    assert [item.score for item in result.rankings["q"]] == pytest.approx(expected, rel=1e-5)


def test_a_sample_takes_questions_evenly(small_set: EvaluationSet) -> None:
    assert list(quality.sampled(small_set, 3).queries) == ["q1", "q3", "q5"]
    assert quality.sampled(small_set, 0).queries == QUERIES
    assert quality.sampled(small_set, 100).qrels == QRELS


def test_a_checkpoint_of_the_hub_is_found_in_its_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not quality.on_this_machine("sentence-transformers/all-MiniLM-L6-v2")
    snapshot = tmp_path / "models--me--mine" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "models--me--mine" / "refs").mkdir()
    (tmp_path / "models--me--mine" / "refs" / "main").write_text("abc", encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert quality.on_this_machine("me/mine")
    assert not quality.on_this_machine("me/other")
