"""Systems over a real index: what each finds, that work is shared, and that a run continues where it was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_files import CORPUS, QRELS, QUERIES

from hybrid_core import (
    BgeM3Encoder,
    CrossEncoderReranker,
    DistributionBased,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    Passage,
    ReciprocalRank,
    StorageError,
    WeightedSum,
)
from hybrid_core.evaluation import EvaluationSet, System, evaluate, named_systems, run_systems
from hybrid_core.types import FloatArray

NAMES = [
    "dense", "sparse", "rrf", "weighted", "dbsf",
    "dense+rerank", "sparse+rerank", "rerank", "weighted+rerank", "dbsf+rerank", "late", "sparse+late",
]  # fmt: skip


@pytest.mark.parametrize(
    ("candidates", "names"),
    [(3, NAMES), (50, ["dense", "sparse", "rrf", "weighted", "dbsf", "rerank"])],
)
def test_every_system_finds_what_a_search_with_its_settings_finds(
    small_index: HybridIndex, reranker: CrossEncoderReranker, candidates: int, names: list[str]
) -> None:
    encoder = small_index.encoder
    queries = {id_: QUERIES[id_] for id_ in ("q1", "q3")}
    wide = System("wide", candidates=7)  # makes the shared lists deeper than those of the others
    systems = named_systems(names, encoder=encoder, reranker=reranker, candidates=candidates)
    for run in run_systems(small_index, queries, (*systems, wide)):
        system = run.system
        alone = HybridIndex(small_index.store, encoder=encoder, reranker=system.reranker, fusion=system.fusion)
        for id_, text in queries.items():
            hits = alone.search(text, k=system.candidates, candidates=system.candidates, mode=system.mode)
            found = run.answers[id_].ranking
            assert [item.id for item in found] == [hit.passage.id for hit in hits], (system.name, id_)
            # queries are encoded in another batch than alone: the last bits may differ
            assert [item.score for item in found] == pytest.approx([hit.score for hit in hits], abs=1e-4)


def test_the_names_stand_for_their_parts(small_index: HybridIndex, reranker: CrossEncoderReranker) -> None:
    made = named_systems(NAMES, encoder=small_index.encoder, reranker=reranker, candidates=9)
    by_name = {system.name: system for system in made}
    assert list(by_name) == NAMES
    assert by_name["dense"].mode == by_name["dense+rerank"].mode == "dense"
    assert by_name["rrf"].fusion == by_name["rerank"].fusion == by_name["late"].fusion == ReciprocalRank()
    assert by_name["weighted"].fusion == WeightedSum.from_alpha(0.5)
    assert by_name["dbsf"].fusion == DistributionBased()
    assert by_name["rerank"].reranker is by_name["dense+rerank"].reranker is reranker
    assert isinstance(by_name["late"].reranker, LateInteractionReranker)
    assert {system.candidates for system in made} == {9}
    assert System("plain").joins == ReciprocalRank()


class Counting:
    """The given encoder; notes how many queries each call has."""

    def __init__(self, encoder: Any, calls: list[int]) -> None:
        self._encoder, self._calls = encoder, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def __repr__(self) -> str:
        return repr(self._encoder)

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Any:
        self._calls.append(len(texts))
        return self._encoder.encode_queries(texts, multi=multi)


class Watched:
    """A reranker that notes its queries and may stop the run; scores are lengths, so that a model plays no part."""

    def __init__(self, asked: list[str], *, fail_at: int | None = None) -> None:
        self.asked, self.fail_at = asked, fail_at

    @property
    def name(self) -> str:
        return "watched"

    def __repr__(self) -> str:
        return "Watched()"

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        if self.fail_at is not None and len(self.asked) == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(query)
        return np.array([1 / len(text) for text in texts], dtype=np.float32)


def test_queries_are_encoded_once_for_all_systems(small_index: HybridIndex) -> None:
    calls: list[int] = []
    index = HybridIndex(small_index.store, encoder=Counting(small_index.encoder, calls))
    systems = named_systems(["dense", "sparse", "rrf", "weighted"], encoder=index.encoder)
    run_systems(index, QUERIES, systems)
    assert calls == [len(QUERIES)]


def test_each_stage_of_a_system_is_timed(small_index: HybridIndex) -> None:
    stages = {
        "dense": ["encode", "dense"],
        "sparse": ["encode", "sparse"],
        "rrf": ["encode", "dense", "sparse", "fused"],
        "rrf+rerank": ["encode", "dense", "sparse", "fused", "reranked"],
    }
    systems = named_systems(list(stages), encoder=small_index.encoder, reranker=Watched([]))
    runs = run_systems(small_index, QUERIES, systems)
    shared = set()
    for run in runs:
        seconds = run.seconds()
        assert list(seconds) == [*stages[run.system.name], "total"]
        assert all(len(values) == len(QUERIES) and min(values) >= 0 for values in seconds.values())
        assert seconds["total"] == pytest.approx(np.sum([seconds[name] for name in stages[run.system.name]], axis=0))
        shared.add(tuple(seconds.get("dense", ())))
    assert len(shared - {()}) == 1  # one dense search a query, counted for each system


def test_a_run_that_was_killed_asks_only_what_is_missing(small_index: HybridIndex, tmp_path: Path) -> None:
    encoder = small_index.encoder

    def systems(reranker: Watched) -> tuple[System, ...]:
        return named_systems(["dense", "rrf+rerank"], encoder=encoder, reranker=reranker)

    whole = run_systems(small_index, QUERIES, systems(Watched([])))
    first: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_systems(small_index, QUERIES, systems(Watched(first, fail_at=4)), folder=tmp_path)
    assert len(first) == 4
    second: list[str] = []
    calls: list[int] = []
    index = HybridIndex(small_index.store, encoder=Counting(encoder, calls))
    resumed = run_systems(index, QUERIES, systems(Watched(second)), folder=tmp_path)
    assert second == list(QUERIES.values())[4:]
    assert calls == [2]
    assert [run.rankings() for run in resumed] == [run.rankings() for run in whole]
    third: list[str] = []
    again = run_systems(index, QUERIES, systems(Watched(third)), folder=tmp_path)
    assert (third, calls) == ([], [2])
    assert [run.answers["q1"].seconds for run in again] == [run.answers["q1"].seconds for run in resumed]


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_that_was_cut_off_is_asked_again(small_index: HybridIndex, tmp_path: Path, cut: int) -> None:
    asked: list[str] = []
    systems = named_systems(["rerank"], encoder=small_index.encoder, reranker=Watched(asked))
    whole = run_systems(small_index, QUERIES, systems, folder=tmp_path)[0].rankings()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    asked.clear()
    assert run_systems(small_index, QUERIES, systems, folder=tmp_path)[0].rankings() == whole
    assert asked == ([] if cut == 1 else list(QUERIES.values())[-1:])  # without its line break it is still whole
    asked.clear()
    assert run_systems(small_index, QUERIES, systems, folder=tmp_path)[0].rankings() == whole
    assert asked == []


def test_a_file_cut_off_in_its_first_line_begins_anew(small_index: HybridIndex, tmp_path: Path) -> None:
    asked: list[str] = []
    systems = named_systems(["rerank"], encoder=small_index.encoder, reranker=Watched(asked))
    run_systems(small_index, QUERIES, systems, folder=tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:30])
    for _ in range(2):
        run_systems(small_index, QUERIES, systems, folder=tmp_path)
    assert len(asked) == 2 * len(QUERIES)


def test_other_settings_another_query_or_other_passages_are_run_anew(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    asked: list[str] = []

    def run(index: HybridIndex, queries: dict[str, str], candidates: int) -> int:
        asked.clear()
        systems = named_systems(["rerank"], encoder=encoder, reranker=Watched(asked), candidates=candidates)
        run_systems(index, queries, systems, folder=tmp_path)
        return len(asked)

    with HybridIndex.open(None, encoder=encoder) as index:
        index.add(CORPUS)
        assert run(index, QUERIES, 5) == 6
        assert run(index, QUERIES, 6) == 6
        assert run(index, QUERIES, 5) == 0  # both are kept
        assert run(index, {**QUERIES, "q2": "what stops a worker?"}, 5) == 1
        index.add([Passage("new", "A new passage.")])
        assert run(index, QUERIES, 5) == 6


def test_a_reranker_that_was_trained_again_is_run_anew(small_index: HybridIndex, tmp_path: Path) -> None:
    asked: list[str] = []

    class InFolder(Watched):
        name = str(tmp_path / "model")

    (tmp_path / "model").mkdir()
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_text("weights")
    for time, expected in ((1_000, 6), (1_000, 0), (2_000_000_000, 6)):
        os.utime(weights, (time, time))
        os.utime(tmp_path / "model", (time, time))
        asked.clear()
        run_systems(small_index, QUERIES, [System("r", reranker=InFolder(asked))], folder=tmp_path / "runs")
        assert len(asked) == expected


def test_a_folder_that_cannot_be_used(small_index: HybridIndex, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        run_systems(small_index, QUERIES, [System("rrf")], folder=tmp_path / "file")


def test_an_evaluation_from_end_to_end(
    small_index: HybridIndex, small_set: EvaluationSet, reranker: CrossEncoderReranker, tmp_path: Path
) -> None:
    systems = named_systems(["dense", "sparse", "rrf", "rerank"], encoder=small_index.encoder, reranker=reranker)
    found = evaluate(small_index, small_set, systems, k=3, folder=tmp_path)
    assert found.metrics == ("nDCG@3", "R@3", "R@50", "RR", "AP", "Success@3", "P@3", "Judged@3")
    assert (found.documents, dict(found.queries), found.unjudged) == (12, QUERIES, 0)
    for result in found.systems:
        for metric in found.metrics:
            values = result.values[metric]
            assert list(values) == list(QRELS)
            assert result.means[metric] == pytest.approx(sum(values.values()) / len(values))
            assert result.intervals[metric].low <= result.means[metric] <= result.intervals[metric].high
        assert result.pairwise_accuracy is not None
        assert result.latency["total"].p50 <= result.latency["total"].p95
    # documentation in two languages is what the small models were trained for
    assert found.system("rrf").means["R@3"] > 0.6
    comparison = found.compare("dense", "rrf", "RR")
    assert comparison.difference == pytest.approx(found.system("rrf").means["RR"] - found.system("dense").means["RR"])
    assert [c.system for c in found.comparisons()] == ["sparse", "rrf", "rerank"]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == found.as_dict()
    runs = sorted(path.name for path in (tmp_path / "runs").glob("*.run"))
    assert runs == ["dense.run", "rerank.run", "rrf.run", "sparse.run"]
    again = evaluate(small_index, small_set, systems, k=3, folder=tmp_path)
    assert again.as_dict() == found.as_dict()  # latencies too: nothing was run a second time


def test_an_index_that_lacks_judged_passages(small_set: EvaluationSet, encoder: BgeM3Encoder) -> None:
    with HybridIndex.open(None, encoder=encoder) as index:
        index.add([passage for passage in CORPUS if passage.id not in ("cache", "login")])
        with pytest.raises(InvalidInputError, match=r"lacks 2 of 8 judged passages of small \(first: 'cache'\)"):
            evaluate(index, small_set, [System("rrf")])


def test_an_unknown_metric_is_found_before_anything_runs(small_index: HybridIndex, small_set: EvaluationSet) -> None:
    asked: list[str] = []
    with pytest.raises(InvalidInputError, match="'nDGC@10'"):
        evaluate(small_index, small_set, [System("r", reranker=Watched(asked))], metrics=["nDGC@10"])
    assert asked == []


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: System(" "), "blank name"),
        (lambda: System("a", mode="bm25"), "mode='bm25'"),  # type: ignore[arg-type]
        (lambda: System("a", candidates=0), "candidates=0"),
        (lambda: System("a", mode="dense", fusion=ReciprocalRank()), "nothing to fuse"),
        (lambda: System("a", fusion="rrf"), "fusion='rrf'"),  # type: ignore[arg-type]
        (lambda: System("a", reranker="tiny"), "reranker='tiny'"),  # type: ignore[arg-type]
    ],
)
def test_a_system_that_cannot_be(make: Any, part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        make()


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ([], "no system"),
        (["rrf", "rrf"], "two systems are named 'rrf'"),
        (["bm25"], "no system 'bm25'; known are dense, sparse, rrf, weighted, dbsf"),
        (["rrf+"], r"no system 'rrf\+'"),
        (["rrf+rerank+late"], "no system"),
        ([""], "no system ''"),
        (["rerank"], "needs a reranker"),
        (["dense+rerank"], "needs a reranker"),
    ],
)
def test_names_that_stand_for_no_system(encoder: BgeM3Encoder, names: list[str], part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        named_systems(names, encoder=encoder)


def test_no_queries_or_systems(small_index: HybridIndex, small_set: EvaluationSet) -> None:
    with pytest.raises(InvalidInputError, match="no queries"):
        run_systems(small_index, {}, [System("rrf")])
    with pytest.raises(InvalidInputError, match="no system"):
        run_systems(small_index, QUERIES, [])
    found = evaluate(small_index, small_set, [System("rrf")])
    with pytest.raises(InvalidInputError, match="no system 'dense' here; there are rrf"):
        found.system("dense")
    with pytest.raises(InvalidInputError, match="metric 'R@7' was not computed"):
        found.compare("rrf", "rrf", "R@7")
