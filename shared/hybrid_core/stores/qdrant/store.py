"""QdrantStore: opens a collection for one model, or makes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError, StorageError, require
from ...http.keys import Secret, SecretLike, check_key
from ...types import Fingerprint
from ..fingerprints import check_fingerprint
from ..remote.access import (
    INFO,
    check_collection,
    check_indexed,
    check_location,
    check_timeout,
    is_url,
    read_info,
    shown,
    write_info,
)
from ..remote.facts import range_paths
from ..remote.forks import keep_in_forks
from ..remote.store import RemoteStore
from .engine import QdrantEngine
from .errors import QdrantGuard
from .points import OWN, QdrantNames


class QdrantStore(RemoteStore):
    """Passages in a Qdrant collection; see `Store` for the methods and `RemoteStore` for how they keep their word.

    Each passage is a point under the UUID of its id, with a dense vector (inner product), a sparse one, and a payload:
    the text, the metadata as Qdrant can hold it (for your own queries and other programs), and under `bge_hybrid` the
    real id, the metadata exactly as it was given, and what filters ask for. The model's fingerprint is in the
    collection's metadata, so a server of 1.16 or newer is needed.

    Where the fingerprint's `sparse_weighting` is "idf", sparse vectors have Qdrant's `Modifier.IDF`, and a sparse
    search first asks for the factors of its tokens. A server takes them from its segments: points that were deleted
    count until it rebuilds those. In memory and in a folder they are exact.

    Args:
        location: ":memory:"; a URL (port 6333 unless it names one); else a folder, made if missing. Memory and folder
            are qdrant-client's own local mode: one process, a few thousand passages. It keeps pickles in the folder,
            so open only folders you trust.
        fingerprint: of the encoder in use.
        collection: made if missing. One you made beforehand, empty, with your own settings, is used as it is.
        api_key: of the server; a str or anything with `get_secret_value()`. It is never shown.
        timeout: seconds to wait for an answer, rounded up to whole ones.
        names: of the vectors and the payload's entries.
        adopt: take over a collection that another program filled, such as langchain-qdrant in its hybrid mode; say so
            only if its vectors come from this very model. Its points are found under their point ids as text (UUIDs
            with their dashes), and replaced by `upsert`; the other program can go on reading.
        exact: scan instead of using the HNSW index.
        indexed: metadata keys that `Gt`, `Gte`, `Lt`, `Lte` are often asked of: a server indexes their values, also of
            what is there already. In strict mode, the rule in Qdrant Cloud, it refuses to compare others. All
            equalities are indexed anyway.

    Raises:
        InvalidInputError: the location is no address and no path, or an option cannot be what it is.
        ModelMismatchError: the collection holds vectors of another model.
        BackendUnavailableError: no server answers in time, or it refuses the key.
        IndexLockedError: another process, or another store here, has the folder open.
        StorageError: the collection is not one of ours, or cannot be used.
        MissingDependencyError: qdrant-client is not installed.

    Example:
        >>> with HybridIndex(QdrantStore(":memory:", encoder.fingerprint), encoder=encoder) as index:
        ...     ids = index.add(["A worker pulls tasks from the queue."])
    """

    def __init__(
        self,
        location: str | Path,
        fingerprint: Fingerprint,
        *,
        collection: str = "bge_hybrid",
        api_key: str | SecretLike | None = None,
        timeout: float = 10.0,
        names: QdrantNames | None = None,
        adopt: bool = False,
        exact: bool = False,
        indexed: Sequence[str] = (),
    ) -> None:
        location = check_location(location)
        names = names or QdrantNames()
        self._name = check_collection(collection, r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*")
        self._shown = shown(location)
        self._where = f"the collection {collection!r} in Qdrant at {self._shown}"
        key, timeout = check_key(api_key, "api_key"), math.ceil(check_timeout(timeout))
        indexed = check_indexed(indexed)
        remote = is_url(location)
        guard = QdrantGuard(f"Qdrant at {self._shown}", timeout)
        with ExitStack() as undo, guard:
            client = _connect(location, key, timeout)
            keep_in_forks(client)
            undo.callback(client.close)
            adopted = self._open(client, fingerprint, names, adopt)
            if remote:
                _index(client, collection, indexed)
            undo.pop_all()
        engine = QdrantEngine(client, collection, names, guard, adopted=adopted, exact=exact, local=not remote)
        super().__init__(engine, fingerprint, local=not remote)

    def __repr__(self) -> str:
        return f"QdrantStore({self._shown!r}, collection={self._name!r})"

    def _open(self, client: Any, fingerprint: Fingerprint, names: QdrantNames, adopt: bool) -> bool:
        """Check the collection's model, or claim the collection; return whether another program filled it."""
        if not client.collection_exists(self._name):
            return self._create(client, fingerprint, names)
        config = client.get_collection(self._name).config
        info = read_info((config.metadata or {}).get(INFO), self._where)
        if info is not None and not info["fingerprint"].differences(fingerprint):
            self._check_vectors(config.params, fingerprint, names)
            return bool(info.get("adopted"))
        if client.count(self._name, exact=True).count:
            if info is not None:
                check_fingerprint(self._where, info["fingerprint"], fingerprint, "collection")
            if not adopt:
                raise StorageError(
                    f"{self._where} holds points, but not of which model; pass adopt=True if {fingerprint.model!r} "
                    "made its vectors, or name another collection"
                )
            self._check_vectors(config.params, fingerprint, names)
            self._claim(client, fingerprint, adopted=True)
            return True
        if info is not None and not _same_shape(info["fingerprint"], fingerprint):
            client.delete_collection(self._name)  # ours, empty, and made for vectors of another kind
            return self._create(client, fingerprint, names)
        self._check_vectors(config.params, fingerprint, names)
        self._claim(client, fingerprint, adopted=False)
        return False

    def _create(self, client: Any, fingerprint: Fingerprint, names: QdrantNames) -> bool:
        models = require("qdrant_client.models", "qdrant")
        refused = require("qdrant_client.http.exceptions", "qdrant").UnexpectedResponse
        dense = models.VectorParams(size=fingerprint.dimension, distance=models.Distance.DOT)
        sparse = models.SparseVectorParams(modifier=_modifier(fingerprint))
        try:
            client.create_collection(
                self._name, vectors_config={names.dense: dense}, sparse_vectors_config={names.sparse: sparse}
            )
        except refused as error:
            if error.status_code != 409:
                raise
            return self._open(client, fingerprint, names, adopt=False)  # another process was quicker
        self._claim(client, fingerprint, adopted=False)
        return False

    def _claim(self, client: Any, fingerprint: Fingerprint, *, adopted: bool) -> None:
        text = write_info(fingerprint, adopted=adopted)
        client.update_collection(self._name, metadata={INFO: text})
        if (client.get_collection(self._name).config.metadata or {}).get(INFO) != text:
            raise StorageError(f"{self._where} does not keep the model's fingerprint; Qdrant 1.16 or newer is needed")

    def _check_vectors(self, params: Any, fingerprint: Fingerprint, names: QdrantNames) -> None:
        dense = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors}
        there = dense.get(names.dense)
        if there is None or names.sparse not in (params.sparse_vectors or {}):
            raise StorageError(
                f"{self._where} has dense vectors {sorted(dense)} and sparse vectors "
                f"{sorted(params.sparse_vectors or {})}, not {names.dense!r} and {names.sparse!r}; pass names=, or "
                "index its texts anew in another collection where it lacks one of the two"
            )
        if there.size != fingerprint.dimension or str(there.distance.value) not in ("Dot", "Cosine"):
            raise StorageError(
                f"{self._where} has vectors of {there.size} numbers under {there.distance.value}; "
                f"{fingerprint.dimension} under Dot or Cosine are needed"
            )
        modifier, needed = params.sparse_vectors[names.sparse].modifier, _modifier(fingerprint)
        if (modifier or "none") != (needed or "none"):
            raise StorageError(
                f"{self._where} has sparse vectors with the modifier {_shown(modifier)}; {_shown(needed)} is needed "
                f"for sparse_weighting={fingerprint.sparse_weighting!r}: make it with that, or name another one"
            )


