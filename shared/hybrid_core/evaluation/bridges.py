"""LangSmith's way of evaluating, on our judgements and with our metrics: examples in its form, and an evaluator.

Both are plain dicts and functions, so that nothing of LangSmith is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..errors import InvalidInputError
from ..types import Hit, Scored
from .datasets import EvaluationSet
from .metrics import measure

Evaluator: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, list[dict[str, Any]]]]


def langsmith_examples(dataset: EvaluationSet) -> list[dict[str, Any]]:
    """Return the questions of a set as `langsmith.Client.create_examples(examples=...)` takes them.

    Returns:
        One dict a question: "inputs" has the "question", "outputs" the grades of the judged documents as "relevant",
        "metadata" the ids of "query" and "set", and the "kind" of a synthetic question.
    """
    return [
        {
            "inputs": {"question": text},
            "outputs": {"relevant": dict(dataset.qrels[query])},
            "metadata": {
                "query": query,
                "set": dataset.name,
                **({"kind": dataset.kinds[query]} if query in dataset.kinds else {}),
            },
        }
        for query, text in dataset.queries.items()
    ]


def langsmith_evaluator(
    metrics: Sequence[str] = ("nDCG@10", "R@10", "RR"), *, retrieved: str = "documents", relevant: str = "relevant"
) -> Evaluator:
    """Return a function for `langsmith.evaluate(..., evaluators=[...])` that gives our metrics of one ranked list.

    The mean over the examples, which LangSmith shows, is that of `evaluate` and `measure` for the same lists.

    Args:
        metrics: see `measure`; each is a feedback key.
        retrieved: where the outputs of the evaluated function hold what was found, best first: ids, or documents with
            an id (LangChain documents, also in their written form, LlamaIndex nodes, our hits).
        relevant: where the reference outputs hold what should be found: a list of ids, or a dict of grades.

    Raises:
        InvalidInputError: a metric is unknown; from the function returned: an entry is missing or cannot be read.
        MissingDependencyError: ir-measures is not installed.

    Example:
        >>> judge = langsmith_evaluator(["RR", "R@10"])
        >>> judge({"documents": ["b", "a"]}, {"relevant": ["a", "c"]})["results"]
        [{'key': 'RR', 'score': 0.5}, {'key': 'R@10', 'score': 0.5}]
    """
    chosen = tuple(metrics)
    measure({}, {"": {"": 1}}, chosen)  # a metric that is unknown is so before anything is run

    def ranking(outputs: Mapping[str, Any], reference_outputs: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        grades = _grades(_entry(reference_outputs, relevant, "reference outputs"), relevant)
        found = _items(_entry(outputs, retrieved, "outputs"), retrieved)
        run = {"": [Scored(_id(item, i), 0.0) for i, item in enumerate(found)]}
        values = measure(run, {"": grades}, chosen)
        return {"results": [{"key": metric, "score": values[metric][""]} for metric in chosen]}

    return ranking


def _entry(values: Mapping[str, Any], key: str, what: str) -> Any:
    if key not in values:
        there = ", ".join(map(repr, values)) or "nothing"
        raise InvalidInputError(f"the {what} have no {key!r}, they hold {there:.200}; name the entry that is meant")
    return values[key]


def _items(value: Any, key: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidInputError(f"{key!r} is {value!r:.80}; a list of ids or of documents with an id is needed")
    return list(value)


def _grades(value: Any, key: str) -> dict[str, int]:
    grades = (
        dict(value) if isinstance(value, Mapping) else {_id(item, i): 1 for i, item in enumerate(_items(value, key))}
    )
    if not grades:
        raise InvalidInputError(f"{key!r} is empty; a question without a judged document cannot be measured")
    return grades


def _id(item: Any, place: int) -> str:
    """Return the id of a document, in any of the forms that frameworks give it."""
    found = item
    if isinstance(item, Hit):
        found = item.passage.id
    elif isinstance(item, Mapping):
        found = item.get("kwargs", item).get("id")  # LangChain writes a document's fields under "kwargs"
    elif not isinstance(item, str):
        found = getattr(item, "node_id", None) or getattr(item, "id", None)
    if not isinstance(found, str):
        raise InvalidInputError(f"document {place} is {item!r:.80}, which has no id; return ids, or documents with one")
    return found
