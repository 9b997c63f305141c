"""Texts of mixed length from the demo's corpus."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

QUERY = "How many times is a failed background job tried again?"


def passages(count: int, *, median: int = 60, spread: float = 0.75, longest: int = 512, seed: int = 0) -> list[str]:
    """Return distinct texts whose lengths in words are log-normal: most are short, some are long."""
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    words = " ".join(row["text"] for row in rows if row["metadata"]["lang"] == "en").split()
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(np.log(median), spread, count).astype(int), 8, longest)
    starts = random.integers(0, len(words), count)
    return [" ".join(np.take(words, np.arange(s, s + n), mode="wrap")) for s, n in zip(starts, lengths, strict=True)]
