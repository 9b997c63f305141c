"""LlamaIndex nodes to passages and back, nothing lost on the way."""

from __future__ import annotations

import copy
import json
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from hybrid_core.checks import make_passage
from hybrid_core.errors import MetadataError
from hybrid_core.types import BEST_WINDOW, PRIVATE_PREFIX, Hit, Passage

_NODE = PRIVATE_PREFIX + "node"  # what a node holds beside text and metadata: relationships, templates, offsets
_REASONS = ["relevance_score", "stage_scores", BEST_WINDOW]


def to_passage(node: BaseNode) -> Passage:
    """Return the node as a passage; its text without the metadata that LlamaIndex can put around it."""
    try:
        rest = node.model_dump(mode="json", exclude={"metadata", "embedding", "text", "text_resource"})
    except ValueError as error:  # such as an IndexNode that points to an object in memory
        raise MetadataError(f"node {node.node_id!r} holds what JSON cannot: {error}") from error
    metadata = {**node.metadata, _NODE: {**rest, "class_name": node.class_name()}}
    return make_passage(
        node.get_content(metadata_mode=MetadataMode.NONE), node.node_id, metadata, f"node {node.node_id!r}"
    )


def copied(node: BaseNode) -> BaseNode:
    """Return a node whose metadata can be changed without changing the given one's."""
    return node.model_copy(update={"metadata": copy.deepcopy(node.metadata)})


def to_node(hit: Hit) -> NodeWithScore:
    """Return a hit as a new node; the reasons in its metadata are kept out of prompts and embeddings."""
    kept: dict[str, Any] | None = hit.passage.metadata.get(_NODE)
    metadata = hit.annotated_metadata()
    node: BaseNode
    if kept is None:
        node = TextNode(id_=hit.passage.id, text=hit.passage.text, metadata=metadata)
    else:
        content = json.dumps({**kept, "metadata": metadata})
        node = metadata_dict_to_node({"_node_content": content, "_node_type": kept["class_name"]}, hit.passage.text)
    for keys in (node.excluded_llm_metadata_keys, node.excluded_embed_metadata_keys):
        keys += [key for key in _REASONS if key in metadata and key not in keys]
    return NodeWithScore(node=node, score=hit.score)
