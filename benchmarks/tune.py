"""What tuning is worth: tuned on one half of a set's questions, measured on the other, beside the best in hindsight."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridIndex
from hybrid_core.evaluation import EvaluationSet, Tuning, measure, read_set, tune
from hybrid_core.evaluation.tuning.ranking import values, wanted
from hybrid_core.evaluation.tuning.recall import Recalled, recall
from hybrid_core.rerankers.base import Reranker
from hybrid_core.types import FloatArray, Scored

from .measure import hardware, table, write_section

_SETS = ("xquad_en", "xquad_zh", "xquad_zh2en", "cranfield", "scifact", "cmrc2018_dev")
_METRIC = "nDCG@10"
_BOUND = 0.01  # what tuning may be behind the best fixed setting
_DRAWS = 4_999


class Remembering:
    """A reranker that scores each pair once: here quality counts, not time."""

    def __init__(self, reranker: Reranker) -> None:
        self.name, self._reranker = reranker.name, reranker
        self._known: dict[tuple[str, str], float] = {}

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return float32 scores (n,)."""
        query = query.strip()  # `tune` times searches with white space added
        new = [text for text in dict.fromkeys(texts) if (query, text) not in self._known]
        if new:
            self._known.update(
                {(query, text): s for text, s in zip(new, self._reranker.score(query, new), strict=True)}
            )
        return np.array([self._known[query, text] for text in texts], dtype=np.float32)


class Half(NamedTuple):
    """One half tuned, the other measured: nDCG@10 there, and whether the lead of the best may be chance.

    Attributes:
        found: what tuning found.
        default: of the default.
        tuned: of searches with the settings found.
        best: of the setting that is best on these very questions.
        p_value: see `hindsight`.
    """

    found: Tuning
    default: float
    tuned: float
    best: float
    p_value: float

    @property
    def verdict(self) -> str:
        """Whether the claim holds."""
        if self.best - self.tuned <= _BOUND:
            return "within .01"
        return "noise" if self.p_value >= 0.05 else "behind"


def part(dataset: EvaluationSet, queries: Sequence[str]) -> EvaluationSet:
    """Return the set with some of its questions."""
    chosen = {query: dataset.queries[query] for query in queries}
    return EvaluationSet(dataset.name, dataset.corpus, chosen, {query: dataset.qrels[query] for query in queries})


def hindsight(own: NDArray[np.float64], figures: NDArray[np.float64]) -> float:
    """Return the p-value of the largest lead that any setting has over the tuned one.

    The best setting was picked because it leads, so the test picks too: signs of the queries' differences are exchanged
    at random, for all settings alike, and p is how often the largest mean is as large (max-T, Westfall and Young 1993).

    Args:
        own: (n,) figures of the tuned settings.
        figures: (settings, n).
    """
    differences = (figures - own).astype(np.float32)
    signs = np.random.default_rng(0).choice(np.float32([-1, 1]), size=(_DRAWS, len(own)))
    largest = (signs @ differences.T).max(axis=1)
    return float((1 + (largest >= differences.sum(axis=1).max() - 1e-6).sum()) / (1 + _DRAWS))


def try_half(index: HybridIndex, own: EvaluationSet, other: EvaluationSet, seed: int) -> Half:
    """Tune on one half, measure everything on the other."""
    found = tune(index, own, seed=seed)
    options = [trial.variant for trial in found.trials]
    texts = list(other.queries.values())
    recalled = Recalled.of(recall(index, texts, 100).lists, {query: other.qrels[query] for query in other.queries})
    if index.reranker is not None:
        recalled = recalled.scored(index, index.reranker, texts, wanted(recalled, options), show=False)
    figures = values(recalled, options, 10)
    opened = HybridIndex(index.store, encoder=index.encoder, reranker=index.reranker, settings=found.settings)
    run = {q: [Scored(hit.passage.id, hit.score) for hit in opened.search(text)] for q, text in other.queries.items()}
    measured = measure(run, other.qrels, [_METRIC])[_METRIC]
    tuned = np.array([measured[query] for query in other.queries])
    means = figures.mean(axis=1)
    return Half(found, float(means[0]), float(tuned.mean()), float(means.max()), hindsight(tuned, figures))


