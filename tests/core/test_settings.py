"""Settings: the file they come from, and what a search takes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_core import (
    BgeM3Encoder,
    Budget,
    DistributionBased,
    HybridIndex,
    InvalidInputError,
    ReciprocalRank,
    StorageError,
    WeightedSum,
)
from hybrid_core.fusion import Fusion, RankedLists
from hybrid_core.settings import Settings, fusion_dict, read_fusion
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.types import FloatArray, Hit, Scored

FULL = Settings(
    k=3,
    candidates=20,
    fusion=WeightedSum.from_alpha(0.7),
    rerank=True,
    budget=Budget(milliseconds=40, min_candidates=2, max_candidates=20),
    min_score=0.125,
    note="tuned on 问题",
)
TEXTS = {
    "queue": "A worker pulls the oldest task from the queue.",
    "stop": "A worker that receives SIGTERM finishes its task before it stops, however long the task may take.",
    "cron": "A scheduled task runs every night.",
    "cache": "The cache drops the entry that was not read for the longest time.",
}
QUESTION = "worker task"


class ByLength:
    """A reranker whose score is a hundredth of the text's length."""

    name = "by length"

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        return np.array([min(1.0, len(text) / 100) for text in texts], dtype=np.float32)


class Backwards:
    """A fusion that none of ours is: ids in descending order."""

    def __call__(self, lists: RankedLists) -> list[Scored]:
        ids = {item.id for ranked in lists.values() for item in ranked}
        return [Scored(id_, 1.0) for id_ in sorted(ids, reverse=True)]


