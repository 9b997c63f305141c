"""TREC run files: what other tools read from them is what was measured here."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import pytrec_eval

from hybrid_core import DuplicateIdError, InvalidInputError, Scored, StorageError
from hybrid_core.evaluation import measure, read_run, write_run


def test_a_run_comes_back_in_its_order(tmp_path: Path) -> None:
    run = {
        "q 1": (Scored("docs/a file.md#1", 0.75), Scored("50%", 0.25), Scored("全角　空格", -1.5)),
        "q2": (Scored("line\nbreak", 3.0), Scored("plain", 1e-9)),
    }
    write_run(tmp_path / "a.run", run, "my system")
    assert read_run(tmp_path / "a.run") == run
    first = (tmp_path / "a.run").read_text(encoding="utf-8").splitlines()[0]
    assert first == "q%201 Q0 docs/a%20file.md#1 1 0.75 my%20system"


def test_trec_eval_measures_the_file_as_we_measure_the_lists(tmp_path: Path) -> None:
    """Ties, scores that only float64 tells apart, and documents that occur twice, in an order that is no tool's own."""
    rng = random.Random(3)  # noqa: S311 - a draw that can be repeated
    documents = [f"d{i}" for i in range(30)]
    qrels = {f"q{i}": {id_: rng.randint(0, 2) for id_ in rng.sample(documents, 8)} for i in range(40)}
    run = {}
    for query in qrels:
        scores = sorted((rng.choice([0.5, 0.5 + 1e-12, 0.25, 1e9, 1e9 + 1, 0.0]) for _ in documents), reverse=True)
        found = rng.sample(documents, len(documents))
        run[query] = [Scored(id_, score) for id_, score in zip(found, scores, strict=True)]
        run[query].append(run[query][0])
    write_run(tmp_path / "a.run", run, "a")
    with (tmp_path / "a.run").open() as file:
        theirs = pytrec_eval.RelevanceEvaluator(qrels, {"map", "ndcg_cut_10"}).evaluate(pytrec_eval.parse_run(file))
    ours = measure(run, qrels, ["AP", "nDCG@10"])
    assert {query: values["map"] for query, values in theirs.items()} == ours["AP"]
    assert {query: values["ndcg_cut_10"] for query, values in theirs.items()} == ours["nDCG@10"]
    assert measure(read_run(tmp_path / "a.run"), qrels, ["AP"])["AP"] == ours["AP"]


def test_a_run_of_another_tool_is_sorted_by_score_ties_by_id(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("1\tQ0\tb\t1\t2.5\tx\n1 Q0 z 2 7 x\n1 Q0 a 3 2.5 x\n")
    assert read_run(tmp_path / "a.run") == {"1": (Scored("z", 7.0), Scored("a", 2.5), Scored("b", 2.5))}


@pytest.mark.parametrize(
    ("text", "kind", "part"),
    [
        ("1 Q0 a 1 2.5\n", InvalidInputError, ":1 has 5 columns; 6 are needed"),
        ("1 Q0 a 1 x y\n", InvalidInputError, ":1: score 'x' is no finite number"),
        ("1 Q0 a 1 nan y\n", InvalidInputError, ":1: score 'nan'"),
        ("1 Q0 a 1 2 y\n1 Q0 a 2 1 y\n", DuplicateIdError, ":2: document 'a'"),
        ("", InvalidInputError, "holds no run"),
    ],
)
def test_a_run_that_cannot_be_read(tmp_path: Path, text: str, kind: type[Exception], part: str) -> None:
    (tmp_path / "a.run").write_text(text)
    with pytest.raises(kind) as error:
        read_run(tmp_path / "a.run")
    assert part in str(error.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.run cannot be written"):
        write_run(tmp_path / "missing" / "a.run", {"q": [Scored("a", math.pi)]}, "a")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_run(tmp_path / "a.run")
