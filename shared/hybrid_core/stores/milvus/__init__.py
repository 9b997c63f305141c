"""Passages in Milvus: a Milvus Lite folder, a server or Zilliz Cloud."""

from .store import MilvusStore

__all__ = ["MilvusStore"]
