"""The demo's corpus and questions, over which both frameworks are compared."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from hybrid_core import Passage


def read(name: str) -> list[dict[str, Any]]:
    text = (files("hybrid_core") / "demo" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def corpus() -> list[Passage]:
    """Sections of documentation, half English, half Chinese."""
    return [Passage(**row) for row in read("corpus.jsonl")]


@pytest.fixture(scope="session")
def questions(corpus: list[Passage]) -> list[str]:
    """Fifty: the demo's ten, then headings of the corpus, English and Chinese by turns."""
    asked = [row["question"] for row in read("questions.jsonl")]
    by_language = [[p.metadata["title"] for p in corpus if p.metadata["lang"] == lang] for lang in ("en", "zh")]
    headings = [title for pair in zip(*by_language, strict=False) for title in pair]
    return [*asked, *headings][:50]
