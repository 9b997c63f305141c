"""LangSmith and LlamaIndex evaluate the same retriever on the same questions: their figures are ours."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import langsmith
import pytest
from evaluation_files import QRELS, QUERIES
from langchain_core.documents import Document
from langchain_core.load import dumpd
from langsmith.evaluation import run_evaluator
from langsmith.schemas import Example, Run
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.schema import NodeWithScore, TextNode

from hybrid_core import BgeM3Encoder, Hit, HybridIndex, InvalidInputError, Passage
from hybrid_core.evaluation import (
    EvaluationSet,
    System,
    evaluate,
    langsmith_evaluator,
    langsmith_examples,
    measure,
    synthetic_set,
)
from langchain_hybrid import HybridRetriever as LangChainRetriever
from llamaindex_hybrid import HybridRetriever as LlamaIndexRetriever

METRICS = ("nDCG@10", "R@5", "RR", "AP", "P@3", "Success@1")


def example(of: dict[str, Any]) -> Example:
    now = datetime.datetime.now(tz=datetime.UTC)
    return Example(id=uuid.uuid4(), dataset_id=uuid.uuid4(), created_at=now, modified_at=now, **of)


@pytest.mark.parametrize("system", [System("rrf", candidates=5), System("sparse", mode="sparse", candidates=5)])
@pytest.mark.filterwarnings("ignore:'upload_results' parameter is in beta")
def test_langsmith_gives_our_figures_for_a_retriever(
    small_index: HybridIndex, small_set: EvaluationSet, system: System
) -> None:
    retriever = LangChainRetriever(index=small_index, k=5, candidates=5, mode=system.mode)

    def target(inputs: dict[str, str]) -> dict[str, list[Document]]:
        with langsmith.tracing_context(enabled=False):  # or LangChain would send each search to the server
            return {"documents": retriever.invoke(inputs["question"])}

    results = langsmith.evaluate(
        target,
        data=[example(one) for one in langsmith_examples(small_set)],
        evaluators=[langsmith_evaluator(METRICS)],
        upload_results=False,
        client=langsmith.Client(api_url="http://127.0.0.1:9", api_key="none", auto_batch_tracing=False),
        max_concurrency=0,
    )
    found = {
        row["example"].metadata["query"]: {one.key: one.score for one in row["evaluation_results"]["results"]}
        for row in results
    }
    ours = evaluate(small_index, small_set, [system], metrics=METRICS).systems[0]
    assert found == {query: {m: pytest.approx(ours.values[m][query]) for m in METRICS} for query in QUERIES}
    for metric in METRICS:
        assert sum(row[metric] for row in found.values()) / len(found) == pytest.approx(ours.means[metric])


def test_it_is_an_evaluator_of_runs_too() -> None:
    judge = run_evaluator(langsmith_evaluator(["RR"]))
    now = datetime.datetime.now(tz=datetime.UTC)
    run = Run(id=uuid.uuid4(), name="r", start_time=now, run_type="chain", trace_id=uuid.uuid4(), inputs={})
    run.outputs = {"documents": ["x", "retry"]}
    with langsmith.tracing_context(enabled=False):
        found = judge.evaluate_run(run, example(langsmith_examples_of_first()))
    assert [(one.key, one.score) for one in found["results"]] == [("RR", 0.5)]


def langsmith_examples_of_first() -> dict[str, Any]:
    return langsmith_examples(
        EvaluationSet("one", (Passage("retry", "text"),), {"q1": QUERIES["q1"]}, {"q1": {"retry": 2}})
    )[0]


def test_examples_hold_question_grades_and_where_they_are_from(small_set: EvaluationSet) -> None:
    first = langsmith_examples(small_set)[0]
    assert first == {
        "inputs": {"question": QUERIES["q1"]},
        "outputs": {"relevant": QRELS["q1"]},
        "metadata": {"query": "q1", "set": "small"},
    }
    corpus = [
        Passage("a", "alpha beta gamma delta"),
        Passage("b", "alpha beta gamma delta"),
        Passage("c", "other words"),
    ]
    made = synthetic_set(corpus, count=1, kinds=["keywords"])
    assert [one["metadata"]["kind"] for one in langsmith_examples(made)] == ["keywords"]


@pytest.mark.parametrize(
    "form",
    [
        lambda id_: id_,
        lambda id_: Document(id=id_, page_content="text"),
        lambda id_: dumpd(Document(id=id_, page_content="text")),
        lambda id_: {"id": id_, "page_content": "text", "type": "Document"},
        lambda id_: TextNode(id_=id_, text="text"),
        lambda id_: NodeWithScore(node=TextNode(id_=id_, text="text"), score=0.5),
        lambda id_: Hit(Passage(id_, "text"), 0.5, {}),
    ],
    ids=["id", "document", "written document", "plain document", "node", "scored node", "hit"],
)
def test_documents_are_known_by_their_ids_in_every_form(form: Callable[[str], object]) -> None:
    judge = langsmith_evaluator(["nDCG@10", "AP"])
    ids = ["b", "a", "x", "c"]
    found = judge({"documents": [form(id_) for id_ in ids]}, {"relevant": {"a": 2, "c": 1, "d": 1}})
    values = measure({"q": [(id_, 0.0) for id_ in ids]}, {"q": {"a": 2, "c": 1, "d": 1}}, ["nDCG@10", "AP"])
    assert found["results"] == [{"key": metric, "score": values[metric]["q"]} for metric in values]


def test_relevant_documents_may_be_a_list_and_entries_be_named_otherwise() -> None:
    judge = langsmith_evaluator(["R@10"], retrieved="context", relevant="ids")
    assert judge({"context": ["a"]}, {"ids": ["a", "b"]}) == {"results": [{"key": "R@10", "score": 0.5}]}
    assert judge({"context": []}, {"ids": ["a", "b"]}) == {"results": [{"key": "R@10", "score": 0.0}]}


@pytest.mark.parametrize(
    ("outputs", "reference", "says"),
    [
        ({"output": ["a"]}, {"relevant": ["a"]}, "the outputs have no 'documents', they hold 'output'"),
        ({"documents": ["a"]}, {}, "reference outputs have no 'relevant', they hold nothing"),
        ({"documents": "a"}, {"relevant": ["a"]}, "'documents' is 'a'; a list"),
        ({"documents": None}, {"relevant": ["a"]}, "'documents' is None; a list"),
        ({"documents": ["a"]}, {"relevant": []}, "'relevant' is empty"),
        ({"documents": [Document(page_content="no id")]}, {"relevant": ["a"]}, "document 0 is .* which has no id"),
        ({"documents": ["a", SimpleNamespace(id=3)]}, {"relevant": ["a"]}, "document 1 is .* which has no id"),
    ],
)
def test_what_cannot_be_read_is_named(outputs: dict[str, Any], reference: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        langsmith_evaluator()(outputs, reference)


def test_an_unknown_metric_is_refused_before_anything_runs() -> None:
    with pytest.raises(InvalidInputError, match="accuracy"):
        langsmith_evaluator(["accuracy"])


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
async def test_llama_indexs_retriever_evaluator_gives_our_figures(
    small_index: HybridIndex, small_set: EvaluationSet, mode: Any
) -> None:
    k = 5
    theirs = ["hit_rate", "mrr", "precision", "recall", "ap", "ndcg"]
    ours = [f"Success@{k}", "RR", f"P@{k}", f"R@{k}", "AP", f"nDCG@{k}"]
    retriever = LlamaIndexRetriever(small_index, k=k, candidates=10, mode=mode)
    evaluator = RetrieverEvaluator.from_metric_names(theirs, retriever=retriever)
    # LlamaIndex knows no grades: relevant or not
    qrels = {query: {id_: 1 for id_, grade in of.items() if grade > 0} for query, of in small_set.qrels.items()}
    rankings = {}
    for query, text in small_set.queries.items():
        found = await evaluator.aevaluate(query=text, expected_ids=list(qrels[query]))
        rankings[query] = [(id_, 0.0) for id_ in found.retrieved_ids]
        values = measure({query: rankings[query]}, {query: qrels[query]}, ours)
        assert found.metric_vals_dict == {
            name: pytest.approx(values[metric][query]) for name, metric in zip(theirs, ours, strict=True)
        }
    binary = EvaluationSet("binary", small_set.corpus, small_set.queries, qrels)
    system = System("same", mode=mode, candidates=10)
    whole = evaluate(small_index, binary, [system], metrics=["R@5", "nDCG@5"]).systems[0]
    assert {query: [id_ for id_, _ in ranking] for query, ranking in rankings.items()} == {
        query: [item.id for item in ranking[:k]] for query, ranking in whole.rankings.items()
    }


def test_the_retrievers_keep_the_ids_that_are_judged(encoder: BgeM3Encoder, small_index: HybridIndex) -> None:
    question = QUERIES["q1"]
    lang = [document.id for document in LangChainRetriever(index=small_index).invoke(question)]
    llama = [node.node.node_id for node in LlamaIndexRetriever(small_index).retrieve(question)]
    assert lang == llama == [hit.passage.id for hit in small_index.search(question)]
