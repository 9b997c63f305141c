"""The four questions asked of the held-out pages: each language of itself and of the other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """Queries, a pool, and which document of the pool answers each query.

    Attributes:
        name: such as "en-zh": English questions, Chinese sections.
        queries: headings, each behind the heading above it.
        documents: bodies of every held-out section of the pool's language, headings left out.
        targets: for each query the number of its section.
    """

    name: str
    queries: list[str]
    documents: list[str]
    targets: NDArray[np.int64]


def load_rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load_directions(work: Path, part: str = "held_out", *, ask: str = "query", skip: str = "") -> list[Direction]:
    """Return the directions that the corpus has.

    Args:
        work: the folder that `prepare` wrote.
        part: "held_out", or "train" for mining.
        ask: what is asked: "query" (the heading behind the one above it) or "heading".
        skip: leave out pages whose name starts with this.
    """
    rows = load_rows(work / "sections.jsonl")
    pools: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row[part] and not (skip and row["page"].startswith(skip)):
            pools.setdefault(row["language"], []).append(i)
    place = {i: k for pool in pools.values() for k, i in enumerate(pool)}
    found = []
    for language, pool in pools.items():
        headings = [rows[i][ask] for i in pool]
        bodies = [rows[i]["body"] for i in pool]
        found.append(Direction(f"{language}-{language}", headings, bodies, np.arange(len(pool))))
    pairs = [p for p in load_rows(work / "aligned.jsonl") if p["en"] in place and p["zh"] in place]
    for asker, answer in (("en", "zh"), ("zh", "en")):
        if pairs:
            headings = [rows[p[asker]][ask] for p in pairs]
            bodies = [rows[i]["body"] for i in pools[answer]]
            found.append(Direction(f"{asker}-{answer}", headings, bodies, np.array([place[p[answer]] for p in pairs])))
    return found
