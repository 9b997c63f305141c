"""Latency budgets: how many queries end in time, how much of what fitted is scored, and what that is worth.

Two public sets in BEIR's files with the small models, so candidates differ in length by a factor of forty. Takes about
half an hour; the machine must be otherwise idle.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridIndex, Passage
from hybrid_core.rerankers.base import Reranker
from hybrid_core.rerankers.budget import Budget
from hybrid_core.rerankers.stage import RerankStage
from training.directions import load_rows

from .measure import hardware, table, write_section

_MOST = 50  # candidates
_LEAST = (0, 3)  # of them scored in any case: a budget that always holds, and the default
_SMALL = 100  # milliseconds: a larger budget is worth more than three candidates, whatever they are
_GRACE = 1.1  # of a budget


@dataclass(frozen=True, slots=True)
class Query:
    """A question, its fused candidates, and what each is worth."""

    text: str
    candidates: tuple[str, ...]
    gains: tuple[float, ...]
    best: float  # the DCG of the ideal ten

    def ndcg(self, order: Sequence[int]) -> float:
        """Return nDCG@10 of the candidates in an order."""
        return dcg([self.gains[i] for i in order]) / self.best


@dataclass(slots=True)
class Outcome:
    """What queries under one budget gave.

    Attributes:
        seconds, scored, quality: of each query: how long, how many candidates, nDCG@10.
        least: seconds of each query of which no more than the least number of candidates was scored.
        fitted: for some queries, the candidates scored and those that one call scores in the budget.
    """

    seconds: list[float] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    fitted: list[tuple[int, int]] = field(default_factory=list)


def dcg(gains: Sequence[float]) -> float:
    """Return the discounted cumulative gain of the first ten."""
    return sum(gain / float(np.log2(place + 2)) for place, gain in enumerate(gains[:10]))


def load_queries(folder: Path, encoder: BgeM3Encoder) -> Iterator[Query]:
    """Yield the queries of a set with the candidates that the index finds."""
    with (folder / "qrels.tsv").open(encoding="utf-8") as file:
        judged: dict[str, dict[str, float]] = {}
        for row in csv.DictReader(file, delimiter="\t"):
            judged.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    with HybridIndex.open(None, encoder=encoder) as index:
        rows = load_rows(folder / "corpus.jsonl")
        index.add(Passage(row["_id"], f"{row.get('title', '')} {row['text']}".strip()) for row in rows)
        for row in load_rows(folder / "queries.jsonl"):
            gains = judged.get(row["_id"], {})
            best = dcg(sorted(gains.values(), reverse=True))
            if not best:
                continue
            found = [hit.passage for hit in index.search(row["text"], k=_MOST, candidates=2 * _MOST)]
            yield Query(row["text"], tuple(p.text for p in found), tuple(gains.get(p.id, 0.0) for p in found), best)


@contextmanager
def other_core(busy: bool) -> Iterator[None]:
    """Keep one more core busy, or not."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def that_fitted(reranker: Reranker, query: Query, budget: float, start: int) -> int:
    """Return how many candidates one call scores within `budget` seconds, found by trying around a first guess."""
    most = len(query.candidates)
    inside, outside = (0, 0.0), (most + 1, float("inf"))
    count = max(1, start)
    for _ in range(5):
        begin = time.perf_counter()
        reranker.score(query.text, query.candidates[:count])
        took = time.perf_counter() - begin
        if took <= budget:
            inside = max(inside, (count, took))
        else:
            outside = min(outside, (count, took))
        if outside[0] - inside[0] <= 1:
            break
        guess = int(count * budget / took)
        count = min(max(guess, inside[0] + 1), outside[0] - 1)
    if inside[0] == most or not np.isfinite(outside[1]):
        return inside[0]
    share = (budget - inside[1]) / (outside[1] - inside[1])  # between the two, time is taken as a line
    return int(inside[0] + share * (outside[0] - inside[0]))


def ask(reranker: Reranker, queries: Sequence[Query], milliseconds: float, every: int, least: int) -> Outcome:
    """Ask all queries under a budget, beginning with nothing learned; for every so many also try what would fit."""
    stage, budget = RerankStage(reranker), Budget(milliseconds, min_candidates=least, max_candidates=_MOST)
    outcome = Outcome()
    for number, query in enumerate(queries):
        begin = time.perf_counter()
        ranked = stage.rank(query.text, query.candidates, budget=budget)
        took = time.perf_counter() - begin
        count = sum(item.scored for item in ranked)
        outcome.seconds.append(took)
        outcome.scored.append(count)
        outcome.quality.append(query.ndcg([item.position for item in ranked]))
        if count <= least:
            outcome.least.append(took)
        if number % every == every - 1:
            outcome.fitted.append((count, that_fitted(reranker, query, milliseconds / 1e3, count)))
    return outcome


