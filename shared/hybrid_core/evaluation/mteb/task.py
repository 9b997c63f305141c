"""A set of one's own as a task of mteb."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError, require
from ..datasets import EvaluationSet, corpus_digest

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval


def mteb_task(dataset: EvaluationSet, *, languages: Sequence[str] = ("eng-Latn",), k: int = 10) -> AbsTaskRetrieval:
    """Return a retrieval task for `mteb.evaluate` over a set of one's own; nothing is downloaded.

    Args:
        dataset: the set; its one subset is "default", its one split "test". Its passages are taken as they are: a title
            is in the text already.
        languages: as mteb writes them: an ISO 639-3 code, a hyphen, a script.
        k: the cutoff of the main score, nDCG.

    Raises:
        InvalidInputError: mteb knows no such language or cutoff.
        MissingDependencyError: mteb is not installed.
    """
    retrieval = require("mteb.abstasks", "mteb").AbsTaskRetrieval
    if k not in retrieval.k_values:
        raise InvalidInputError(f"k={k!r} must be one of {', '.join(map(str, retrieval.k_values))}, mteb's cutoffs")
    check = require("mteb.languages", "mteb").check_language_code
    for code in languages:
        try:
            check(code)
        except ValueError:
            raise InvalidInputError(
                f"language {code!r:.40} must be an ISO 639-3 code, a hyphen and a script of ISO 15924, such as eng-Latn"
            ) from None
    described = require("mteb", "mteb").TaskMetadata(
        name=dataset.name,
        description=f"{len(dataset.corpus)} passages, {len(dataset.queries)} questions.",
        dataset={"path": f"local/{dataset.name}", "revision": _revision(dataset)},
        type="Retrieval",
        category="t2t",
        eval_langs=list(languages),
        main_score=f"ndcg_at_{k}",
    )

    def load_data(task: Any, num_proc: int | None = None, **options: Any) -> None:
        rows = require("datasets", "mteb").Dataset.from_list
        task.dataset = {
            "default": {
                "test": {
                    "corpus": rows([{"id": p.id, "text": p.text} for p in dataset.corpus]),
                    "queries": rows([{"id": id_, "text": text} for id_, text in dataset.queries.items()]),
                    "relevant_docs": {query: dict(grades) for query, grades in dataset.qrels.items()},
                    "top_ranked": None,
                }
            }
        }
        task.data_loaded = True

    # mteb reads a task's description from its class
    made: AbsTaskRetrieval = type("LocalTask", (retrieval,), {"metadata": described, "load_data": load_data})()
    return made


def _revision(dataset: EvaluationSet) -> str:
    """Return a hash of all that a result depends on, by which mteb knows results of an earlier state."""
    asked = json.dumps([dict(dataset.queries), {query: dict(grades) for query, grades in dataset.qrels.items()}])
    return hashlib.blake2b(f"{corpus_digest(dataset.corpus)} {asked}".encode(), digest_size=16).hexdigest()
