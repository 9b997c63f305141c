"""The store that needs no server: one SQLite file is the truth, the dense and the sparse view are derived from it."""

from .store import EmbeddedStore

__all__ = ["EmbeddedStore"]
