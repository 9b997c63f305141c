"""A Chroma collection, read page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..checks import check_text
from ..errors import InvalidInputError, StorageError
from ..types import FloatArray, Passage
from .nodes import clean_metadata
from .snapshot import Snapshot, open_client
from .vector_reader import PAGE
from .vectors import read_page, read_vectors

_URI = "chroma:uri"  # the name under which Chroma keeps it; no user's key can begin so


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Consecutive entries of a collection.

    Attributes:
        passages: those that have a document.
        dense: their stored vectors (n, d) float32; None unless asked for.
        without_text: ids of entries that hold a vector but no document.
    """

    passages: list[Passage]
    dense: FloatArray | None
    without_text: list[str]


class ChromaCollection:
    """The entries of a collection, as plain chromadb, LangChain's or LlamaIndex's Chroma store wrote them.

    The folder is copied once and never opened, so it stays as it is, and what is read does not change. A context
    manager; until it is closed the copy takes up disk space (in the system's temporary folder, see TMPDIR).

    Args:
        path: the folder that Chroma wrote.
        name: of the collection.
        vectors: read the stored vectors too.

    Raises:
        InvalidInputError: no such folder, no Chroma folder, no such collection, or an empty one.
        StorageError: the folder is damaged, is being written to, or its vectors cannot be read.

    Example:
        >>> with ChromaCollection("chroma", "docs") as collection:
        ...     texts = [passage.text for page in collection.pages() for passage in page.passages]
    """

    def __init__(self, path: str | Path, name: str, *, vectors: bool = False) -> None:
        self.name = check_text(name, "name of the collection")
        self.path = Path(path)
        self._client: Any = None
        self._snapshot = Snapshot(self.path, name, vectors=vectors)
        self._vectors = self._snapshot.root / "vectors" if vectors else None
        try:
            if self._vectors is not None:
                read_vectors(self._snapshot.folder, name, self._vectors)
                self._snapshot.forget_vectors()
            try:
                self._client = open_client(self._snapshot.folder)
                # an embedding function is not needed to read, and may be one that cannot be made here
                self._collection: Any = self._client.get_collection(name, embedding_function=None)
                self._count = int(self._collection.count())
            except Exception as error:  # Chroma raises many kinds, and each means the same here
                raise self._unreadable(error) from error
            if not self._count:
                raise InvalidInputError(f"collection {name!r} in {path} is empty; there is nothing to import")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ChromaCollection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ChromaCollection({str(self.path)!r}, {self.name!r})"

    def __len__(self) -> int:
        """Return the number of entries, those without a document included."""
        return self._count

    @property
    def has_vectors(self) -> bool:
        """Whether pages hold the stored vectors."""
        return self._vectors is not None

    def pages(self) -> Iterator[Page]:
        """Yield all entries in the order they were added, a thousand at a time."""
        for number, offset in enumerate(range(0, self._count, PAGE)):
            try:
                found = self._collection.get(limit=PAGE, offset=offset, include=["documents", "metadatas", "uris"])
            except Exception as error:  # as above
                raise self._unreadable(error) from error
            yield self._page(number, found)

    def close(self) -> None:
        """Delete the copy; may be called twice."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._snapshot.close()

    def _page(self, number: int, found: Any) -> Page:
        ids: list[str] = found["ids"]
        with_text = [row for row, text in enumerate(found["documents"]) if text is not None]
        passages = []
        for row in with_text:
            metadata = clean_metadata(found["metadatas"][row])
            if found["uris"][row] is not None:
                metadata[_URI] = found["uris"][row]
            passages.append(Passage(ids[row], found["documents"][row], metadata))
        dense = None if self._vectors is None else read_page(self._vectors, number, ids)[with_text]
        texts = set(with_text)
        return Page(passages, dense, [id_ for row, id_ in enumerate(ids) if row not in texts])

    def _unreadable(self, error: Exception) -> StorageError:
        return StorageError(
            f"collection {self.name!r} in {self.path} cannot be read by the installed chromadb: {error}"
        )
