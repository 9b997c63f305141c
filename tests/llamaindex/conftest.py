"""What the LlamaIndex tests share: a few nodes, and a recorder of LlamaIndex's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.schema import TextNode

from hybrid_core import BgeM3Encoder
from llamaindex_hybrid import HybridRetriever


@pytest.fixture
def nodes() -> list[TextNode]:
    """Six nodes in two languages."""
    rows = [
        ("queue", "A worker pulls tasks from the queue.", {"lang": "en", "tags": ["jobs", "queue"], "at": {"page": 3}}),
        ("retry", "A failed task is tried again, and the wait doubles.", {"lang": "en", "tags": ["jobs"]}),
        ("limit", "The gateway rejects requests over the limit.", {"lang": "en", "tags": []}),
        ("zh-worker", "工作节点从队列中拉取任务。", {"lang": "zh", "tags": ["jobs"]}),
        ("zh-limit", "网关在这里配置限流。", {"lang": "zh", "tags": []}),
        ("zh-chart", "图例显示在图表的右侧。", {"lang": "zh", "tags": ["charts"]}),
    ]
    return [TextNode(id_=id_, text=text, metadata=metadata) for id_, text, metadata in rows]


@pytest.fixture
def retriever(encoder: BgeM3Encoder, nodes: list[TextNode]) -> HybridRetriever:
    """The six nodes in memory."""
    return HybridRetriever.from_nodes(nodes, encoder=encoder)


class _Handler(BaseEventHandler):
    seen: list[BaseEvent]

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.seen.append(event)


@pytest.fixture
def events() -> Iterator[list[BaseEvent]]:
    """The events that LlamaIndex dispatches during the test."""
    root, handler = get_dispatcher(), _Handler(seen=[])
    before = list(root.event_handlers)
    root.add_event_handler(handler)
    yield handler.seen
    root.event_handlers = before