def line(milliseconds: float, outcome: Outcome, least: int) -> list[str]:
    """Return the row of the table."""
    seconds, limit = np.array(outcome.seconds), milliseconds / 1e3
    blamed = sum(took > _GRACE * limit for took in outcome.least)
    scored, fitted = np.array(outcome.fitted).T if outcome.fitted else (np.zeros(1), np.zeros(1))
    share = scored.sum() / max(1, np.maximum(fitted, least).sum())
    return [
        f"{milliseconds:g}",
        str(least),
        f"{np.mean(seconds <= limit):.1%}",
        f"{np.mean(seconds <= _GRACE * limit):.1%}",
        f"{blamed / len(seconds):.1%}" if least else "",
        f"{1e3 * np.median(seconds):.0f}",
        f"{1e3 * np.quantile(seconds, 0.95):.0f}",
        f"{np.mean(outcome.scored):.1f}",
        f"{share:.0%}",
        f"{np.mean(outcome.quality):.4f}",
    ]


def draw(path: Path, curves: Mapping[str, list[tuple[float, float]]], fused: float) -> bool:
    """Draw quality against latency; False where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for label, points in curves.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=label)
    axes.axhline(fused, linestyle=":", color="grey", label="fused order, not reranked")
    axes.set_xlabel("median latency of reranking, ms")
    axes.set_ylabel("nDCG@10")
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return True


def main() -> None:
    """Run every budget, idle and busy, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of the sets")
    parser.add_argument("--sets", nargs="+", default=["scifact", "ctxcode"])
    parser.add_argument("--reranker", help="a folder or hub name; the small model of the package by default")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--budgets", type=float, nargs="+", default=[25, 50, 100, 200, 400], help="milliseconds")
    parser.add_argument("--every", type=int, default=10, help="for every so many queries, try what would have fitted")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 is one a core")
    parser.add_argument("--plot", type=Path, default=Path(__file__).with_name("budget.png"))
    arguments = parser.parse_args()
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    encoder = BgeM3Encoder.tiny()
    found = [list(load_queries(arguments.data / name, encoder)) for name in arguments.sets]
    mixed = [query for turn in zip_longest(*found) for query in turn if query is not None]
    queries = [mixed[i % len(mixed)] for i in range(arguments.queries)]
    reranker: Reranker = CrossEncoderReranker(arguments.reranker) if arguments.reranker else CrossEncoderReranker.tiny()
    fused = float(np.mean([query.ndcg(range(len(query.candidates))) for query in queries]))
    header = ["budget, ms", "at least", "in time", "within 10 % more", "late by the least alone"]
    header += ["median ms", "95 % ms", "scored", "of what fitted", "nDCG@10"]
    bodies, curves = [], {}
    for name, busy in (("idle", False), ("other core busy", True)):
        rows, points = [], []
        with other_core(busy):
            for least in _LEAST:
                for milliseconds in [each for each in arguments.budgets if each <= _SMALL or not least]:
                    outcome = ask(reranker, queries, milliseconds, arguments.every, least)
                    rows.append(line(milliseconds, outcome, least))
                    print(name, *rows[-1], flush=True)
                    if not least:
                        points.append((1e3 * float(np.median(outcome.seconds)), float(np.mean(outcome.quality))))
        bodies.append(f"{name[0].upper()}{name[1:]}:\n\n{table(header, rows)}")
        curves[name] = points
    whole = RerankStage(reranker)
    begin = time.perf_counter()
    orders = [[item.position for item in whole.rank(q.text, q.candidates)] for q in queries[: len(mixed)]]
    mean = 1e3 * (time.perf_counter() - begin) / len(orders)
    best = float(np.mean([q.ndcg(order) for q, order in zip(queries, orders, strict=False)]))
    note = f"{hardware()}. {len(queries)} queries of {', '.join(arguments.sets)}, {_MOST} candidates each, reranked by "
    note += f"{reranker.name!r}. `min_candidates` of them, at least so many, are scored whatever the budget; it is 3 "
    note += "unless said otherwise. Each line begins with nothing learned. nDCG@10 is "
    note += f"{fused:.4f} of the fused order and {best:.4f} with all candidates scored "
    note += f"({mean:.0f} ms on average)."
    if draw(arguments.plot, curves, fused):
        bodies.append(f"![nDCG@10 against latency]({arguments.plot.name})")
    else:
        print("matplotlib is not installed: no plot", file=sys.stderr)
    write_section("Reranking under a latency budget", "\n\n".join([note, *bodies]))


if __name__ == "__main__":
    main()
