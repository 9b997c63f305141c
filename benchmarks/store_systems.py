"""The systems that `benchmarks.store` compares, behind the same few methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .store_exact import CANDIDATES, K
from .store_peers import Chroma, Milvus, Qdrant
from .vectors import DIMENSION, GROUP, VOCABULARY, Block, SparseRow


class System(Protocol):
    """A store with a folder of its own.

    Attributes:
        blocks: how many blocks of passages one `write` takes.
        sparse_side: whether it has one; `sparse` and `hybrid` are not called otherwise.
    """

    blocks: ClassVar[int]
    sparse_side: ClassVar[bool]

    def write(self, blocks: Sequence[Block]) -> None:
        """Write passages with texts, metadata and vectors."""
        ...

    def dense(self, vector: NDArray[np.float32], *, filtered: bool = False) -> list[int]:
        """Return the numbers of the 10 nearest; where filtered, of those whose group is `GROUP`."""
        ...

    def sparse(self, row: SparseRow) -> list[int]:
        """Return the numbers of the 10 best."""
        ...

    def hybrid(self, vector: NDArray[np.float32], row: SparseRow) -> list[int]:
        """Fuse 50 of either side that the filter allows, by reciprocal rank with k = 60, and read the 10 best texts."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class OfStore:
    """A store of ours: its two searches, our fusion, and a read of the texts, as `HybridIndex.search` does it.

    Args:
        store: any `hybrid_core.stores.base.Store`.
    """

    blocks: ClassVar[int] = 1  # as `HybridIndex.add` commits
    sparse_side: ClassVar[bool] = True

    def __init__(self, store: Any) -> None:
        from hybrid_core.filters import Eq
        from hybrid_core.fusion import ReciprocalRank
        from hybrid_core.types import SparseVector

        self.store = store
        self._filter = Eq("group", GROUP)
        self._fusion = ReciprocalRank()
        self._sparse_vector = SparseVector

    def write(self, blocks: Sequence[Block]) -> None:
        """Upsert by the thousand: on disk when the call returns."""
        from hybrid_core.types import Encoding, Passage

        for block in blocks:
            rows = zip(block.numbers, block.texts, block.metadatas, strict=True)
            passages = [Passage(str(number), text, metadata) for number, text, metadata in rows]
            self.store.upsert(passages, Encoding(block.vectors.dense, block.vectors.matrix()))

    def dense(self, vector: NDArray[np.float32], *, filtered: bool = False) -> list[int]:
        """Search one side."""
        return [int(item.id) for item in self.store.search_dense(vector, K, self._filter if filtered else None)]

    def sparse(self, row: SparseRow) -> list[int]:
        """Search the other."""
        return [int(item.id) for item in self.store.search_sparse(self._sparse_vector(*row), K)]

    def hybrid(self, vector: NDArray[np.float32], row: SparseRow) -> list[int]:
        """Search both, fuse, and read."""
        dense = self.store.search_dense(vector, CANDIDATES, self._filter)
        sparse = self.store.search_sparse(self._sparse_vector(*row), CANDIDATES, self._filter)
        ids = [item.id for item in self._fusion({"dense": dense, "sparse": sparse})[:K]]
        found = self.store.get(ids)
        return [int(found[id_].id) for id_ in ids]

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def embedded_store(folder: Path) -> Any:
    """Open the store that is measured."""
    from hybrid_core.stores.embedded import EmbeddedStore

    return EmbeddedStore(folder, _fingerprint())


def open_system(name: str, folder: Path) -> System:
    """Open a system by name, made if its folder is empty; what it needs is imported only now."""
    match name:
        case "ours":
            return OfStore(embedded_store(folder))
        case "chroma":
            return Chroma(folder)
        case "qdrant":
            return Qdrant(folder)
        case "milvus":
            return Milvus(folder)
        case "our qdrant":
            from hybrid_core.stores.qdrant import QdrantStore

            return OfStore(QdrantStore(folder, _fingerprint()))
        case "our milvus":
            from hybrid_core.stores.milvus import MilvusStore

            return OfStore(MilvusStore(folder, _fingerprint(), timeout=600))
    raise ValueError(name)


def _fingerprint() -> Any:
    from hybrid_core.types import Fingerprint

    return Fingerprint("made-up vectors", "0", DIMENSION, VOCABULARY, "cls", 8_192)
