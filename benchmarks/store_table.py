"""The table and the notes of `benchmarks.store`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Measures = Mapping[str, Any]

NAMES = {
    "ours": "ours (EmbeddedStore)",
    "folded": "ours after optimize()",
    "chroma": "Chroma, embedded",
    "qdrant": "Qdrant, local mode",
    "milvus": "Milvus Lite",
}


def rows(columns: Mapping[str, Measures]) -> tuple[list[str], list[list[str]]]:
    """Return the table's head, and a line for each measure that some system has."""
    lines: list[tuple[str, str, Callable[[Any], str]]] = [
        ("passages", "count", "{:,}".format),
        ("ingest, vectors/s until searchable", "per_second", "{:,.0f}".format),
        ("closing after it, s", "close", "{:.2f}".format),
        ("optimize(), s", "fold", "{:,.1f}".format),
        ("sparse k=10, p50 / p95 ms", "sparse", _latency),
        ("sparse recall@10 against exact", "sparse_recall", "{:.3f}".format),
        ("dense k=10, p50 / p95 ms", "dense", _latency),
        ("dense recall@10 against exact", "dense_recall", "{:.3f}".format),
        ("dense k=10 with a filter for 5 %, p50 / p95 ms", "dense_of_group", _latency),
        ("hybrid k=10 of 50 + 50 with that filter, p50 / p95 ms", "hybrid", _latency),
        ("its ten best equal to the exact ones", "hybrid_agreement", "{:.3f}".format),
        ("open to the first dense answer, s", "open_dense", "{:.2f}".format),
        ("open to the first answer of both sides, s", "open_both", "{:.2f}".format),
        ("open until HNSW answers, exact before, s", "open_view", "{:.2f}".format),
        ("memory after the queries, own + pages of files, MB", "memory", _memory),
        ("disk, of vectors + text", "disk_ratio", "{:.2f}".format),
        ("truth alone", "truth_ratio", "{:.2f}".format),
        ("sparse view", "sparse_ratio", "{:.2f}".format),
        ("Chroma's view of the dense vectors", "dense_ratio", "{:.2f}".format),
        ("one write, p50 / p95 ms", "write", _latency),
        ("until another process sees it, p50 / p95 ms", "seen", _latency),
    ]
    every = {name: _with_ratios(measures, columns) for name, measures in columns.items()}
    names = [name for name in NAMES if name in every]
    body = []
    for title, key, written in lines:
        cells = [written(every[name][key]) if key in every[name] else "" for name in names]
        if any(cells):
            body.append([title, *cells])
    return ["", *(NAMES[name] for name in names)], body


def agreements(columns: Mapping[str, Measures], names: Mapping[str, str]) -> list[str]:
    """Return, for each system that was asked, the share of the filtered ten best that are the right ones.

    Args:
        columns: as for `rows`.
        names: what was asked, where that is another class than the one that was timed.
    """
    return [f"{names[name]} {columns[name]['agreement']:.3f}" for name in names if "agreement" in columns.get(name, {})]


def ended(columns: Mapping[str, Measures]) -> list[str]:
    """Return what did not come to its end, and how."""
    return [f"{NAMES[name]} {measures['ended']}" for name, measures in columns.items() if "ended" in measures]


def _with_ratios(measures: Measures, columns: Mapping[str, Measures]) -> dict[str, Any]:
    given = measures.get("given") or columns.get("ours", {}).get("given")
    disk = measures.get("disk")
    if not disk or not given:
        return dict(measures)
    ratios = {"disk_ratio": sum(disk.values()) / given}
    for part, key in (("truth", "truth_ratio"), ("sparse view", "sparse_ratio"), ("dense view", "dense_ratio")):
        if disk.get(part):
            ratios[key] = disk[part] / given
    return {**measures, **ratios}


def _latency(measure: Measures) -> str:
    text = f"{_ms(measure['p50'])} / {_ms(measure['p95'])}"
    return text if measure["asked"] == measure["of"] else f"{text} (of {measure['asked']} queries)"


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _memory(measure: Measures) -> str:
    return f"{measure['own']:,.0f} + {measure['files']:,.0f}"
