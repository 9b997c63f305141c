"""A reranker as a LlamaIndex node postprocessor."""

from __future__ import annotations

from llama_index.core import instrumentation
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from hybrid_core.choosing import Selection
from hybrid_core.encoders.base import Encoder
from hybrid_core.errors import InvalidInputError
from hybrid_core.given_passages import RERANK_OPTIONS, note_window, rank_given
from hybrid_core.rerankers.base import Reranker
from hybrid_core.rerankers.budget import Budget
from hybrid_core.rerankers.stage import Ranked, RerankStage
from hybrid_core.searching import stage_of
from hybrid_core.types import BEST_WINDOW

from .nodes import copied

dispatcher = instrumentation.get_dispatcher(__name__)  # type: ignore[attr-defined]  # missing in its __all__


class BgeReranker(BaseNodePostprocessor):
    """Keeps the nodes that a reranker scores highest; drops into any query engine as a node postprocessor.

    Returned nodes are new NodeWithScore values, with `best_window`, the characters [start, end) that earned the score,
    in their metadata where the text was read in windows; the ones passed in are left as they are. What a budget left
    out comes last, in the order it came in and with the score that it had. Fires LlamaIndex's rerank events at start
    and end, for empty input too.

    Attributes:
        reranker: a loaded reranker.
        top_n: how many nodes to keep.
        budget, min_score, instruction: as `RerankStage.rank` takes them.
        selection: chooses the top_n from all ranked nodes; None takes the best.
        encoder: gives the vectors for a selection that compares them.

    Example:
        >>> reranker = BgeReranker(reranker=LateInteractionReranker(BgeM3Encoder.tiny()), top_n=1)
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("网关限流。", "Workers pull tasks.")]
        >>> reranker.postprocess_nodes(nodes, query_str="what do workers do?")[0].text
        'Workers pull tasks.'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Reranker = Field(exclude=True)
    top_n: int = 5
    budget: Budget | None = None
    min_score: float | None = None
    instruction: str | None = None
    selection: Selection | None = None
    encoder: Encoder | None = Field(default=None, exclude=True)
    _stage: RerankStage | None = PrivateAttr(default=None)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex writes this class down."""
        return "BgeReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInputError("reranking needs the query: pass query_bundle or query_str")
        query, name = query_bundle.query_str, self.reranker.name
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.top_n, model_name=name))
        payload: dict[str, object] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            self._stage = stage_of(self.reranker, self._stage)
            given = [(item.node.get_content(metadata_mode=MetadataMode.NONE), item.node.metadata) for item in nodes]
            ranked = rank_given(self._stage, query, given, **{name: getattr(self, name) for name in RERANK_OPTIONS})
            best = [_scored(nodes[item.position], item) for item in ranked]
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best


def _scored(given: NodeWithScore, item: Ranked) -> NodeWithScore:
    node = copied(given.node)
    note_window(node.metadata, item)
    if item.window is not None:
        node.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, BEST_WINDOW]
        node.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, BEST_WINDOW]
    return NodeWithScore(node=node, score=given.score if item.score is None else item.score)
