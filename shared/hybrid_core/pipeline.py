"""HybridIndex: the one file that joins the stages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .checks import check_count, check_mode, check_passages, check_text, encode_metadata
from .encoders.base import Encoder
from .errors import InvalidInputError
from .filter_parsing import parse_filter
from .filters import Filter
from .fusion import Fusion, ReciprocalRank
from .inputs import check_ids, pair_up
from .rerankers.base import Reranker, rank
from .stores.base import Store
from .types import Encoding, Hit, Metadata, Mode, Passage, Scored, SparseVector, StageScore, TokenMatch

logger = logging.getLogger(__name__)

_CHUNK = 1_000  # passages encoded and committed together: what a crash costs at most


class HybridIndex:
    """Passages in, reranked hits out.

    Open one with `HybridIndex.open`; it is a context manager. It may be used from several threads.

    Example:
        >>> with HybridIndex.open(None, encoder=BgeM3Encoder.tiny()) as index:
        ...     ids = index.add(["A worker pulls tasks from the queue.", "网关在这里配置限流。"], ids=["en", "zh"])
        ...     hits = index.search("how does a worker get tasks?", k=1)
        >>> hits[0].passage.id, sorted(hits[0].stages)
        ('en', ['dense', 'fused', 'sparse'])
    """

    def __init__(
        self, store: Store, *, encoder: Encoder, reranker: Reranker | None = None, fusion: Fusion | None = None
    ) -> None:
        there, needed = store.sparse_weighting, encoder.fingerprint.sparse_weighting
        if there != needed:
            raise InvalidInputError(
                f"{store!r} has sparse_weighting={there!r}, {encoder!r} needs {needed!r}; make the store with the "
                "encoder's own fingerprint"
            )
        self.store = store
        self.encoder = encoder
        self.reranker = reranker
        self.fusion = fusion or ReciprocalRank()

    @classmethod
    def open(
        cls,
        path: str | Path | None,
        *,
        encoder: Encoder,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
    ) -> HybridIndex:
        """Open the index in a folder, made if missing.

        Args:
            path: the folder; None keeps everything in memory.
            encoder: the model; an index can only be opened with the one it was built with.
            reranker: scores the candidates again; None leaves the fused order.
            fusion: how dense and sparse are joined; None is reciprocal rank fusion with k = 60.

        Raises:
            ModelMismatchError: the index was built with another model; the message names both.
            IndexCorruptError, StorageError: the folder cannot be used.
        """
        parts = ((encoder, Encoder, "encoder"), (reranker, Reranker, "reranker"), (fusion, Fusion, "fusion"))
        for given, protocol, name in parts:
            if not isinstance(given, protocol) and not (given is None and name != "encoder"):
                raise InvalidInputError(f"{name}={given!r:.80} is no {name}; pass an object, not a name")
        store: Store
        if path is None:
            from .stores.memory import MemoryStore

            store = MemoryStore(encoder.fingerprint)
        else:
            from .stores.embedded import EmbeddedStore

            store = EmbeddedStore(path, encoder.fingerprint)
        return cls(store, encoder=encoder, reranker=reranker, fusion=fusion)

    def __enter__(self) -> HybridIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"HybridIndex({self.store!r}, encoder={self.encoder!r}, reranker={self.reranker!r})"

    def close(self) -> None:
        """Let go of files; may be called twice."""
        self.store.close()

    def add(
        self,
        texts: Iterable[str | Passage],
        ids: Sequence[str] | None = None,
        metadatas: Sequence[Metadata] | None = None,
        *,
        show_progress: bool = False,
    ) -> list[str]:
        """Store texts, replacing passages with the same id.

        A list is checked as a whole before anything is written; a generator is read, checked and written by the
        thousand. A text that is already in the index, under whatever id, is not embedded again.

        Args:
            texts: strings, or Passages, which carry their own id and metadata.
            ids: one a text; None derives each from text and metadata, so that adding the same again changes nothing.
            metadatas: one a text.
            show_progress: draw a progress bar while encoding.

        Returns:
            The ids, one a text given.

        Raises:
            InvalidTextError, MetadataError, DuplicateIdError, InvalidInputError: naming the text at fault.
            EmbeddingError, StorageError: nothing of the current thousand is visible.
        """
        if isinstance(texts, (str, bytes, Passage)):
            raise InvalidInputError(f"texts is one {type(texts).__name__}: wrap it in a list")
        for name, given in (("ids", ids), ("metadatas", metadatas)):
            if isinstance(given, (str, bytes, dict)):
                raise InvalidInputError(f"{name} is one {type(given).__name__}: wrap it in a list")
            if given is not None and isinstance(texts, Sequence) and len(given) != len(texts):
                raise InvalidInputError(f"{len(texts)} texts but {len(given)} {name}; one a text is needed")
        passages = pair_up(texts, ids, metadatas)
        return self.upsert(list(passages) if isinstance(texts, Sequence) else passages, show_progress=show_progress)

    def upsert(self, passages: Iterable[Passage], *, show_progress: bool = False) -> list[str]:
        """Store Passages, replacing those with the same id; otherwise as `add`."""
        if isinstance(passages, Sequence):
            check_passages(passages)
        written: list[str] = []
        stream = iter(passages)
        while chunk := list(islice(stream, _CHUNK)):
            self._write(check_passages(chunk), show_progress)
            written += [passage.id for passage in chunk]
        return written

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter | dict[str, Any] | None = None) -> int:
        """Delete passages by id, or all that satisfy a filter.

        Returns:
            How many were there.

        Raises:
            InvalidInputError: neither, or both, of ids and filter.
        """
        if (ids is None) == (filter is None):
            raise InvalidInputError("delete takes either ids or a filter")
        if filter is not None:
            ids = self.store.ids(parse_filter(filter))
        return self.store.delete(check_ids(ids or []))

    def get(self, ids: Sequence[str]) -> list[Passage | None]:
        """Return the passages with these ids, None where there is none."""
        found = self.store.get(check_ids(ids))
        return [found.get(id_) for id_ in ids]

    def ids(self, *, filter: Filter | dict[str, Any] | None = None) -> list[str]:
        """Return the ids of all passages that satisfy a filter, oldest write first."""
        return self.store.ids(None if filter is None else parse_filter(filter))

    def __len__(self) -> int:
        return self.store.count()

    def search(
        self,
        query: str,
        k: int = 5,
        candidates: int = 50,
        filter: Filter | dict[str, Any] | None = None,
        mode: Mode = "hybrid",
    ) -> list[Hit]:
        """Find the passages that answer a query best.

        Args:
            query: a question or keywords.
            k: how many hits (TopN).
            candidates: how many each side recalls, and how many of the fused list are reranked (TopK); at least k.
            filter: only passages whose metadata satisfies it; a filter object or its dict form.
            mode: "hybrid", or one side alone.

        Returns:
            At most k hits, best first. "sparse" finds only passages that share a token with the query.

        Raises:
            InvalidInputError: k or candidates is negative, or the mode unknown.
            InvalidTextError, FilterError: the query or the filter cannot be read.
        """
        hits, _ = self._search(query, k, candidates, filter, mode)
        return hits

    def explain(
        self,
        query: str,
        k: int = 5,
        candidates: int = 50,
        filter: Filter | dict[str, Any] | None = None,
        mode: Mode = "hybrid",
    ) -> list[Hit]:
        """Search, and add to each hit the tokens it shares with the query; arguments as in `search`.

        The scores of `Hit.matches` add up exactly to the hit's sparse score.
        """
        hits, sparse = self._search(query, k, candidates, filter, mode)
        if sparse is None or not hits:
            return hits
        sparse = self.store.weigh(sparse)
        stored = self.store.sparse_vectors([hit.passage.id for hit in hits])
        # a passage that another thread deleted since the search keeps its stages, without the tokens
        return [
            replace(hit, matches=self._matches(sparse, stored[hit.passage.id])) if hit.passage.id in stored else hit
            for hit in hits
        ]

    def optimize(self) -> None:
        """Prepare the store for fast search over many passages, where it has such a step."""
        optimize = getattr(self.store, "optimize", None)
        if optimize is not None:
            optimize()

    def _search(
        self, query: str, k: int, candidates: int, filter: Filter | dict[str, Any] | None, mode: Mode
    ) -> tuple[list[Hit], SparseVector | None]:
        check_text(query, "query")
        check_count(k, "k")
        depth = max(k, check_count(candidates, "candidates"))
        check_mode(mode)
        expression = None if filter is None else parse_filter(filter)
        if k == 0:
            return [], None
        # a reranker on this very encoder will ask for the query's multi-vectors: the same pass gives them
        multi = getattr(self.reranker, "encoder", None) is self.encoder
        encoding = self.encoder.encode_queries([query], multi=multi)
        sparse = encoding.sparse_row(0)
        lists: dict[str, list[Scored]] = {}
        if mode != "sparse":
            lists["dense"] = self.store.search_dense(encoding.dense[0], depth, expression)
        if mode != "dense":
            sparse = self.store.weigh(sparse)  # once, so that what `explain` shows is what was searched with
            lists["sparse"] = self.store.search_sparse(sparse, depth, expression)
        final = lists.get("dense" if mode == "dense" else "sparse", [])
        if mode == "hybrid":
            final = lists["fused"] = self.fusion(lists)
        found = self.store.get([item.id for item in final[: depth if self.reranker else k]])
        # a passage that another thread deleted since the search is left out
        final = [item for item in final if item.id in found]
        if self.reranker:
            order = rank(self.reranker, query, [found[item.id].text for item in final])
            final = lists["reranked"] = [Scored(final[i].id, score) for i, score in order]
        return _hits(final[:k], lists, found), sparse

    def _matches(self, query: SparseVector, passage: SparseVector) -> tuple[TokenMatch, ...]:
        shared, in_query, in_passage = np.intersect1d(
            query.indices, passage.indices, assume_unique=True, return_indices=True
        )
        weights = zip(query.values[in_query].tolist(), passage.values[in_passage].tolist(), strict=True)
        tokens = self.encoder.tokens(shared.tolist())
        return tuple(TokenMatch(token, q, p, q * p) for token, (q, p) in zip(tokens, weights, strict=True))

    def _write(self, checked: list[tuple[Passage, str]], show_progress: bool) -> None:
        """Encode what is new and commit one chunk."""
        stored = self.store.get([passage.id for passage, _ in checked])
        changed = [
            passage
            for passage, metadata in checked
            if (old := stored.get(passage.id)) is None
            or old.text != passage.text
            or encode_metadata(old.metadata, "a stored passage") != metadata
        ]
        if not changed:
            return
        blank = [passage.id for passage in changed if not passage.text.strip()]
        if blank:
            logger.warning(
                "%d passages hold no text (first id: %r); stored, but hardly to be found", len(blank), blank[0]
            )
        self.store.upsert(changed, self._encode([passage.text for passage in changed], show_progress))

    def _encode(self, texts: list[str], show_progress: bool) -> Encoding:
        """Encode each distinct text that the store has no vectors of."""
        distinct = list(dict.fromkeys(texts))
        known, stored = self.store.encodings(distinct)
        fresh = sorted(set(range(len(distinct))) - set(known))
        parts = [] if stored is None else [stored]
        if fresh:
            new = self.encoder.encode_documents([distinct[i] for i in fresh], show_progress=show_progress)
            parts.append(new)
        row_of = {distinct[i]: row for row, i in enumerate(known + fresh)}
        return Encoding.join(parts).rows([row_of[text] for text in texts])


def _hits(final: list[Scored], lists: dict[str, list[Scored]], found: dict[str, Passage]) -> list[Hit]:
    stages = {
        name: {item.id: StageScore(item.score, rank) for rank, item in enumerate(ranked, start=1)}
        for name, ranked in lists.items()
    }
    return [
        Hit(found[id_], score, {name: ranks[id_] for name, ranks in stages.items() if id_ in ranks})
        for id_, score in final
    ]
