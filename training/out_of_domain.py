"""Score the models on public test sets they know nothing about: what a user must not expect of a small model.

A set is a folder with corpus.jsonl and queries.jsonl ("_id", "text", optionally "title") and qrels.tsv, as in BEIR.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from tokenizers import Tokenizer

from hybrid_core import BgeM3Encoder, CrossEncoderReranker

from .directions import load_rows
from .retrieval import Scores, bm25, ranks, reciprocal_rank, weighted


def judged(scores: Scores, relevant: csr_array) -> dict[str, float]:
    """Return nDCG@10 and recall@100 with any number of relevant documents a query."""
    gains = np.asarray(relevant.todense())
    places = ranks(scores)
    discounts = 1 / np.log2(np.arange(10) + 2.0)
    best = np.array([(np.sort(row)[::-1][:10] * discounts[: min(10, len(row))]).sum() for row in gains])
    found = np.where(places < 10, gains / np.log2(places + 2.0), 0.0).sum(axis=1)
    recall = ((places < 100) & (gains > 0)).sum(axis=1) / (gains > 0).sum(axis=1)
    return {"ndcg10": round(float((found / best).mean()), 4), "r100": round(float(recall.mean()), 4)}


def rerank(
    reranker: CrossEncoderReranker,
    queries: list[str],
    texts: list[str],
    fused: Scores,
    relevant: csr_array,
    sample: int,
    depth: int = 50,
) -> dict[str, Any]:
    """Return nDCG@10 of some queries before and after the reranker orders the fused top 50 by its score alone."""
    chosen = np.arange(0, len(queries), max(1, len(queries) // sample) if sample else 1)
    reordered = np.full((len(chosen), len(texts)), -1.0, dtype=np.float32)
    places = ranks(fused[chosen])
    for row, i in enumerate(chosen):
        top = np.argsort(places[row])[:depth]
        reordered[row, top] = reranker.score(queries[i], [texts[k] for k in top])
    sides = {"fused": fused[chosen], "reranked": reordered}
    out: dict[str, Any] = {"queries": len(chosen)}
    return out | {name: judged(scores, csr_array(relevant[chosen]))["ndcg10"] for name, scores in sides.items()}


def score_set(
    encoder: BgeM3Encoder,
    tokenizer: Tokenizer,
    folder: Path,
    weight: float,
    reranker: CrossEncoderReranker | None,
    sample: int,
) -> dict[str, Any]:
    """Return the figures of one set."""
    corpus = load_rows(folder / "corpus.jsonl")
    place = {row["_id"]: i for i, row in enumerate(corpus)}
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in corpus]
    with (folder / "qrels.tsv").open(encoding="utf-8") as file:
        judgements = list(csv.DictReader(file, delimiter="\t"))
    wanted = {row["query-id"] for row in judgements if int(row["score"]) > 0}
    queries = [row for row in load_rows(folder / "queries.jsonl") if row["_id"] in wanted]
    number = {row["_id"]: i for i, row in enumerate(queries)}
    known = [r for r in judgements if r["query-id"] in number and r["corpus-id"] in place and int(r["score"]) > 0]
    at = ([number[r["query-id"]] for r in known], [place[r["corpus-id"]] for r in known])
    relevant = csr_array((np.array([float(r["score"]) for r in known]), at), shape=(len(queries), len(corpus)))
    documents = encoder.encode_documents(texts)
    asked = encoder.encode_queries([row["text"] for row in queries])
    dense = asked.dense @ documents.dense.T
    sparse = np.asarray((asked.sparse @ documents.sparse.T).todense(), dtype=np.float32)
    ids = [[e.ids for e in tokenizer.encode_batch_fast(side)] for side in ([q["text"] for q in queries], texts)]
    fused = weighted(dense, sparse, weight)
    result: dict[str, Any] = {}
    if reranker is not None:
        questions = [row["text"] for row in queries]
        result["rerank"] = rerank(reranker, questions, texts, fused, relevant, sample)
    return result | {
        "queries": len(queries),
        "documents": len(texts),
        "dense": judged(dense, relevant),
        "sparse": judged(sparse, relevant),
        "rrf": judged(reciprocal_rank(dense, sparse), relevant),
        "weighted": judged(fused, relevant),
        "bm25": judged(bm25(ids[0], ids[1], tokenizer.get_vocab_size()), relevant),
    }


def main() -> None:
    """Print the figures of each set and keep them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--weight", type=float, default=0.8, help="of dense in the fusion")
    parser.add_argument("--reranker", type=Path)
    parser.add_argument("--sample", type=int, default=300, help="rerank about this many queries a set; 0 is all")
    parser.add_argument("--output", type=Path)
    parser.add_argument("sets", type=Path, nargs="+")
    arguments = parser.parse_args()
    encoder = BgeM3Encoder(arguments.model, device="cpu")
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    reranker = CrossEncoderReranker(arguments.reranker, device="cpu") if arguments.reranker else None
    result = {
        folder.name: score_set(encoder, tokenizer, folder, arguments.weight, reranker, arguments.sample)
        for folder in arguments.sets
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
