"""Passages in Qdrant: in memory, in a folder, on a server or in its cloud."""

from .points import QdrantNames
from .store import QdrantStore

__all__ = ["QdrantNames", "QdrantStore"]
