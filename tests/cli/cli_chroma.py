"""Chroma folders as users have them, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings

from hybrid_core import BgeM3Encoder, HybridIndex, Passage
from hybrid_core.types import FloatArray

QUESTION = "how does a child component hand data to its parent?"


def corpus() -> list[Passage]:
    """Passages of the demo, in both languages, with metadata of each kind that Chroma takes."""
    rows = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [Passage(**json.loads(row)) for row in rows[::3]]
    kinds = ({"number": 3, "share": 0.25}, {"open": True, "tags": ["a", "b"]}, {"number": -1, "open": False})
    return [
        Passage(passage.id, passage.text, dict(sorted({**passage.metadata, **kinds[i % 3]}.items())))
        for i, passage in enumerate(passages)
    ]


@contextmanager
def client(folder: Path) -> Iterator[Any]:
    """A client that is closed at the end, as by an application that ends in peace."""
    opened = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    try:
        yield opened
    finally:
        opened.close()


def write_collection(
    folder: Path,
    passages: Sequence[Passage],
    dense: FloatArray,
    name: str = "docs",
    *,
    space: str = "l2",
    sync: int = 1000,
) -> Path:
    """Write a collection with plain chromadb.

    Args:
        sync: HNSW files are written each time this many entries were added; the rest stays in Chroma's log.
    """
    with client(folder) as opened:
        hnsw = {"space": space, "sync_threshold": sync, "batch_size": min(sync, 100)}
        collection = opened.create_collection(name, embedding_function=None, configuration={"hnsw": hnsw})
        step = min(sync, 500)
        for start in range(0, len(passages), step):
            part = passages[start : start + step]
            collection.add(
                ids=[passage.id for passage in part],
                documents=[passage.text for passage in part],
                metadatas=[dict(passage.metadata) or None for passage in part],
                embeddings=dense[start : start + step],
            )
    return folder


def stored_by_chroma(folder: Path, name: str = "docs") -> dict[str, bytes]:
    """The vectors as Chroma returns them, by id."""
    with client(folder) as opened:
        found = opened.get_collection(name, embedding_function=None).get(include=["embeddings"])
    rows = np.asarray(found["embeddings"], dtype=np.float32)
    return {id_: row.tobytes() for id_, row in zip(found["ids"], rows, strict=True)}


def stored_here(folder: Path, encoder: BgeM3Encoder) -> dict[str, bytes]:
    """The dense vectors of an index of distinct texts, by id."""
    with HybridIndex.open(folder, encoder=encoder) as index:
        passages = [passage for passage in index.get(index.ids()) if passage]
        found, encoding = index.store.encodings([passage.text for passage in passages])
    assert found == list(range(len(passages)))
    assert encoding is not None
    return {passage.id: row.tobytes() for passage, row in zip(passages, encoding.dense, strict=True)}


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below a folder, with its time and content."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


def hnsw_file(folder: Path, name: str) -> Path:
    """One of the HNSW files of a folder with one collection."""
    [path] = folder.glob(f"*/{name}")
    return path


def encoded(encoder: BgeM3Encoder, passages: Sequence[Passage]) -> FloatArray:
    """The dense vectors that the encoder gives the passages."""
    return encoder.encode_documents([passage.text for passage in passages]).dense


def copy_of(folder: Path, target: Path) -> Path:
    """The files of a folder, in the state they are in."""
    for path in folder.rglob("*"):
        if path.is_file():
            (target / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(folder)).write_bytes(path.read_bytes())
    return target
