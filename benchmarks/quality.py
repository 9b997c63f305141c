"""What the systems find on public sets: published figures again, and what fusion and reranking change."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import huggingface_hub

from hybrid_core import (
    BgeM3Encoder,
    Bm25,
    CrossEncoderReranker,
    FunctionEncoder,
    HybridIndex,
    SentenceTransformerEncoder,
)
from hybrid_core.encoders.base import Encoder
from hybrid_core.encoders.sparse_sides.words import Words
from hybrid_core.evaluation import Comparison, Evaluation, EvaluationSet, System, evaluate, named_systems, read_set

from .measure import hardware, table, write_section

_SCIFACT = "scifact"
_OURS = ("xquad_en", "xquad_zh", "xquad_zh2en", "xquad_en2zh", "cmrc2018_dev")
_METRICS = ("nDCG@10", "R@10", "RR")
_BM25 = 0.677  # Lucene-like, k1 .9 and b .4, English stop words, Porter, measured elsewhere on these files
_BM25_PYSERINI = 0.6789  # "flat", in Pyserini's BEIR table
_BM25_WITHIN = 0.01
_PUBLISHED = {  # nDCG@10 on SciFact in MTEB's results
    "sentence-transformers/all-MiniLM-L6-v2": 0.6451,
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": 0.4849,
    "BAAI/bge-m3": 0.6437,
}
_PUBLISHED_WITHIN = 0.005
_FIRST = ("dense", "sparse", "rrf", "weighted")
_FUSED = (("dense", "rrf"), ("sparse", "rrf"), ("rrf", "weighted"))


def run(dataset: EvaluationSet, encoder: Encoder, systems: Sequence[System]) -> Evaluation:
    """Index a set in a passing folder and evaluate systems over it."""
    with tempfile.TemporaryDirectory() as folder, HybridIndex.open(folder, encoder=encoder) as index:
        index.add(dataset.corpus)
        return evaluate(index, dataset, systems, metrics=_METRICS)


def bm25(dataset: EvaluationSet, *, k1: float, b: float, average_length: float | None = None) -> Evaluation:
    """Evaluate BM25 alone.

    Args:
        dataset: the set.
        k1: as in `Bm25`.
        b: as in `Bm25`.
        average_length: as in `Bm25`; None is the corpus's own.
    """
    if average_length is None:
        words = Words("english")
        average_length = sum(len(words.terms(passage.text)) for passage in dataset.corpus) / len(dataset.corpus)
    side = Bm25(k1=k1, b=b, average_length=average_length)
    encoder = FunctionEncoder("none", lambda texts: [[1.0] for _ in texts], lambda text: [1.0], sparse=side)
    return run(dataset, encoder, [System(repr(side), mode="sparse", candidates=100)])


def on_this_machine(model: str) -> bool:
    """Return whether the hub's cache holds a checkpoint."""
    return isinstance(huggingface_hub.try_to_load_from_cache(model, "config.json"), str)


