"""A corpus large enough that the embedded store asks HNSW, and its exact answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from vectors import FINGERPRINT

from hybrid_core import Encoding, Passage, SparseVector
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.scoring import sparse_matrix

ROWS, DIMENSION = 6_000, 16  # more than the store searches exactly, and more than Chroma takes in one call
MODEL = replace(FINGERPRINT, dimension=DIMENSION)


def unit(seed: int, n: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


CORPUS, QUERIES = unit(1, ROWS), unit(2, 50)


def write(store: EmbeddedStore, ids: Sequence[int], vectors: np.ndarray) -> None:
    items = [Passage(f"p{i:05d}", f"text {i}", {"n": i, "most": i % 12 != 0}) for i in ids]
    store.upsert(items, Encoding(vectors, sparse_matrix([SparseVector.from_dict({i % 64: 1.0}) for i in ids], 64)))


def exact(vectors: dict[str, np.ndarray], query: np.ndarray, k: int) -> list[str]:
    ids = sorted(vectors)
    scores = np.stack([vectors[id_] for id_ in ids]).astype(float) @ query.astype(float)
    return [ids[i] for i in np.argsort(-scores, kind="stable")[:k]]


def truth(changes: dict[str, np.ndarray | None] | None = None) -> dict[str, np.ndarray]:
    """Every vector by id, after changes; None deletes."""
    vectors = {f"p{i:05d}": CORPUS[i] for i in range(ROWS)} | (changes or {})
    return {id_: vector for id_, vector in vectors.items() if vector is not None}


def recall(store: EmbeddedStore, vectors: dict[str, np.ndarray], k: int = 10) -> float:
    found = [{hit.id for hit in store.search_dense(query, k)} & set(exact(vectors, query, k)) for query in QUERIES]
    return sum(map(len, found)) / (k * len(QUERIES))


def assert_exact(store: EmbeddedStore, vectors: dict[str, np.ndarray]) -> None:
    for query in QUERIES[:5]:
        assert [hit.id for hit in store.search_dense(query, 10)] == exact(vectors, query, 10)


def run_python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that may crash, in a process of its own, with the folder as its argument."""
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def hnsw_rows(store: EmbeddedStore) -> int:
    """How many rows the HNSW index in use has; it is opened by the first search that could do with it."""
    store.search_dense(QUERIES[0], 1)
    store._dense.wait()
    store.search_dense(QUERIES[0], 1)
    return int(store._dense._collection.count())