def opened(encoder: BgeM3Encoder, settings: Any = None, **parts: Any) -> HybridIndex:
    index = HybridIndex.open(None, encoder=encoder, settings=settings, **parts)
    index.add(list(TEXTS.values()), ids=list(TEXTS))
    return index


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        FULL,
        Settings(rerank=False),
        Settings(k=0, min_score=0.0),
        Settings(fusion=ReciprocalRank(k=10, weights={"dense": 2.0, "sparse": 1})),
        Settings(fusion=DistributionBased({"sparse": 0.5})),
        Settings(fusion=WeightedSum()),
    ],
)
def test_a_file_gives_back_what_was_written(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    settings.to_json(path)
    assert Settings.from_json(path) == Settings.from_json(str(path)) == settings
    assert Settings.from_dict(settings.as_dict()) == settings


def test_the_file_names_the_fusion_and_its_parameters_and_leaves_out_what_is_not_set(tmp_path: Path) -> None:
    Settings(candidates=20, fusion=WeightedSum.from_alpha(0.5)).to_json(tmp_path / "settings.json")
    assert json.loads((tmp_path / "settings.json").read_text(encoding="utf-8")) == {
        "candidates": 20,
        "fusion": {"name": "WeightedSum", "dense": 0.5, "sparse": 0.5, "normalization": "minmax"},
    }


def test_integers_of_numpy_are_written_as_integers(tmp_path: Path) -> None:
    Settings(k=np.int64(3)).to_json(tmp_path / "settings.json")  # type: ignore[arg-type]
    assert Settings.from_json(tmp_path / "settings.json") == Settings(k=3)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[3]", r"settings is \[3\]; an object with some of k, candidates, fusion"),
        ('{"top_n": 3}', "settings has 'top_n'=3; known are k, candidates, fusion, rerank, budget, min_score, note"),
        ('{"k": 3, "k": 5}', "'k' is given twice"),
        ('{"k": 2.5}', "k=2.5 must be an integer"),
        ('{"k": true}', "k=True must be an integer"),
        ('{"candidates": -1}', "candidates=-1 must be an integer >= 0"),
        ('{"rerank": 1}', "rerank=1 must be True, False or None"),
        ('{"min_score": 1.5}', "min_score=1.5 must be a number from 0 to 1"),
        ('{"min_score": NaN}', "NaN is no JSON number"),
        ('{"note": 5}', r"note is 5 \(int\)"),
        ('{"note": "\\ud800"}', "note has a lone surrogate"),
        ('{"budget": 100}', "budget is 100; an object with some of milliseconds, min_candidates, max_candidates"),
        ('{"budget": {"ms": 100}}', "budget has 'ms'=100"),
        ('{"budget": {"milliseconds": 0}}', "milliseconds=0 must be a number > 0"),
        ('{"budget": {"milliseconds": 5, "max_candidates": 1}}', "max_candidates=1 is below min_candidates=3"),
        ('{"fusion": "rrf"}', "fusion='rrf' needs a name, one of ReciprocalRank, WeightedSum, DistributionBased"),
        ('{"fusion": {"name": ["rrf"]}}', "needs a name"),
        ('{"fusion": {"name": "rrf"}}', "fusion={'name': 'rrf'} needs a name"),
        ('{"fusion": {"name": "ReciprocalRank", "alpha": 1}}', "fusion has 'alpha'=1; known are name, k, weights"),
        ('{"fusion": {"name": "ReciprocalRank", "k": "60"}}', "k='60' of fusion ReciprocalRank must be a number"),
        ('{"fusion": {"name": "ReciprocalRank", "k": 0}}', "fusion ReciprocalRank: k=0 must be a finite number > 0"),
        ('{"fusion": {"name": "ReciprocalRank", "weights": [1, 2]}}', r"weights of fusion is \[1, 2\]"),
        ('{"fusion": {"name": "ReciprocalRank", "weights": {"dens": 1}}}', "weights of fusion has 'dens'=1"),
        ('{"fusion": {"name": "DistributionBased", "weights": {"dense": null}}}', "dense=None of fusion"),
        ('{"fusion": {"name": "WeightedSum", "dense": false}}', "dense=False of fusion WeightedSum must be a number"),
        ('{"fusion": {"name": "WeightedSum", "dense": 1e400}}', "fusion WeightedSum: weight of 'dense' is inf"),
        ('{"fusion": {"name": "WeightedSum", "dense": 1' + 400 * "0" + "}}", "of fusion WeightedSum must be a number"),
        ('{"fusion": {"name": "WeightedSum", "dense": 0, "sparse": 0}}', "all weights are 0"),
        ('{"fusion": {"name": "WeightedSum", "normalization": {}}}', "normalization={} must be 'none' or 'minmax'"),
    ],
)
def test_an_error_names_the_file_and_the_entry_at_fault(text: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=part) as raised:
        Settings.from_json(path)
    assert str(raised.value).startswith(str(path))


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"missing.json cannot be read: .* bge-hybrid tune --out"):
        Settings.from_json(tmp_path / "missing.json")
    (tmp_path / "latin.json").write_bytes('{"note": "für"}'.encode("latin-1"))
    with pytest.raises(InvalidInputError, match=r"latin.json is not UTF-8"):
        Settings.from_json(tmp_path / "latin.json")
    with pytest.raises(StorageError, match="cannot be written"):
        FULL.to_json(tmp_path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf{"k": 3}')
    assert Settings.from_json(tmp_path / "bom.json") == Settings(k=3)


@pytest.mark.parametrize("fusion", [Backwards(), WeightedSum.from_alpha, ReciprocalRank(weights={"late": 1.0})])
def test_a_fusion_that_cannot_be_read_back_is_not_written(fusion: Any, tmp_path: Path) -> None:
    settings = Settings(fusion=fusion)  # for this process it is good enough
    with pytest.raises(InvalidInputError):
        settings.to_json(tmp_path / "settings.json")
    assert not (tmp_path / "settings.json").exists()


@pytest.mark.parametrize("fusion", [ReciprocalRank(k=7), WeightedSum(0.2, 0.8), DistributionBased({"dense": 2})])
def test_a_fusion_has_a_plain_form(fusion: Fusion) -> None:
    assert read_fusion(json.loads(json.dumps(fusion_dict(fusion)))) == fusion


def test_a_search_takes_the_settings_of_the_index(encoder: BgeM3Encoder, tmp_path: Path) -> None:
    Settings(k=2, fusion=WeightedSum.from_alpha(0.0)).to_json(tmp_path / "settings.json")
    tuned, plain = opened(encoder, tmp_path / "settings.json"), opened(encoder)
    assert tuned.settings == Settings(k=2, fusion=WeightedSum.from_alpha(0.0))
    assert tuned.fusion == WeightedSum.from_alpha(0.0)
    expected = plain.search(QUESTION, k=2, fusion=WeightedSum.from_alpha(0.0))
    assert tuned.search(QUESTION) == expected
    assert ids(tuned.explain(QUESTION)) == ids(expected)
    encoding = encoder.encode_queries([QUESTION])
    assert ids(tuned.search_vectors(encoding.dense[0], encoding.sparse_row(0))) == ids(expected)


def test_without_settings_the_defaults_are_those_of_the_documentation(encoder: BgeM3Encoder) -> None:
    index = opened(encoder)
    index.add([f"Task {i} of a worker." for i in range(60)])
    assert index.settings == Settings()
    assert index.fusion == ReciprocalRank(k=60)
    assert index.search(QUESTION) == index.search(QUESTION, 5, 50, rerank=True, fusion=ReciprocalRank(k=60))
    deepest = max(stage.rank for hit in index.search(QUESTION, 50) for stage in hit.stages.values())
    assert len(index.search(QUESTION, 50)) == 50
    assert deepest == 50


def test_what_a_call_says_wins_over_the_settings(encoder: BgeM3Encoder) -> None:
    settings = Settings(k=1, candidates=2, fusion=WeightedSum.from_alpha(0.0))
    tuned, plain = opened(encoder, settings), opened(encoder)
    assert len(tuned.search(QUESTION)) == 1
    assert tuned.search(QUESTION, k=0) == []
    given: dict[str, Any] = {"k": 3, "candidates": 4, "fusion": ReciprocalRank(k=1)}
    assert tuned.search(QUESTION, **given) == plain.search(QUESTION, **given)
    own = opened(encoder, settings, fusion=ReciprocalRank(k=5))  # the argument of open wins likewise
    assert own.fusion == ReciprocalRank(k=5)
    assert own.search(QUESTION) == plain.search(QUESTION, k=1, candidates=2, fusion=ReciprocalRank(k=5))


def test_candidates_below_k_are_as_many_as_k(encoder: BgeM3Encoder) -> None:
    assert len(opened(encoder, Settings(candidates=1)).search(QUESTION, k=3)) == 3


def test_rerank_budget_and_min_score_of_the_settings_are_for_the_reranker(encoder: BgeM3Encoder) -> None:
    plain = opened(encoder, reranker=ByLength())
    settings = Settings(min_score=0.4, budget=Budget(milliseconds=60_000, max_candidates=3, min_candidates=3))
    tuned = opened(encoder, settings, reranker=ByLength())
    expected = plain.search(QUESTION, min_score=settings.min_score, budget=settings.budget)
    assert ids(tuned.search(QUESTION)) == ids(expected)
    assert 0 < len(expected) < len(plain.search(QUESTION))
    assert len(tuned.search(QUESTION, min_score=0.99)) < len(expected)  # the call's own
    # a search that does not rerank has no use for them, and says so only of what it was given itself
    assert tuned.search(QUESTION, rerank=False) == plain.search(QUESTION, rerank=False)
    with pytest.raises(InvalidInputError, match="for a reranker, and this search has none"):
        tuned.search(QUESTION, rerank=False, min_score=0.4)


def test_settings_can_leave_the_reranker_out_and_a_call_can_bring_it_back(encoder: BgeM3Encoder) -> None:
    tuned = opened(encoder, Settings(rerank=False), reranker=ByLength())
    assert all("reranked" not in hit.stages for hit in tuned.search(QUESTION))
    assert all("reranked" in hit.stages for hit in tuned.search(QUESTION, rerank=True))


@pytest.mark.parametrize("settings", [Settings(min_score=0.5), Settings(budget=Budget())])
def test_settings_for_a_reranker_need_one(settings: Settings, encoder: BgeM3Encoder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="for a reranker, and there is none"):
        HybridIndex.open(tmp_path / "index", encoder=encoder, settings=settings)
    assert not (tmp_path / "index").exists()
    with pytest.raises(InvalidInputError, match="for a reranker, and there is none"):
        HybridIndex(MemoryStore(encoder.fingerprint), encoder=encoder, settings=settings)


def test_what_are_no_settings_is_refused_before_anything_is_written(encoder: BgeM3Encoder, tmp_path: Path) -> None:
    for given, part in [({"k": 3}, "settings={'k': 3} are none"), (tmp_path / "no.json", "cannot be read")]:
        with pytest.raises(InvalidInputError, match=part):
            HybridIndex.open(tmp_path / "index", encoder=encoder, settings=given)  # type: ignore[arg-type]
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"fusion": "rrf"}, "fusion='rrf' is no fusion"),
        ({"budget": 100}, "budget=100 is no Budget"),
        ({"min_score": "high"}, "min_score='high' must be a number"),
        ({"rerank": "no"}, "rerank='no' must be True, False or None"),
        ({"k": "3"}, "k='3' must be an integer"),
    ],
)
def test_settings_are_checked_when_they_are_made(values: dict[str, Any], part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        Settings(**values)
