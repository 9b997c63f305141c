"""What LlamaIndex's Chroma store puts into metadata, taken apart again.

It writes a node as JSON into `_node_content`, its class into `_node_type`, its metadata beside these, and the id of the
document it was split from three times over. Here the metadata comes out as the user gave it, and the rest of the node
goes where `llamaindex_hybrid` keeps it, so that its retriever returns the node with its relationships.
"""

from __future__ import annotations

import json
from typing import Any

from ..types import PRIVATE_PREFIX, Metadata

_NODE = PRIVATE_PREFIX + "node"  # both as in llamaindex_hybrid.nodes
_DOCUMENT = PRIVATE_PREFIX + "document"
_CONTENT, _TYPE = "_node_content", "_node_type"
_DOCUMENT_IDS = ("document_id", "doc_id", "ref_doc_id")
_ELSEWHERE = ("metadata", "embedding", "text", "text_resource")  # parts of a node that a passage has of its own
_SOURCE = "1"  # NodeRelationship.SOURCE: the document that the node was split from


def clean_metadata(metadata: Metadata | None) -> dict[str, Any]:
    """Return the metadata of a Chroma entry as its user gave it, with a LlamaIndex node's other parts kept aside.

    Chroma returns keys in no order, so they are sorted: the same entry is the same passage each time. NaN and infinite
    numbers in a node become None, as JSON has none of them; Chroma itself drops them.

    Args:
        metadata: as Chroma returned it; what is no node's is returned as it is.
    """
    given = dict(sorted((metadata or {}).items()))
    node = _parse(given.get(_CONTENT))
    if node is None:
        return given
    rest = {key: value for key, value in node.items() if key not in _ELSEWHERE}
    kept = {**rest, "class_name": given.get(_TYPE, node.get("class_name"))}
    source = _document_id(node)
    document = source or node.get("id_")
    own = {_NODE: kept, **({_DOCUMENT: document} if isinstance(document, str) else {})}
    return {**_merge(node["metadata"], given, source), **own}


def _parse(content: object) -> dict[str, Any] | None:
    """Return the node, None for what LlamaIndex has not written."""
    if not isinstance(content, str):
        return None
    try:
        node = json.loads(content, parse_constant=lambda _: None)
    except ValueError:
        return None
    return node if isinstance(node, dict) and isinstance(node.get("metadata"), dict) else None


def _merge(own: dict[str, Any], given: dict[str, Any], document_id: object) -> dict[str, Any]:
    """Return the node's metadata, with what was changed or added in Chroma since.

    Args:
        own: in the node.
        given: beside the node; LlamaIndex writes "" there for None.
        document_id: what stands there three times over, unless the user changed it.
    """
    merged = dict(own)
    for key, value in given.items():
        if key in (_CONTENT, _TYPE) or (key in _DOCUMENT_IDS and value in (document_id, "None")):
            continue
        if key not in own or (value != own[key] and not (own[key] is None and value == "")):
            merged[key] = value
    return merged


def _document_id(node: dict[str, Any]) -> object:
    relationships = node.get("relationships")
    source = relationships.get(_SOURCE) if isinstance(relationships, dict) else None
    return source.get("node_id") if isinstance(source, dict) else None
