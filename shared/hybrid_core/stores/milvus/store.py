"""MilvusStore: opens a collection for one model, or makes it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError, StorageError, require
from ...http.keys import SecretLike, check_key
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
from ..remote.forks import keep_in_forks
from ..remote.store import RemoteStore
from .engine import MilvusEngine
from .entities import indexes, range_indexes, schema
from .errors import MilvusGuard

# gRPC shares what it knows of an address in a process, and waits up to two minutes before it tries one again
_CHANNEL = {"grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 1_000}
_SCHEMES = ("http://", "https://", "tcp://")


class MilvusStore(RemoteStore):
    """Passages in a Milvus collection; see `Store` for the methods and `RemoteStore` for how they keep their word.

    Each passage is an entity under the UUID of its id, with a dense vector (inner product), a sparse one, the text, the
    real id, the metadata as JSON text, and what filters ask for. VARCHAR holds 65,535 bytes: what is longer continues
    in an array. Reads are strongly consistent: what was written is found. A server should be of 2.6.10 or newer.

    Args:
        location: a URL; else the folder of a Milvus Lite database, made if missing: one process, some ten thousand
            passages. Lite runs in this process and listens on a port of 127.0.0.1, without a password.
        fingerprint: of the encoder in use.
        collection: made if missing.
        token: of the server, "user:password" or an API key; a str or anything with `get_secret_value()`. It is never
            shown.
        database: on the server; its default one if empty.
        timeout: seconds to wait for an answer.
        exact: make a new collection with a FLAT index of the dense vectors instead of the server's own choice
            (AUTOINDEX, approximate). On Milvus Lite it is always FLAT, on Zilliz Cloud never.
        indexed: metadata keys that `Gt`, `Gte`, `Lt`, `Lte` are often asked of: a server indexes their values, also of
            what is there already, in the background. All equalities are indexed anyway; Lite has no such indexes.

    Raises:
        InvalidInputError: the fingerprint asks for inverse document frequencies, which Milvus does not keep of sparse
            vectors; the location is no address and no path; or an option cannot be what it is.
        ModelMismatchError: the collection holds vectors of another model.
        BackendUnavailableError: no server answers in time, or it refuses the token.
        IndexLockedError: another process, or another store here, has the folder open.
        StorageError: the collection is not one of ours, or cannot be used.
        MissingDependencyError: pymilvus or milvus-lite is not installed.

    Example:
        >>> with HybridIndex(MilvusStore("my-index", encoder.fingerprint), encoder=encoder) as index:
        ...     ids = index.add(["A worker pulls tasks from the queue."])
    """

    def __init__(
        self,
        location: str | Path,
        fingerprint: Fingerprint,
        *,
        collection: str = "bge_hybrid",
        token: str | SecretLike | None = None,
        database: str = "",
        timeout: float = 10.0,
        exact: bool = False,
        indexed: Sequence[str] = (),
    ) -> None:
        if fingerprint.sparse_weighting == "idf":
            raise InvalidInputError(
                f"the sparse side {fingerprint.sparse!r} is weighed by inverse document frequencies, which Milvus does "
                "not tell of sparse vectors; use EmbeddedStore or QdrantStore, or a sparse side with weights of its "
                "own (Splade, BGE-M3)"
            )
        location = check_location(location)
        if is_url(location) and not location.startswith(_SCHEMES):
            raise InvalidInputError(f"location={shown(location)!r}: a URL starts with one of {', '.join(_SCHEMES)}")
        self._name = check_collection(collection, r"[A-Za-z_][A-Za-z0-9_]{0,254}")
        self._shown = shown(location)
        self._where = f"the collection {collection!r} in Milvus at {self._shown}"
        self._timeout = check_timeout(timeout)
        key = check_key(token, "token")
        indexed = check_indexed(indexed)
        guard = MilvusGuard(f"Milvus at {self._shown}", self._timeout)
        with ExitStack() as undo, guard:
            uri, stop = (location, None) if is_url(location) else _start_lite(Path(location))
            if stop is not None:
                undo.callback(stop)
            client = require("pymilvus", "milvus").MilvusClient(
                uri,
                token="" if key is None else key.get_secret_value(),
                db_name=database,
                timeout=self._timeout,
                dedicated=True,
                grpc_options=_CHANNEL,
            )
            keep_in_forks(client)
            undo.callback(client.close)
            # Lite may also be served under a URL (`milvus-lite server`)
            lite = str(client.get_server_version(timeout=self._timeout)).startswith("milvus_lite")
            self._open(client, fingerprint, lite=lite, exact=exact or lite)
            if indexed and not lite:
                _index(client, self._name, indexed, self._timeout)
            undo.pop_all()
        engine = MilvusEngine(
            client, collection, guard, vocabulary=fingerprint.vocabulary, timeout=self._timeout, lite=lite, stop=stop
        )
        super().__init__(engine, fingerprint, local=lite)

    def __repr__(self) -> str:
        return f"MilvusStore({self._shown!r}, collection={self._name!r})"

    def _open(self, client: Any, fingerprint: Fingerprint, *, lite: bool, exact: bool) -> None:
        """Check the collection's model, or make the collection."""
        if client.has_collection(self._name, timeout=self._timeout):
            there = client.describe_collection(self._name, timeout=self._timeout)
            # a server keeps the description, Lite the properties
            info = read_info(there.get("properties", {}).get(INFO) or there.get("description"), self._where)
            if info is None:
                raise StorageError(f"{self._where} was not made by bge-hybrid; name another collection")
            self._load(client, lite=lite, exact=exact)
            if not info["fingerprint"].differences(fingerprint):
                return
            if client.query(self._name, output_fields=["count(*)"], timeout=self._timeout)[0]["count(*)"]:
                check_fingerprint(self._where, info["fingerprint"], fingerprint, "collection")
            client.drop_collection(self._name, timeout=self._timeout)  # empty: it may be another model's
        text = write_info(fingerprint)
        client.create_collection(
            self._name,
            schema=schema(fingerprint.dimension, text),
            consistency_level="Strong",
            timeout=self._timeout,
            **({"properties": {INFO: text}} if lite else {}),
        )
        self._load(client, lite=lite, exact=exact)

    def _load(self, client: Any, *, lite: bool, exact: bool) -> None:
        """Make the collection searchable; one whose maker was killed may lack some of its indexes."""
        wanted = indexes(client.list_indexes(self._name, timeout=self._timeout), lite=lite, exact=exact)
        if wanted:
            # pymilvus waits in half seconds for each index; Lite has them at once
            client.create_index(self._name, wanted, timeout=self._timeout, sync=not lite)
        client.load_collection(self._name, timeout=self._timeout)


def _index(client: Any, collection: str, keys: Sequence[str], timeout: float) -> None:
    """Have the server index what ranges ask for, as far as it does not yet; a token that may only read will do then."""
    wanted = range_indexes(client.list_indexes(collection, timeout=timeout), keys)
    if wanted:
        client.create_index(collection, wanted, timeout=timeout, sync=False)


def _start_lite(folder: Path) -> tuple[str, Any]:
    """Start Milvus Lite on a folder; return its address, and what stops it, which also happens when Python ends."""
    require("milvus_lite", "milvus")
    if folder.is_file():
        raise StorageError(f"{folder} is a file; Milvus Lite keeps its database in a folder, name another path")
    servers = require("milvus_lite.adapter.grpc.server", "milvus")
    folder.parent.mkdir(parents=True, exist_ok=True)
    server, database, port = servers.start_server_in_thread(str(folder.resolve()), host="127.0.0.1")
    return f"http://127.0.0.1:{port}", weakref.finalize(server, _stop_lite, os.getpid(), server.stop, database)


def _stop_lite(process: int, stop: Any, database: Any) -> None:
    if process == os.getpid():  # a fork has copies, not the threads
        stop(grace=2).wait(2)
        database.close()
