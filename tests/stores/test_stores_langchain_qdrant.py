"""Collections that langchain-qdrant made, taken over by QdrantStore, and what langchain-qdrant finds in them after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agreement import put
from fake_qdrant import FakeQdrant
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings
from langchain_qdrant import SparseVector as TheirSparseVector
from vectors import FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import AllOf, Eq, Gte, Passage, StorageError, TextMatch
from hybrid_core.stores.qdrant import QdrantNames, QdrantStore

TEXTS = [f"text number {i}" for i in range(70)]  # more than one of their batches
METADATA = [{"n": i, "tags": ["a", i], "title": f"Chapter {i}"} for i in range(70)]


class Dense(Embeddings):
    """The vectors of `vectors.py`, to LangChain."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [dense_of(text).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return dense_of(text).tolist()


class Sparse(SparseEmbeddings):
    """The vectors of `vectors.py`, to langchain-qdrant."""

    def embed_documents(self, texts: list[str]) -> list[TheirSparseVector]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> TheirSparseVector:
        vector = sparse_of(text)
        return TheirSparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, fake_qdrant: FakeQdrant) -> Iterator[dict[str, Any]]:
    """Where the collection is, in langchain-qdrant's words."""
    if request.param == "folder":
        yield {"path": str(tmp_path / "theirs")}
    else:
        yield {"url": fake_qdrant.url, "check_compatibility": False, "timeout": 120}


@pytest.fixture
def theirs(place: dict[str, Any]) -> Iterator[Callable[..., QdrantVectorStore]]:
    """Makes or opens the collection with langchain-qdrant; a folder takes one client at a time."""
    opened: list[QdrantVectorStore] = []

    def build(texts: list[str] | None = None, **options: Any) -> QdrantVectorStore:
        settings = {
            "embedding": Dense(), "sparse_embedding": Sparse(), "retrieval_mode": RetrievalMode.HYBRID,
            "collection_name": "docs", **place, **options,
        }  # fmt: skip
        if texts is None:
            opened.append(QdrantVectorStore.from_existing_collection(**settings))
        else:
            opened.append(QdrantVectorStore.from_texts(texts, metadatas=METADATA, **settings))
        return opened[-1]

    yield build
    for one in opened:
        one.client.close()


def ours(place: dict[str, Any], names: QdrantNames, *, adopt: bool = True) -> QdrantStore:
    location = place.get("path") or place["url"]
    return QdrantStore(location, FINGERPRINT, collection="docs", names=names, adopt=adopt, timeout=120)


NAMED = {
    "vector_name": "v", "sparse_vector_name": "s", "content_payload_key": "body", "metadata_payload_key": "meta",
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "names"),
    [({}, QdrantNames.langchain()), (NAMED, QdrantNames("v", "s", "body", "meta"))],
    ids=["their names", "names of one's own"],
)
def test_their_collection_is_read_searched_and_written_by_ours(
    place: dict[str, Any], theirs: Callable[..., QdrantVectorStore], options: dict[str, str], names: QdrantNames
) -> None:
    theirs(TEXTS, **options).client.close()
    store = ours(place, names)
    assert store.count() == 70
    found = store.get(store.ids())
    assert {item.text: item.metadata for item in found.values()} == dict(zip(TEXTS, METADATA, strict=True))
    id_of = {item.text: id_ for id_, item in found.items()}

    best = store.search_dense(dense_of("text number 41"), 1)[0]
    assert best.id == id_of["text number 41"]
    assert best.score == pytest.approx(1.0)
    query = sparse_of("text number 41").as_dict()
    best = store.search_sparse(sparse_of("text number 41"), 1)[0]
    assert best.id == id_of["text number 41"]
    assert best.score == pytest.approx(sum(weight * weight for weight in query.values()))

    assert store.ids(Eq("n", 7)) == [id_of["text number 7"]]
    assert set(store.ids(Gte("n", 68))) == {id_of["text number 68"], id_of["text number 69"]}
    assert store.ids(AllOf("tags", ["a", 3])) == [id_of["text number 3"]]
    assert len(store.ids(TextMatch("title", "chapter 6"))) == 11

    put(store, [Passage(id_of["text number 0"], "rewritten", {"n": -1}), *passages(1, start=80)])
    assert store.delete([id_of["text number 1"]]) == 1
    store.close()

    again = theirs(**options)  # langchain-qdrant goes on reading
    assert again.client.count("docs").count == 70
    document = again.similarity_search("text number 80", k=1)[0]
    assert document.page_content == "text number 80"
    assert document.metadata["tags"] == ["t2", "u0"]
    assert again.similarity_search("rewritten", k=1)[0].metadata["n"] == -1


def test_their_collection_is_not_taken_over_unasked_and_one_without_sparse_vectors_never(
    place: dict[str, Any], theirs: Callable[..., QdrantVectorStore]
) -> None:
    theirs(TEXTS).client.close()
    with pytest.raises(StorageError, match="pass adopt=True"):
        ours(place, QdrantNames.langchain(), adopt=False)
    theirs(TEXTS, retrieval_mode=RetrievalMode.DENSE, collection_name="docs2", force_recreate=True).client.close()
    location = place.get("path") or place["url"]
    with pytest.raises(StorageError, match=r"sparse vectors \[\].*index its texts anew"):
        QdrantStore(location, FINGERPRINT, collection="docs2", names=QdrantNames.langchain(), adopt=True)