def main() -> None:
    """Tune on halves of every set and write down what that was worth on the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of the sets")
    parser.add_argument("--splits", type=int, default=2, help="ways to halve a set; each half is tuned on once")
    parser.add_argument("--rerank", default="xquad_en", help="the set to rerank too; 'none' for none")
    parser.add_argument("--sample", type=int, default=160, help="questions of that set")
    arguments = parser.parse_args()
    names = [name for name in _SETS if (arguments.data / name / "qrels.tsv").is_file()]
    for name in {*_SETS, *({arguments.rerank} - {"none"})} - set(names):
        print(f"SKIPPED: {name} is not in {arguments.data}", file=sys.stderr)
    if not names:
        raise SystemExit(1)
    encoder = BgeM3Encoder.tiny()
    rows: list[list[str]] = []
    plans = [(name, False) for name in names] + [(name, True) for name in names if name == arguments.rerank]
    for name, rerank in plans:
        whole = read_set(arguments.data / name)
        reranker = Remembering(CrossEncoderReranker.tiny()) if rerank else None
        with (
            tempfile.TemporaryDirectory() as folder,
            HybridIndex.open(folder, encoder=encoder, reranker=reranker) as index,
        ):
            index.upsert(whole.corpus)
            if rerank:
                order = np.random.default_rng(0).permutation(list(whole.queries)).tolist()
                whole = part(whole, order[: arguments.sample])
            rows.append(row(name + ", reranked" * rerank, index, whole, arguments.splits))
        write(rows, arguments.splits)


def write(rows: list[list[str]], splits: int) -> None:
    """Write down the sets that are done."""
    head = ["set", "tuned on", "default", "tuned", "best in hindsight", "behind (most)", "halves", "gain said", "taken"]
    note = (
        f"{hardware()}. The small models; {_METRIC}. Each set's questions are halved at random, {splits} times; `tune` "
        "sees one half, the figures are means over the other halves. *Default* is reciprocal rank fusion with k = 60 "
        "over 50 candidates; *tuned* are real searches with the settings that `tune` found; *best in hindsight* is the "
        "setting of the grid with the highest figure on the very questions that are measured. *Halves*: tuned is "
        "within .01 of that, or the lead is noise (p >= .05 of a randomisation test that picks the best as well), or "
        "tuned is behind. *Gain said*: what `tune` said of the gain over the default. *Taken*: the setting "
        "taken most often."
    )
    write_section("Tuning", f"{note}\n\n{table(head, rows)}")


def row(name: str, index: HybridIndex, whole: EvaluationSet, splits: int) -> list[str]:
    """Halve a set, tune on each half, and return a line of the table."""
    halves = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(list(whole.queries)).tolist()
        first, second = part(whole, order[: len(order) // 2]), part(whole, order[len(order) // 2 :])
        for own, other in ((first, second), (second, first)):
            half = try_half(index, own, other, seed)
            halves.append(half)
            print(
                f"{name}: {half.default:.4f} {half.tuned:.4f} {half.best:.4f} p={half.p_value:.3f} {half.verdict}; "
                f"{half.found.settings.min_score} k={half.found.settings.k} {half.found.reason}",
                flush=True,
            )
    default, tuned, best = (np.mean([getattr(half, what) for half in halves]) for what in ("default", "tuned", "best"))
    behind = [half.best - half.tuned for half in halves]
    said = Counter("noise" if half.found.noise else "real" for half in halves)
    chosen, count = Counter(str(half.found.taken.variant) for half in halves).most_common(1)[0]
    return [
        name,
        f"{len(whole.queries) // 2}",
        f"{default:.4f}",
        f"{tuned:.4f}",
        f"{best:.4f}",
        f"{np.mean(behind):.4f} ({max(behind):.4f})",
        ", ".join(f"{n} {what}" for what, n in Counter(half.verdict for half in halves).most_common()),
        ", ".join(f"{n} {what}" for what, n in said.most_common()),
        f"{chosen} ({count} of {len(halves)})",
    ]


if __name__ == "__main__":
    main()
