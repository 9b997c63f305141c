"""LlamaIndex nodes to passages and back, nothing lost on the way."""

from __future__ import annotations

import copy
import json
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from hybrid_core.checks import make_passage
from hybrid_core.errors import MetadataError
from hybrid_core.reasons import REASONS
from hybrid_core.types import PRIVATE_PREFIX, Hit, Metadata, Passage, public_metadata

DOCUMENT = PRIVATE_PREFIX + "document"  # the id of the document that a node was split from; its own where it is whole
_NODE = PRIVATE_PREFIX + "node"  # what a node holds beside text and metadata: relationships, templates, offsets


class _Metadata(dict[str, Any]):
    """Metadata whose printed form leaves the reasons out.

    LlamaIndex hashes a node's text and printed metadata, and its QueryFusionRetriever takes nodes with different hashes
    for different nodes: found by two queries, each with its own scores, a node must still be one.
    """

    def __repr__(self) -> str:
        return repr({key: value for key, value in self.items() if key not in REASONS})


def to_passage(node: BaseNode) -> Passage:
    """Return the node as a passage; its text without the metadata that LlamaIndex can put around it."""
    try:
        rest = node.model_dump(mode="json", exclude={"metadata", "embedding", "text", "text_resource"})
    except ValueError as error:  # such as an IndexNode that points to an object in memory
        raise MetadataError(f"node {node.node_id!r} holds what JSON cannot: {error}") from error
    own = {_NODE: {**rest, "class_name": node.class_name()}, DOCUMENT: node.ref_doc_id or node.node_id}
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return make_passage(text, node.node_id, {**node.metadata, **own}, f"node {node.node_id!r}")


def from_passage(passage: Passage, metadata: Metadata | None = None) -> BaseNode:
    """Return a passage as a new node of the class it came from; `metadata` takes the place of the passage's own."""
    shown = public_metadata(passage.metadata) if metadata is None else dict(metadata)
    kept: dict[str, Any] | None = passage.metadata.get(_NODE)
    if kept is None:
        return TextNode(id_=passage.id, text=passage.text, metadata=shown)
    content = json.dumps({**kept, "metadata": shown})
    return metadata_dict_to_node({"_node_content": content, "_node_type": kept["class_name"]}, passage.text)


def copied(node: BaseNode) -> BaseNode:
    """Return a node whose metadata can be changed without changing the given one's."""
    return node.model_copy(update={"metadata": copy.deepcopy(node.metadata)})


def to_node(hit: Hit) -> NodeWithScore:
    """Return a hit as a new node; the reasons in its metadata are kept out of its hash, prompts and embeddings."""
    node = from_passage(hit.passage, hit.annotated_metadata())
    for keys in (node.excluded_llm_metadata_keys, node.excluded_embed_metadata_keys):
        keys += [key for key in REASONS if key in node.metadata and key not in keys]
    node = node.model_copy(update={"metadata": _Metadata(node.metadata)})  # not validated, which would make it a dict
    return NodeWithScore(node=node, score=hit.score)
