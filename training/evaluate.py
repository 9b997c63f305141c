"""Score a model on the held-out pages, through the package's own classes: what is measured is what users load."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_rel
from tokenizers import Tokenizer

from hybrid_core import BgeM3Encoder, CrossEncoderReranker
from hybrid_core.types import FloatArray

from .directions import Direction, load_directions
from .retrieval import WEIGHTS, Scores, bm25, figures, gains, ranks, reciprocal_rank, weighted


def first_stage(encoder: BgeM3Encoder, direction: Direction, *, late: bool) -> dict[str, Scores]:
    """Return the score of every document for every query, by each of the encoder's heads."""
    documents = encoder.encode_documents(direction.documents, multi=late)
    queries = encoder.encode_queries(direction.queries, multi=late)
    scores = {
        "dense": queries.dense @ documents.dense.T,
        "sparse": np.asarray((queries.sparse @ documents.sparse.T).todense(), dtype=np.float32),
    }
    if late and queries.multi is not None and documents.multi is not None:
        scores["late"] = _late(queries.multi, documents.multi)
    return scores


def _late(queries: tuple[FloatArray, ...], documents: tuple[FloatArray, ...]) -> Scores:
    """Mean over a query's tokens of the best match in each document; a text of no tokens matches nothing."""
    out = np.zeros((len(queries), len(documents)), dtype=np.float32)
    starts = np.cumsum([0, *(len(q) for q in queries)])
    every = np.concatenate(queries).T
    filled = [i for i, q in enumerate(queries) if len(q)]
    lengths = np.array([len(queries[i]) for i in filled], dtype=np.float32)
    for k, document in enumerate(documents):
        if len(document):
            best = (document @ every).max(axis=0)
            out[filled, k] = np.add.reduceat(best, starts[filled]) / lengths
    return out


def report(encoder: BgeM3Encoder, tokenizer: Tokenizer, directions: list[Direction], *, late: bool) -> dict[str, Any]:
    """Return the figures of every direction; the weight is the best of one grid, the same for all directions."""
    scores = {d.name: first_stage(encoder, d, late=late) for d in directions}
    by_weight = {
        w: {
            d.name: figures(weighted(scores[d.name]["dense"], scores[d.name]["sparse"], w), d.targets)
            for d in directions
        }
        for w in WEIGHTS
    }
    common = max(WEIGHTS, key=lambda w: np.mean([f["ndcg10"] for f in by_weight[w].values()]))
    out: dict[str, Any] = {"dense_weight": common, "normalisation": "min-max per query over the pool"}
    for d in directions:
        rows: dict[str, Any] = {"queries": len(d.queries), "documents": len(d.documents)}
        rows |= {name: figures(matrix, d.targets) for name, matrix in scores[d.name].items()}
        rows["rrf"] = figures(reciprocal_rank(scores[d.name]["dense"], scores[d.name]["sparse"]), d.targets)
        rows["weighted"] = by_weight[common][d.name]
        best = max(WEIGHTS, key=lambda w: by_weight[w][d.name]["ndcg10"])
        rows["weighted_best"] = {**by_weight[best][d.name], "dense_weight": best}
        ids = [[e.ids for e in tokenizer.encode_batch_fast(texts)] for texts in (d.queries, d.documents)]
        rows["bm25"] = figures(bm25(ids[0], ids[1], tokenizer.get_vocab_size()), d.targets)
        out[d.name] = rows
    return out


def rerank_report(
    encoder: BgeM3Encoder,
    reranker: CrossEncoderReranker,
    directions: list[Direction],
    weight: float,
    *,
    sample: int,
    depth: int = 50,
) -> dict[str, Any]:
    """Return nDCG@10 before and after the reranker orders the fused top 50 by its score alone, paired."""
    out: dict[str, Any] = {"depth": depth}
    before, after = [], []
    for d in directions:
        scores = first_stage(encoder, d, late=False)
        fused = weighted(scores["dense"], scores["sparse"], weight)
        chosen = np.arange(0, len(d.queries), max(1, len(d.queries) // sample) if sample else 1)
        reordered = np.full((len(chosen), len(d.documents)), -1.0, dtype=np.float32)
        places = ranks(fused)[chosen]
        for row, i in enumerate(chosen):
            top = np.argsort(places[row])[:depth]
            reordered[row, top] = reranker.score(d.queries[i], [d.documents[k] for k in top])
        old, new = gains(fused[chosen], d.targets[chosen]), gains(reordered, d.targets[chosen])
        p = float(ttest_rel(new, old).pvalue)
        out[d.name] = {
            "queries": len(chosen),
            "fused": round(float(old.mean()), 4),
            "reranked": round(float(new.mean()), 4),
            "p": p,
        }
        before.append(old)
        after.append(new)
    means = [np.mean([x.mean() for x in side]) for side in (before, after)]
    out["mean"] = {"fused": round(float(means[0]), 4), "reranked": round(float(means[1]), 4)}
    out["mean"]["p"] = float(ttest_rel(np.concatenate(after), np.concatenate(before)).pvalue)
    return out


def speed(encoder: BgeM3Encoder, reranker: CrossEncoderReranker, directions: list[Direction]) -> dict[str, float]:
    """Return the median seconds to encode 1,000 sections and to rerank 50."""
    d = directions[0]
    texts = (d.documents * 1_000)[:1_000]
    encode, rerank = [], []
    for turn in range(5):
        begin = time.perf_counter()
        encoder.encode_documents([f"{text} {turn} {i}" for i, text in enumerate(texts)])
        encode.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        reranker.score(d.queries[turn], texts[50 * turn : 50 * turn + 50])
        rerank.append(time.perf_counter() - begin)
    return {"encode_1000": round(float(np.median(encode)), 2), "rerank_50": round(float(np.median(rerank)), 3)}


def main() -> None:
    """Print the figures and keep them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="the encoder's folder")
    parser.add_argument("--reranker", type=Path)
    parser.add_argument("--late", action="store_true", help="late interaction as well")
    parser.add_argument("--sample", type=int, default=0, help="rerank about this many queries a direction; 0 is all")
    parser.add_argument("--weight", type=float, help="of dense in the fusion; chosen on a grid if left out")
    parser.add_argument(
        "--ask", choices=("query", "heading"), default="query", help="with or without the heading above"
    )
    parser.add_argument("--precision", default="auto", help="of both models; an ONNX export has its own")
    parser.add_argument("--skip", default="", help="leave out pages whose name starts with this")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    encoder = BgeM3Encoder(arguments.model, device="cpu", precision=arguments.precision)
    directions = load_directions(arguments.work, ask=arguments.ask, skip=arguments.skip)
    result: dict[str, Any] = {}
    if arguments.weight is None or arguments.reranker is None:
        tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        result = report(encoder, tokenizer, directions, late=arguments.late)
    if arguments.reranker is not None:
        reranker = CrossEncoderReranker(arguments.reranker, device="cpu", precision=arguments.precision)
        weight = arguments.weight if arguments.weight is not None else result["dense_weight"]
        result["seconds"] = speed(encoder, reranker, directions)
        result["rerank"] = rerank_report(encoder, reranker, directions, weight, sample=arguments.sample)
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
