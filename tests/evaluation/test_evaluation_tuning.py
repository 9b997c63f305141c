"""Tuning an index: what it finds where the answer is known, that it does not fool itself, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuning_set import NumberEncoder, NumberReranker, number_index, number_set

from hybrid_core import (
    BgeM3Encoder,
    Cascade,
    CrossEncoderReranker,
    HybridIndex,
    InvalidInputError,
    Passage,
    ReciprocalRank,
    StorageError,
    WeightedSum,
)
from hybrid_core.evaluation import EvaluationSet, measure, randomisation_test, synthetic_set, tune
from hybrid_core.evaluation.tuning import Grid
from hybrid_core.evaluation.tuning.grid import Variant
from hybrid_core.evaluation.tuning.ranking import values
from hybrid_core.evaluation.tuning.recall import Recalled, recall
from hybrid_core.evaluation.tuning.result import Tuning
from hybrid_core.settings import Settings
from hybrid_core.types import Scored

ONE_SIDED = {"dense_noise": 0.6, "sparse_noise": 0.9}  # the sparse side finds little: fusion by rank does harm
EVEN = {"dense_noise": 1.4, "sparse_noise": 0.55}  # both sides find about as much: fusion by rank is hard to beat
SMALL = Grid(fusions=(ReciprocalRank(), WeightedSum.from_alpha(0.5)), candidates=(10, 20), reranked=(10,))


def tuned(encoder: NumberEncoder, reranker: NumberReranker | None = None, **arguments: Any) -> Tuning:
    return tune(number_index(encoder, reranker), number_set(100), clock=encoder.clock, **arguments)


def searched(index: HybridIndex, dataset: EvaluationSet, metric: str = "nDCG@10") -> np.ndarray:
    """The figure of each question when the index is searched, by its own settings."""
    run = {
        query: [Scored(hit.passage.id, hit.score) for hit in index.search(text, k=index.settings.k or 10)]
        for query, text in dataset.queries.items()
    }
    return np.array([*measure(run, dataset.qrels, [metric])[metric].values()])


def every_figure(index: HybridIndex, dataset: EvaluationSet, trials: Sequence[Variant]) -> np.ndarray:
    """(settings, questions) nDCG@10 of settings without a reranker."""
    found = recall(index, list(dataset.queries.values()), 100)
    return values(Recalled.of(found.lists, dataset.qrels), trials, 10)


def test_a_setting_that_is_better_is_taken_and_keeps_its_word_on_other_questions() -> None:
    encoder = NumberEncoder(**ONE_SIDED)
    found = tuned(encoder)
    assert found.changed
    assert "which is real, not noise." in found.reason
    assert isinstance(found.settings.fusion, WeightedSum)
    assert found.settings.fusion.dense > found.settings.fusion.sparse
    others = number_set(100, start=100)
    index = number_index(encoder)
    gain = searched(HybridIndex(index.store, encoder=encoder, settings=found.settings), others) - searched(
        index, others
    )
    assert gain.mean() > 0.05
    assert found.comparison.difference == pytest.approx(gain.mean(), abs=0.06)
    assert found.interval.low < found.held_out < found.interval.high


def test_a_difference_that_is_noise_is_called_so() -> None:
    found = tune(number_index(NumberEncoder(**EVEN)), number_set(20))
    assert found.noise
    assert "is noise: 20 questions do not tell it from none" in found.reason
    assert found.changed == (found.choice is not found.default and found.comparison.difference > 0)
    assert found.taken is (found.choice if found.changed else found.default)


def test_where_cross_validation_does_not_bear_a_choice_out_the_default_is_kept() -> None:
    """Both sides know nothing but chance: what looks better in sample is not so on other questions."""
    encoder = NumberEncoder(dense_noise=50.0, sparse_noise=0.97)
    kept = [tune(number_index(encoder), number_set(30, start), clock=encoder.clock) for start in range(0, 180, 30)]
    refused = [found for found in kept if not found.changed and found.choice is not found.default]
    assert refused
    for found in refused:
        assert found.choice.mean > found.default.mean
        assert found.reason.startswith("The default is kept: ")
        assert (found.settings.fusion, found.settings.candidates, found.settings.k) == (ReciprocalRank(), 50, 10)
        assert found.held_out == pytest.approx(found.default.mean)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [ONE_SIDED, EVEN], ids=["one-sided", "even"])
def test_tuned_on_half_the_questions_it_is_within_a_hundredth_of_the_best_fixed_setting_on_the_others_or_noise_away(
    noise: dict[str, float], seed: int
) -> None:
    """The best fixed setting is the one that hindsight finds on the other half; of 100 questions noise is .02."""
    encoder = NumberEncoder(**noise)
    index, order = number_index(encoder), np.random.default_rng(seed).permutation(200).tolist()
    dataset = number_set(200)
    half, other = (part_of(dataset, [f"q{i}" for i in some]) for some in (order[:100], order[100:]))
    found = tune(index, half, seed=seed)
    lead, p_value = lead_of_the_best(index, found, other)
    assert lead <= 0.01 or p_value >= 0.05


def test_so_it_is_with_the_small_model_on_questions_made_from_the_packaged_corpus(encoder: BgeM3Encoder) -> None:
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    whole = synthetic_set([Passage(**json.loads(line)) for line in lines], count=60)
    queries = list(whole.queries)
    with HybridIndex.open(None, encoder=encoder) as index:
        index.upsert(whole.corpus)
        found = tune(index, part_of(whole, queries[::2]))
        lead, p_value = lead_of_the_best(index, found, part_of(whole, queries[1::2]))
        assert lead <= 0.01 or p_value >= 0.05


def part_of(dataset: EvaluationSet, queries: Sequence[str]) -> EvaluationSet:
    chosen = {query: dataset.queries[query] for query in queries}
    return EvaluationSet(dataset.name, dataset.corpus, chosen, {query: dataset.qrels[query] for query in queries})


def lead_of_the_best(index: HybridIndex, found: Tuning, other: EvaluationSet) -> tuple[float, float]:
    """How far the best setting of the grid is ahead of a search with the settings found, and the p-value of that."""
    figures = every_figure(index, other, [trial.variant for trial in found.trials])
    best = figures[figures.mean(axis=1).argmax()]
    own = searched(HybridIndex(index.store, encoder=index.encoder, settings=found.settings), other)
    return float(best.mean() - own.mean()), randomisation_test(own.tolist(), best.tolist())


def test_the_reranker_is_weighed_too_and_the_threshold_leaves_out_what_is_not_relevant() -> None:
    encoder = NumberEncoder(**EVEN)
    reranker = NumberReranker(noise=0.06, clock=encoder.clock)
    found = tuned(encoder, reranker, grid=SMALL)
    assert found.default.variant.reranked == 50
    assert found.settings.rerank is True
    assert found.settings.min_score is not None
    assert 0.4 < found.settings.min_score < 0.75  # answers lie around .75, the rest around .25
    assert found.hits < 2  # of ten
    assert found.held_out > 0.95 * found.taken.mean
    index = number_index(encoder, reranker)
    opened = HybridIndex(index.store, encoder=encoder, reranker=reranker, settings=found.settings)
    hits = opened.search("question 5")
    assert [hit.passage.text for hit in hits] == ["passage 5"]
    others = number_set(50, start=100)
    assert searched(opened, others).mean() == pytest.approx(found.held_out, abs=0.05)


def test_a_reranker_that_does_harm_is_left_out() -> None:
    encoder = NumberEncoder(**ONE_SIDED)
    found = tuned(encoder, NumberReranker(noise=3.0, clock=encoder.clock), grid=Grid())
    assert found.changed
    assert found.settings.rerank is False
    assert found.settings.min_score is None
    index = number_index(encoder, NumberReranker(noise=3.0))
    opened = HybridIndex(index.store, encoder=encoder, reranker=index.reranker, settings=found.settings)
    assert "reranked" not in opened.search("question 5")[0].stages


def test_work_is_done_once_for_all_settings() -> None:
    encoder = NumberEncoder(**EVEN)
    reranker = NumberReranker(clock=encoder.clock)
    tune(number_index(encoder, reranker), number_set(40), clock=encoder.clock)
    searches = 2 * 32  # with the default and what was taken, to measure them as a caller would
    assert encoder.calls == [1] * 13 + [40] + [1] * searches  # a few alone, for the clock
    queries = [query for query, _ in reranker.asked]
    assert queries[24:64] == [f"question {i}" for i in range(40)]
    assert 24 + 40 <= len(queries) <= 24 + 40 + searches
    assert max(count for _, count in reranker.asked) <= 100


def test_what_is_timed_is_never_a_query_that_an_encoder_remembers() -> None:
    encoder = NumberEncoder(**EVEN)
    index = number_index(encoder)
    for _ in range(2):
        tune(index, number_set(20), clock=encoder.clock)
    assert len(set(encoder.alone)) == len(encoder.alone) == 2 * (13 + 2 * 22)


def test_real_searches_are_timed_by_the_default_and_by_what_was_taken() -> None:
    encoder = NumberEncoder(**EVEN)
    found = tuned(encoder, NumberReranker(noise=0.06, clock=encoder.clock), grid=SMALL)
    assert found.latency["default"].p50 == found.latency["default"].p95 == pytest.approx(2 + 5 + 50)
    assert found.latency["tuned"].p50 == pytest.approx(2 + 5 + found.taken.variant.reranked)


def test_latencies_are_measured_by_stage() -> None:
    encoder = NumberEncoder(**EVEN)
    found = tuned(encoder, NumberReranker(clock=encoder.clock))
    assert found.costs.encode == pytest.approx(2)  # a question alone
    assert found.costs.dense == found.costs.sparse == found.costs.join == 0
    assert found.costs.rerank == pytest.approx(5, rel=0.1)
    assert found.costs.rerank_each == pytest.approx(1, rel=0.05)
    assert found.default.variant.milliseconds == pytest.approx(2 + 5 + 50, rel=0.05)


def test_a_bound_on_latency_becomes_a_budget() -> None:
    encoder = NumberEncoder(**EVEN)
    found = tuned(encoder, NumberReranker(noise=0.06, clock=encoder.clock), grid=SMALL, max_ms=30)
    assert all(trial.variant.milliseconds <= 30 for trial in found.trials)
    budget = found.settings.budget
    assert budget is not None
    assert budget.milliseconds == pytest.approx(28, abs=0.01)
    assert 10 < found.default.variant.reranked < 25  # (28 / margin - 5) / 1
    tight = tuned(encoder, NumberReranker(clock=encoder.clock), grid=SMALL, max_ms=7)
    assert {trial.variant.reranked for trial in tight.trials} == {0}
    with pytest.raises(InvalidInputError, match=r"max_ms=1.5 cannot be kept: encoding a query takes 2.0 ms"):
        tuned(encoder, max_ms=1.5)


def test_the_cheapest_gives_up_a_hundredth_for_time() -> None:
    encoder = NumberEncoder(dense_noise=0.5, sparse_noise=0.3)
    best, cheapest = (
        tuned(encoder, NumberReranker(noise=0.02, clock=encoder.clock), target=target)
        for target in ("best", "cheapest")
    )
    assert cheapest.changed
    assert cheapest.taken.variant.milliseconds < 0.5 * best.taken.variant.milliseconds
    assert f"{cheapest.taken.variant.milliseconds:.1f} ms a question rather than" in cheapest.reason
    assert cheapest.latency["tuned"].p50 < 0.5 * cheapest.latency["default"].p50
    assert cheapest.held_out >= 0.99 * best.held_out


def test_the_same_seed_gives_the_same() -> None:
    first, again, other = (tuned(NumberEncoder(**ONE_SIDED), grid=SMALL, seed=seed).as_dict() for seed in (3, 3, 4))
    assert first == again
    assert first["held_out"] != other["held_out"]


def test_questions_in_another_order_than_their_judgements() -> None:
    encoder, dataset = NumberEncoder(**ONE_SIDED), number_set(40)
    turned = EvaluationSet("turned", dataset.corpus, dataset.queries, dict(reversed(dataset.qrels.items())))
    index = number_index(encoder)
    straight, found = (tune(index, some, grid=SMALL, clock=encoder.clock) for some in (dataset, turned))
    assert [trial.mean for trial in found.trials] == [trial.mean for trial in straight.trials]


def test_everything_is_there_as_json(tmp_path: Path) -> None:
    found = tuned(NumberEncoder(**ONE_SIDED), grid=SMALL)
    found.write(tmp_path / "tuning.json")
    data = json.loads((tmp_path / "tuning.json").read_text(encoding="utf-8"))
    assert data == json.loads(json.dumps(found.as_dict()))
    assert Settings.from_dict(data["settings"]) == found.settings
    assert len(data["trials"]) == len(found.trials) == 2 * 3
    assert len(data["comparison"]["queries"]) == 100
    assert "queries" not in found.as_dict(queries=False)["comparison"]
    assert found.settings.note.startswith("bge-hybrid tune: numbers, 100 questions, target best, nDCG@10 ")
    with pytest.raises(StorageError, match="cannot be written"):
        found.write(tmp_path)


def test_the_index_keeps_its_own_settings_and_passages() -> None:
    encoder = NumberEncoder(**ONE_SIDED)
    store = number_index(encoder).store
    index = HybridIndex(store, encoder=encoder, settings=Settings(k=1, candidates=1, fusion=WeightedSum(1.0, 0.0)))
    found = tune(index, number_set(40), grid=SMALL, clock=encoder.clock)
    assert (index.settings.k, len(index)) == (1, 200)
    assert found.default.mean == tune(number_index(encoder), number_set(40), grid=SMALL).default.mean


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"target": "fastest"}, "target='fastest' must be one of"),
        ({"k": 0}, "k=0 must be an integer >= 1"),
        ({"folds": 1}, "folds=1 must be an integer >= 2"),
        ({"folds": 11}, "numbers has 20 questions with judgements; 11 folds need at least 22"),
        ({"max_ms": 0}, "max_ms=0 must be a number of milliseconds > 0"),
        ({"max_ms": float("nan")}, "max_ms=nan must be"),
        ({"max_ms": "100"}, "max_ms='100' must be"),
    ],
)
def test_what_cannot_be_tuned(arguments: dict[str, Any], part: str) -> None:
    encoder = NumberEncoder()
    with pytest.raises(InvalidInputError, match=part):
        tune(number_index(encoder), number_set(20), **arguments)
    assert encoder.calls == []


def test_a_cascade_is_refused(reranker: CrossEncoderReranker) -> None:
    encoder = NumberEncoder()
    index = number_index(encoder)
    index.reranker = Cascade([(reranker, 5)])
    with pytest.raises(InvalidInputError, match="'tiny' is a cascade, whose scores depend on how many"):
        tune(index, number_set(20))


def test_an_index_without_the_judged_passages_is_refused() -> None:
    encoder = NumberEncoder()
    index = number_index(encoder)
    index.delete(["d003"])
    with pytest.raises(InvalidInputError, match="lacks 1 of 20 judged passages of numbers"):
        tune(index, number_set(20))
