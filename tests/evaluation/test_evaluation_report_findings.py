"""What a report says in words: which stage adds what, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from hybrid_core.evaluation import Evaluation, SystemResult
from hybrid_core.evaluation.comparison import Comparison
from hybrid_core.evaluation.report.findings import finding, p_value, signed, told_apart
from hybrid_core.evaluation.report.numbers import stage_of, stage_steps
from hybrid_core.evaluation.significance import Interval

QUESTIONS = [f"q{i}" for i in range(40)]
NOISE = 0.1 * np.tile([-1.0, 1.0], 20)  # its mean is 0
MODES = {
    "dense": ("dense", None),
    "sparse": ("sparse", None),
    "rrf": ("hybrid", None),
    "weighted": ("hybrid", None),
    "rerank": ("hybrid", "CrossEncoderReranker('tiny')"),
}


def system(name: str, mean: float) -> SystemResult:
    """A system whose values are that mean for every question."""
    mode, reranker = MODES[name]
    return SystemResult(
        name=name,
        settings={"mode": mode, "fusion": None, "reranker": reranker, "candidates": 10},
        means={"nDCG@10": mean},
        intervals={"nDCG@10": Interval(mean - 0.0125, mean + 0.0125)},
        values={"nDCG@10": dict.fromkeys(QUESTIONS, mean)},
        pairwise_accuracy=None,
        latency={},
        rankings={},
    )


def evaluated(means: Mapping[str, float]) -> Evaluation:
    """An evaluation of systems with these means, the first the baseline."""
    return Evaluation(
        dataset="made",
        documents=1,
        queries={query: query for query in QUESTIONS},
        qrels={query: {"d": 1} for query in QUESTIONS},
        unjudged=0,
        kinds={},
        encoder="none",
        metrics=("nDCG@10",),
        k=10,
        systems=tuple(system(name, mean) for name, mean in means.items()),
        recalled={},
        seed=0,
    )


def said(means: Mapping[str, float]) -> str:
    found = evaluated(means)
    return finding(found, stage_steps(found))


@pytest.mark.parametrize(
    ("means", "pairs"),
    [
        ({"dense": 0.5}, []),
        ({"dense": 0.5, "sparse": 0.6}, [("dense", "sparse")]),
        ({"dense": 0.5, "sparse": 0.4}, [("dense", "sparse")]),
        ({"rrf": 0.5, "weighted": 0.4}, [("rrf", "weighted")]),
        ({"dense": 0.5, "sparse": 0.4, "rrf": 0.6, "weighted": 0.7}, [("dense", "weighted")]),
        ({"dense": 0.4, "sparse": 0.5, "rrf": 0.6}, [("dense", "sparse"), ("sparse", "rrf")]),
        ({"rrf": 0.6, "dense": 0.4, "sparse": 0.5}, [("sparse", "rrf")]),
        ({"dense": 0.5, "rrf": 0.6, "rerank": 0.3}, [("dense", "rrf"), ("rrf", "rerank")]),
        ({"dense": 0.5, "rerank": 0.6}, [("dense", "rerank")]),
    ],
)
def test_each_stage_is_compared_with_the_best_of_the_one_before(
    means: dict[str, float], pairs: list[tuple[str, str]]
) -> None:
    steps = stage_steps(evaluated(means))
    assert [(step.baseline, step.system) for step in steps] == pairs
    for step in steps:
        assert step.difference == pytest.approx(means[step.system] - means[step.baseline])


def test_a_stage_is_the_last_that_a_system_goes_through() -> None:
    stages = [stage_of(result) for result in evaluated(dict.fromkeys(MODES, 0.5)).systems]
    assert stages == ["one side", "one side", "fused", "fused", "reranked"]


@pytest.mark.parametrize(
    ("means", "sentence"),
    [
        ({"dense": 0.5}, "dense reaches 0.500 nDCG@10 [0.487, 0.512]."),
        ({"dense": 0.5, "rrf": 0.53125}, "rrf beats dense by 0.031 nDCG@10 [0.031, 0.031]."),
        ({"dense": 0.5, "sparse": 0.25}, "sparse falls behind dense by 0.250 nDCG@10 [0.250, 0.250]."),
        (
            {"dense": 0.5, "rrf": 0.75, "rerank": 0.875},
            "rrf beats dense by 0.250 nDCG@10 [0.250, 0.250]; rerank adds 0.125 [0.125, 0.125].",
        ),
        (
            {"dense": 0.5, "sparse": 0.75, "rrf": 0.5},
            "sparse beats dense by 0.250 nDCG@10 [0.250, 0.250]; rrf loses 0.250 [0.250, 0.250].",
        ),
        (
            {"dense": 0.5, "rrf": 0.75, "rerank": 0.75},
            "rrf beats dense by 0.250 nDCG@10 [0.250, 0.250]; rerank adds nothing that shows: 0.000 [0.000, 0.000].",
        ),
        (
            {"dense": 0.5, "rrf": 0.5},
            "rrf and dense cannot be told apart: 0.000 nDCG@10 [0.000, 0.000].",
        ),
    ],
)
def test_the_finding_in_words(means: dict[str, float], sentence: str) -> None:
    assert said(means) == sentence


def test_a_difference_within_the_noise_is_said_with_signs() -> None:
    found = evaluated({"dense": 0.5, "rrf": 0.5})
    dense, rrf = found.systems
    values = dict(zip(QUESTIONS, 0.5 + NOISE - 0.001, strict=True))
    made = replace(found, systems=(dense, replace(rrf, means={"nDCG@10": 0.499}, values={"nDCG@10": values})))
    [step] = stage_steps(made)
    assert not told_apart(step)
    low, high = step.interval
    assert low < 0 < high
    assert finding(made, [step]) == (
        f"rrf and dense cannot be told apart: −0.001 nDCG@10 [{signed(low)}, {signed(high)}]."
    )


@pytest.mark.parametrize(
    ("interval", "p", "told"),
    [((0.01, 0.03), 0.01, True), ((-0.03, -0.01), 0.01, True), ((0.01, 0.03), 0.05, False), ((0.0, 0.03), 0.01, False)],
)
def test_two_systems_are_told_apart_when_test_and_interval_agree(
    interval: tuple[float, float], p: float, told: bool
) -> None:
    assert told_apart(Comparison("nDCG@10", "a", "b", (), 0.02, Interval(*interval), p)) is told


@pytest.mark.parametrize(
    ("value", "text"), [(0.03149, "+0.031"), (-0.5, "−0.500"), (0.0, "0.000"), (-0.0004, "0.000"), (0.0004, "0.000")]
)
def test_a_difference_carries_its_sign_unless_it_rounds_to_nothing(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "= 1.000"), (0.0321, "= 0.032"), (0.001, "= 0.001"), (0.0002, "< 0.001")]
)
def test_a_p_value_that_is_tiny_is_not_spelt_out(value: float, text: str) -> None:
    assert p_value(value) == text
