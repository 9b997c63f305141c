r"""The same questions to BGEM3Index + FlagEmbeddingReranker and to HybridRetriever + BgeReranker, side by side.

    python examples/migrate_llamaindex.py                                   # small models, offline
    python examples/migrate_llamaindex.py --model BAAI/bge-m3 --reranker BAAI/bge-reranker-v2-m3

Both load the same two checkpoints and answer the ten questions of `bge-hybrid demo`. docs/migration/
from-bge-m3-index.md tells what the output means. No language model takes part: this is what one would be given.

Needs: pip install "bge-hybrid[torch,llamaindex,flag]" llama-index-indices-managed-bge-m3 \
           llama-index-postprocessor-flag-embedding-reranker
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import threading
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from typing import Any, NamedTuple

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.indices.managed.bge_m3 import BGEM3Index
from llama_index.postprocessor.flag_embedding_reranker import FlagEmbeddingReranker
from transformers.utils import logging

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, ReciprocalRank, WeightedSum
from llamaindex_hybrid import BgeReranker, HybridRetriever

MODELS = files("hybrid_core") / "models"
DEPTH = 20  # nodes that are reranked, here and there
CHINESE = MetadataFilters(filters=[MetadataFilter(key="lang", value="zh")])
LATE = TextNode(id_="late", text="LNT-5501 means that the disk of the log server is full.")
ROW = "{:<50}{:>14}{:>14}{:>14}"


class Side(NamedTuple):
    """The parts of a pipeline that are compared."""

    retriever: BaseRetriever
    reranker: BaseNodePostprocessor
    chinese: BaseRetriever  # asked for nodes with {"lang": "zh"} alone
    insert: Callable[[list[TextNode]], object]
    lines: int


def managed(nodes: list[TextNode], model: str, reranker: str) -> tuple[BGEM3Index, FlagEmbeddingReranker]:
    """BGEM3Index, whose score is a weighted sum of dense, sparse and multi-vector, and FlagEmbeddingReranker."""
    index = BGEM3Index(nodes=nodes, model_name=model, weights_for_different_modes=[0.4, 0.2, 0.4])
    return index, FlagEmbeddingReranker(model=reranker, top_n=DEPTH)


def hybrid(
    nodes: list[TextNode], encoder: BgeM3Encoder, scorer: Any, fusion: Any
) -> tuple[HybridRetriever, BgeReranker]:
    """HybridRetriever and BgeReranker; models are loaded once and shared."""
    retriever = HybridRetriever.from_nodes(nodes, encoder=encoder, fusion=fusion, k=DEPTH)
    return retriever, BgeReranker(reranker=scorer, top_n=DEPTH)


def main() -> None:
    """Build both, ask both, add to both, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="hub name or folder; 'tiny' is the small model in the package")
    parser.add_argument("--reranker", default="tiny", help="likewise")
    args = parser.parse_args()
    model = str(MODELS / "tiny_m3") if args.model == "tiny" else args.model
    scoring = str(MODELS / "tiny_reranker") if args.reranker == "tiny" else args.reranker
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows, questions = read("corpus.jsonl"), read("questions.jsonl")
    nodes = [  # FlagEmbeddingReranker reads what of the metadata is not excluded, too
        TextNode(
            id_=row["id"],
            text=row["text"],
            metadata=row["metadata"],
            excluded_embed_metadata_keys=list(row["metadata"]),
        )
        for row in rows
    ]
    work: Counter[str] = Counter()
    index, flag = managed(nodes, model, scoring)
    plain, filtered = (index.as_retriever(similarity_top_k=DEPTH, filters=given) for given in (None, CHINESE))
    sides = [Side(plain, flag, filtered, index.insert_nodes, lines(managed))]
    encoder, scorer = BgeM3Encoder(model), CrossEncoderReranker(scoring)
    for fusion in (WeightedSum(dense=0.4, sparse=0.2), ReciprocalRank()):
        retriever, best = hybrid(nodes, encoder, scorer, fusion)
        chinese = HybridRetriever(retriever.index, k=DEPTH, filter=CHINESE)
        sides.append(Side(retriever, best, chinese, retriever.add_nodes, lines(hybrid)))
    for part, method, what in (
        (index.model, "encode", "texts"),
        (encoder, "encode_documents", "texts"),
        (encoder, "encode_queries", "texts"),
        (flag._model, "compute_score", "pairs"),
        (scorer, "score_windows", "pairs"),
    ):
        counted(part, method, work, what)
    columns = [facts(side, questions, work) for side in sides]
    print(ROW.format("", "BGEM3Index", "same weights", "default, RRF"))
    for name in columns[0]:
        print(ROW.format(name, *(column[name] for column in columns)))


def facts(side: Side, questions: list[dict[str, Any]], work: Counter[str]) -> dict[str, object]:
    """Put a pipeline through its paces; `work` counts what its models are given meanwhile."""
    found: dict[str, object] = {}
    work.clear()
    scores: list[float] = []
    stages: list[int] = []
    kept = True
    for number, asked in enumerate(questions, start=1):
        recalled = side.retriever.retrieve(asked["question"])
        before = [node.score for node in recalled]
        reranked = side.reranker.postprocess_nodes(recalled, query_str=asked["question"])
        kept = kept and before == [node.score for node in recalled]
        stages += [len(node.node.metadata.get("stage_scores", ())) for node in reranked]
        scores += [float(node.score or 0) for node in reranked]
        ranks = f"{rank(recalled, asked)} > {rank(reranked, asked)}"
        found[f"   rank for question {number} ({asked['kind']})"] = ranks
    found["texts encoded for 10 questions"] = work["texts"]
    found["pairs that the cross-encoder scored for them"] = work["pairs"]
    found["the reranker's scores, lowest and highest"] = f"{min(scores):.2f} {max(scores):.2f}"
    found["nodes given to the reranker keep their scores"] = yes(kept)
    found["stages whose scores a result carries"] = max(stages)
    english = [node for node in side.chinese.retrieve("useLantern()") if node.node.metadata["lang"] == "en"]
    found["English nodes found when asked for Chinese ones"] = len(english)
    work.clear()
    asyncio.run(side.retriever.aretrieve("asked for the first time"))
    found["aretrieve() encodes outside the event loop"] = yes(not work[threading.current_thread().name])
    work.clear()
    try:
        side.insert([LATE])
        found["texts encoded to insert one more node"] = work["texts"]
    except NotImplementedError:
        found["texts encoded to insert one more node"] = "refused"
    found["lines that build it"] = side.lines
    return found


def rank(found: list[NodeWithScore], asked: dict[str, Any]) -> str:
    """Return the place of the first node that answers the question."""
    return next((str(place) for place, node in enumerate(found, start=1) if node.node_id in asked["relevant"]), "-")


def lines(build: Callable[..., Any]) -> int:
    """Return how many lines are under a function's docstring."""
    return len(inspect.getsource(build).split('"""')[2].strip().splitlines())


def yes(holds: bool) -> str:
    """Return the word."""
    return "yes" if holds else "no"


def read(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of the demo."""
    rows = (files("hybrid_core") / "demo" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(row) for row in rows]


def counted(part: Any, method: str, work: Counter[str], what: str) -> None:
    """Count the texts or pairs that a method is given first, and the calls by thread."""
    run = getattr(part, method)

    def counting(*args: Any, **kwargs: Any) -> Any:
        given = args[-1]
        work[what] += 1 if isinstance(given, str) else len(given)
        work[threading.current_thread().name] += 1
        return run(*args, **kwargs)

    setattr(part, method, counting)


if __name__ == "__main__":
    main()