def _modifier(fingerprint: Fingerprint) -> Any:
    """Return what Qdrant does to a query's sparse weights: its `Modifier.IDF` is the formula of `Store.weigh`."""
    modifier = require("qdrant_client.models", "qdrant").Modifier
    return modifier.IDF if fingerprint.sparse_weighting == "idf" else None


def _shown(modifier: Any) -> str:
    return str(modifier.value) if modifier else "none"


def _same_shape(a: Fingerprint, b: Fingerprint) -> bool:
    return (a.dimension, a.sparse_weighting) == (b.dimension, b.sparse_weighting)


def _connect(location: str, key: Secret | None, timeout: int) -> Any:
    client = require("qdrant_client", "qdrant").QdrantClient
    if location == ":memory:":
        return client(location)
    if not is_url(location):
        return client(path=location, force_disable_check_same_thread=True)  # our lock lets one thread in
    if not location.startswith(("http://", "https://")):
        raise InvalidInputError(f"location={shown(location)!r}: a URL starts with http:// or https://")
    secret = None if key is None else key.get_secret_value()
    return client(url=location, api_key=secret, timeout=timeout, check_compatibility=False)


def _index(client: Any, collection: str, keys: Sequence[str]) -> None:
    """Have the server index what filters ask for; where it does already, a key that may only read will do."""
    kinds = require("qdrant_client.models", "qdrant").PayloadSchemaType
    wanted = dict.fromkeys((f"{OWN}.{name}" for name in ("id", "text_hash", "facts")), kinds.KEYWORD)
    for key in keys:
        wanted |= dict.fromkeys((f"{OWN}.orders.{path}" for path in range_paths(key)), kinds.FLOAT)
    there = client.get_collection(collection).payload_schema or {}
    for field in wanted.keys() - there.keys():
        client.create_payload_index(collection, field, field_schema=wanted[field], wait=True)
