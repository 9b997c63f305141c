"""Bm25: weights by hand, ids that never change, and the lists of another implementation."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from vectors import dense_of

from hybrid_core import Encoding, Fingerprint, InvalidInputError, InvalidTextError, Passage
from hybrid_core.encoders.sparse_sides.base import SparseSide
from hybrid_core.encoders.sparse_sides.bm25 import Bm25, term_id
from hybrid_core.stores.memory import MemoryStore

CORPUS = [
    "A worker pulls tasks from the queue and retries the failed ones.",
    "The gateway limits requests per client; a limit is set per route.",
    "网关按客户端地址限制每秒的请求数。",
    "工作节点从队列中拉取任务, and reports failed tasks to the queue.",
    "Tasks, tasks, tasks: a queue of tasks.",
    "证书每九十天轮换一次，网关会自动加载新的证书。",
    "Certificates are rotated every ninety days.",
    "队列",
    "A route sends a part of the traffic to the new version of the gateway 网关.",
    "",
]
QUERIES = [
    "failed tasks in the queue",
    "网关 limits",
    "怎样轮换证书",
    "tasks tasks worker",
    "队列任务",
    "nothing of it",
]


def weights(bm25: Bm25, text: str) -> dict[int, float]:
    row = bm25.encode_documents([text])
    return dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))


def test_it_is_a_sparse_side_with_idf() -> None:
    bm25 = Bm25()
    assert isinstance(bm25, SparseSide)
    assert (bm25.idf, bm25.vocabulary) == (True, 2**31 - 1)
    assert repr(bm25) == "Bm25(language='english', k1=1.2, b=0.75, average_length=256)"
    assert re.fullmatch(re.escape(repr(bm25)) + r", rules 1, Snowball \d+\.\d+", bm25.name)
    names = [Bm25(language="german").name, Bm25(k1=1).name, Bm25(b=0.5).name, Bm25(average_length=100).name]
    assert len({bm25.name, Bm25(language=None).name, *names}) == 6
    assert Bm25().name == bm25.name


def test_weights_are_those_of_the_formula() -> None:
    """Five terms, of which "task" is there three times, against an average of 4."""
    found = weights(Bm25(k1=1.2, b=0.75, average_length=4), "Tasks: a task, queue tasks.")
    norm = 1.2 * (1 - 0.75 + 0.75 * 5 / 4)  # 1.425
    expected = {"task": 3 * 2.2 / (3 + norm), "a": 2.2 / (1 + norm), "queue": 2.2 / (1 + norm)}
    assert expected["task"] == pytest.approx(1.491525, abs=1e-6)
    assert found == pytest.approx({term_id(term): weight for term, weight in expected.items()})


@pytest.mark.parametrize(("k1", "b"), [(0, 0.75), (0.9, 0), (2, 1), (1e9, 0.5)])
def test_parameters_at_their_ends(k1: float, b: float) -> None:
    found = weights(Bm25(language=None, k1=k1, b=b, average_length=2), "x x x y")
    norm = k1 * (1 - b + b * 4 / 2)
    assert found[term_id("x")] == pytest.approx(3 * (k1 + 1) / (3 + norm), rel=1e-6)
    assert found[term_id("y")] == pytest.approx((k1 + 1) / (1 + norm), rel=1e-6)


def test_a_query_counts_its_words_as_lucene_does() -> None:
    bm25 = Bm25(language=None)
    row = bm25.encode_queries(["retry the retry 网关", "", "…"])
    assert np.diff(row.indptr).tolist() == [3, 0, 0]
    assert dict(zip(bm25.tokens(row.indices.tolist()), row.data.tolist(), strict=True)) == {
        "retry": 2,
        "the": 1,
        "网关": 1,
    }


def test_shapes_types_and_order() -> None:
    for rows in (Bm25().encode_documents(CORPUS), Bm25().encode_queries(CORPUS)):
        assert rows.shape == (10, 2**31 - 1)
        assert (rows.dtype, rows.indices.dtype) == (np.float32, np.int32)
        assert (rows.data > 0).all()
        for start, end in zip(rows.indptr, rows.indptr[1:], strict=False):
            assert (np.diff(rows.indices[start:end]) > 0).all()
        assert rows.indptr[-1] == rows.indptr[-2]  # the empty text
    assert Bm25().encode_documents([]).shape == (0, 2**31 - 1)


def test_ids_never_change() -> None:
    golden = {"queue": 1784977335, "worker": 1382873738, "网关": 1222942753, "3.14": 903185173}
    assert {term: term_id(term) for term in golden} == golden
    code = "from hybrid_core.encoders.sparse_sides.bm25 import term_id; print(term_id('网关'))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert int(found.stdout) == golden["网关"]


def test_of_100_000_terms_a_few_share_an_id() -> None:
    """The expectation is n (n - 1) / 2 / (2^31 - 1): 2.3 pairs."""
    ids = {term_id(f"term{i}") for i in range(100_000)}
    assert 100_000 - len(ids) == 3
    assert min(ids) >= 0
    assert max(ids) < 2**31 - 1


def test_only_terms_of_queries_are_remembered_and_not_without_end() -> None:
    bm25 = Bm25(language=None)
    bm25.encode_documents(["unasked"])
    assert bm25.tokens([term_id("unasked")]) == [f"#{term_id('unasked')}"]
    first = bm25.encode_queries(["asked"]).indices.tolist()
    assert bm25.tokens(first) == ["asked"]
    bm25.encode_queries([" ".join(f"w{i}" for i in range(20_000))])
    assert bm25.tokens([*first, term_id("w19999")]) == [f"#{first[0]}", "w19999"]
    assert len(bm25._met) == 16_384


def test_threads_get_what_one_gets() -> None:
    shared, texts = Bm25(), [f"{text} {i}" for i in range(40) for text in CORPUS]
    alone = [Bm25().encode_documents([text]).data.tolist() for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: shared.encode_documents([text]).data.tolist(), texts))
        list(pool.map(lambda text: shared.encode_queries([text]), texts))
    assert found == alone


@pytest.mark.parametrize(
    "options",
    [
        {"k1": -0.1}, {"k1": math.inf}, {"k1": math.nan}, {"k1": "1.2"}, {"k1": True}, {"b": -0.1}, {"b": 1.01},
        {"b": None}, {"average_length": 0}, {"average_length": -5}, {"average_length": math.inf},
    ],
    ids=repr,
)  # fmt: skip
def test_a_parameter_out_of_range_is_named(options: dict[str, Any]) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(InvalidInputError, match=re.escape(f"{name}={value!r} must be a number")):
        Bm25(**options)


def test_texts_are_checked() -> None:
    with pytest.raises(InvalidTextError, match="text 1 is 7"):
        Bm25().encode_documents(["a", 7])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query 0 has a lone surrogate"):
        Bm25().encode_queries(["\ud800"])
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        Bm25().encode_documents("text")


def plain_terms(text: str) -> list[str]:
    """Words of ASCII and pairs of Chinese characters, without the help of the code under test."""
    terms = re.findall(r"[a-z]+", text.lower())
    for run in re.findall("[\u4e00-\u9fff]+", text):
        terms += [run] if len(run) == 1 else [run[i] + run[i + 1] for i in range(len(run) - 1)]
    return terms


def plain_bm25(query: str, k1: float, b: float) -> dict[int, float]:
    """BM25 as its formula stands, over all of the corpus; texts of no word do not count."""
    documents = [Counter(plain_terms(text)) for text in CORPUS]
    filled = [counts for counts in documents if counts]
    average = sum(counts.total() for counts in filled) / len(filled)
    scores: dict[int, float] = {}
    for i, counts in enumerate(documents):
        for term in plain_terms(query):
            if counts[term]:
                df = sum(term in other for other in filled)
                idf = math.log(1 + (len(filled) - df + 0.5) / (df + 0.5))
                norm = k1 * (1 - b + b * counts.total() / average)
                scores[i] = scores.get(i, 0.0) + idf * counts[term] * (k1 + 1) / (counts[term] + norm)
    return scores


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4)])
def test_lists_and_scores_are_those_of_another_implementation(query: str, k1: float, b: float) -> None:
    lengths = [len(plain_terms(text)) for text in CORPUS if plain_terms(text)]
    bm25 = Bm25(language=None, k1=k1, b=b, average_length=sum(lengths) / len(lengths))
    store = MemoryStore(Fingerprint("", "", 8, bm25.vocabulary, "", 0, sparse=bm25.name, sparse_weighting="idf"))
    dense = np.stack([dense_of(text) for text in CORPUS])
    store.upsert(
        [Passage(str(i), text) for i, text in enumerate(CORPUS)], Encoding(dense, bm25.encode_documents(CORPUS))
    )
    row = Encoding(dense[:1], bm25.encode_queries([query])).sparse_row(0)
    found = store.search_sparse(row, 10)
    expected = sorted(plain_bm25(query, k1, b).items(), key=lambda item: (-round(item[1], 5), item[0]))
    assert [int(hit.id) for hit in found] == [i for i, _ in expected]
    assert [hit.score for hit in found] == pytest.approx([score for _, score in expected], rel=1e-6)