def sampled(dataset: EvaluationSet, most: int) -> EvaluationSet:
    """Return a set with at most so many of its questions, evenly taken; 0 leaves it as it is."""
    step = -(-len(dataset.queries) // most) if most else 1
    chosen = list(dataset.queries)[::step]
    queries, qrels = ({id_: values[id_] for id_ in chosen} for values in (dataset.queries, dataset.qrels))
    return replace(dataset, queries=queries, qrels=qrels)


def with_interval(found: Evaluation, system: str) -> list[str]:
    """Return the cells of a system: nDCG@10 with its interval, and the other metrics."""
    result = found.system(system)
    low, high = result.intervals["nDCG@10"]
    return [f"{result.means['nDCG@10']:.4f} [{low:.3f}, {high:.3f}]", *(f"{result.means[m]:.4f}" for m in _METRICS[1:])]


def difference(found: Comparison) -> list[str]:
    """Return the cells of a comparison."""
    low, high = found.interval
    counts = f"{len(found.wins)} / {found.ties} / {len(found.losses)}"
    p_value = f"{found.p_value:.4f}" if found.p_value >= 0.0002 else "< 0.0002"
    return [f"{found.difference:+.4f} [{low:+.3f}, {high:+.3f}]", p_value, counts]


def reproductions(dataset: EvaluationSet) -> str:
    """Return published figures beside ours, on SciFact."""
    rows = []
    missing = []
    own = bm25(dataset, k1=0.9, b=0.4)
    ours = own.systems[0].means["nDCG@10"]
    verdict = "yes" if abs(ours - _BM25) <= _BM25_WITHIN else "NO"
    published = f"{_BM25:.3f}, and {_BM25_PYSERINI:.4f} of Pyserini"
    rows.append(
        [own.systems[0].name, published, *with_interval(own, own.systems[0].name), f"{verdict}, {_BM25_WITHIN}"]
    )
    usual = bm25(dataset, k1=1.2, b=0.75, average_length=256)
    rows.append([f"{usual.systems[0].name}, the default", "", *with_interval(usual, usual.systems[0].name), ""])
    for model, figure in _PUBLISHED.items():
        if not on_this_machine(model):
            missing.append(model)
            continue
        found = run(dataset, SentenceTransformerEncoder(model, sparse=Bm25()), [System(model, mode="dense")])
        close = abs(found.systems[0].means["nDCG@10"] - figure) <= _PUBLISHED_WITHIN
        verdict = f"{'yes' if close else 'NO'}, {_PUBLISHED_WITHIN}"
        rows.append([model, f"{figure:.4f} MTEB", *with_interval(found, model), verdict])
    body = table(["SciFact", "published nDCG@10", "ours", "R@10", "MRR", "within"], rows)
    if len(missing) == len(_PUBLISHED):
        note = (
            f"NOT REPRODUCED: no sentence-transformers checkpoint is on this machine (looked for {', '.join(missing)})."
        )
        print(f"\n{note}\n", file=sys.stderr)
        return f"{body}\n\n{note}"
    return f"{body}\n\nNot on this machine: {', '.join(missing)}." if missing else body


def small_models(sets: Sequence[EvaluationSet], most: int) -> str:
    """Return what the small models find, and what fusion and reranking change."""
    encoder, reranker = BgeM3Encoder.tiny(), CrossEncoderReranker.tiny()
    systems = named_systems([*_FIRST, "rrf+rerank"], encoder=encoder, reranker=reranker)
    figures, changes = [], []
    for dataset in sets:
        words = bm25(dataset, k1=0.9, b=0.4)
        with tempfile.TemporaryDirectory() as folder, HybridIndex.open(folder, encoder=encoder) as index:
            index.add(dataset.corpus)
            found = evaluate(index, dataset, systems[:-1], metrics=_METRICS)
            some = evaluate(index, sampled(dataset, most), systems[-3:], metrics=_METRICS)
        label = f"{dataset.name} ({len(dataset.corpus):,} / {len(dataset.queries):,})"
        figures.append([label, "BM25 (k1 .9, b .4)", *with_interval(words, words.systems[0].name)])
        figures += [[label, name, *with_interval(found, name)] for name in _FIRST]
        changes += [[label, f"{old} to {new}", *difference(found.compare(old, new))] for old, new in _FUSED]
        of_some = f"{dataset.name} ({len(some.queries):,} of the questions)"
        changes.append([of_some, "rrf to rrf+rerank", *difference(some.compare("rrf", "rrf+rerank"))])
        print(*(" | ".join(row) for row in [*figures[-5:], *changes[-4:]]), sep="\n", flush=True)
    of_each = table(["set (passages / questions)", "system", "nDCG@10", "R@10", "MRR"], figures)
    heads = ["set (passages / questions)", "change", "nDCG@10", "p", "better / same / worse"]
    return f"The small models:\n\n{of_each}\n\nWhat fusion and reranking change:\n\n{table(heads, changes)}"


def report(data: Path, most: int) -> str:
    """Return the section: what is there is measured, what is not is named."""
    there = {name: data / name for name in (_SCIFACT, *_OURS) if (data / name / "qrels.tsv").is_file()}
    parts = [
        f"{hardware()}.",
        "In brackets 95 % bootstrap intervals over the questions; p of the paired randomisation test. Each side "
        "recalls 50 passages, and the fused 50 are reranked.",
    ]
    absent = [name for name in (_SCIFACT, *_OURS) if name not in there]
    if absent:
        parts.append(f"NOT MEASURED, for these sets were not there: {', '.join(absent)}.")
        print(f"\n{parts[-1]}\n", file=sys.stderr)
    if _SCIFACT in there:
        parts.append(reproductions(read_set(there[_SCIFACT])))
    sets = [read_set(there[name]) for name in _OURS if name in there]
    if sets:
        parts.append(small_models(sets, most))
    return "\n\n".join(parts)


def main() -> None:
    """Measure what is there and write it down as it comes out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of the sets")
    parser.add_argument("--sample", type=int, default=100, help="rerank about this many questions a set; 0 is all")
    arguments = parser.parse_args()
    write_section("Quality", report(arguments.data, arguments.sample))


if __name__ == "__main__":
    main()
