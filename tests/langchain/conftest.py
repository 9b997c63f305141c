"""What the LangChain tests share: a few documents, and an index that keeps them in memory or in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document

from hybrid_core import BgeM3Encoder, HybridIndex
from langchain_hybrid import HybridRetriever


@pytest.fixture
def documents() -> list[Document]:
    """Six documents: ids given, metadata nested and flat, two languages."""
    rows = [
        ("queue", "A worker pulls tasks from the queue.", {"lang": "en", "tags": ["jobs", "queue"], "at": {"page": 3}}),
        ("retry", "A failed task is tried again, and the wait doubles.", {"lang": "en", "tags": ["jobs"]}),
        ("limit", "The gateway rejects requests over the limit.", {"lang": "en", "tags": []}),
        ("zh-worker", "工作节点从队列中拉取任务。", {"lang": "zh", "tags": ["jobs"]}),
        ("zh-limit", "网关在这里配置限流。", {"lang": "zh", "tags": []}),
        ("zh-chart", "图例显示在图表的右侧。", {"lang": "zh", "tags": ["charts"]}),
    ]
    return [Document(page_content=text, metadata=metadata, id=id_) for id_, text, metadata in rows]


@pytest.fixture(params=["memory", "folder"])
def index(request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    """An empty index of either kind."""
    with HybridIndex.open(tmp_path / "index" if request.param == "folder" else None, encoder=encoder) as opened:
        yield opened


@pytest.fixture
def retriever(encoder: BgeM3Encoder, documents: list[Document]) -> HybridRetriever:
    """The six documents in memory."""
    return HybridRetriever.from_documents(documents, encoder=encoder)
