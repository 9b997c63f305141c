"""HybridIndex: the public face of the stages, which `ingest` joins for writing and `searching` for reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike

from .choosing import Selection
from .encoders.base import Encoder
from .errors import InvalidInputError
from .filter_parsing import parse_filter
from .filters import Filter
from .fusion import Fusion, ReciprocalRank
from .ingest import ingest, ingest_encoded
from .inputs import check_ids, pair_up
from .rerankers.base import Reranker
from .rerankers.budget import Budget
from .rerankers.stage import RerankStage
from .searching import Request, answer, check_part, explained, find, stage_of
from .settings import CANDIDATES, Settings, said
from .settings import K as TOP_N
from .stores.base import Store
from .types import DenseType, Encoding, Hit, Metadata, Mode, Passage, SparseVector
from .vector_checks import check_dense, check_sparse


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
        self,
        store: Store,
        *,
        encoder: Encoder,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
        settings: Settings | str | Path | None = None,
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
        self._stage: RerankStage | None = None
        self.settings = _read_settings(settings, reranker)
        self.fusion = said(fusion, self.settings.fusion, ReciprocalRank())

    @classmethod
    def open(
        cls,
        path: str | Path | None,
        *,
        encoder: Encoder,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
        settings: Settings | str | Path | None = None,
        dense_dtype: DenseType | None = None,
    ) -> Self:
        """Open the index in a folder, made if missing.

        Args:
            path: the folder; None keeps everything in memory.
            encoder: the model; an index can only be opened with the one it was built with.
            reranker: scores the candidates again; None leaves the fused order.
            fusion: how dense and sparse are joined; None is the settings' way, else reciprocal rank fusion with k = 60.
            settings: what a search takes where it says nothing: Settings, or the path of a file of `bge-hybrid tune`.
            dense_dtype: how a folder keeps its dense vectors: "float32", or "float16" for half the size and about three
                digits; None takes what the index has, float32 of a new one.

        Raises:
            ModelMismatchError: the index was built with another model; the message names both.
            InvalidInputError: a part is of the wrong kind, the settings cannot be read or need a reranker that is not
                there, or the index keeps its vectors in another type.
            IndexCorruptError, StorageError: the folder cannot be used.
        """
        check_part(encoder, Encoder, "encoder")
        for given, protocol, name in ((reranker, Reranker, "reranker"), (fusion, Fusion, "fusion")):
            if given is not None:
                check_part(given, protocol, name)
        settings = _read_settings(settings, reranker)
        store: Store
        if dense_dtype not in (None, "float32", "float16") or (path is None and dense_dtype == "float16"):
            raise InvalidInputError(f"dense_dtype={dense_dtype!r}: 'float32', or 'float16' for an index in a folder")
        if path is None:
            from .stores.memory import MemoryStore

            store = MemoryStore(encoder.fingerprint)
        else:
            from .stores.embedded import EmbeddedStore

            store = EmbeddedStore(path, encoder.fingerprint, dense_dtype=dense_dtype)
        return cls(store, encoder=encoder, reranker=reranker, fusion=fusion, settings=settings)

    def __enter__(self) -> Self:
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

        A list is checked as a whole before anything is written; a generator is read and checked by the thousand, in
        the caller's thread, at most three thousand ahead of what is committed. Each thousand is committed whole and in
        order, while the next is embedded. A passage that is there already, as it is, costs neither an embedding nor a
        write: so a call that was cut short is resumed by making it again. A text that is there under another id is
        written, but not embedded again.

        Args:
            texts: strings, or Passages, which carry their own id and metadata.
            ids: one a text; None derives each from text and metadata, so that adding the same again changes nothing.
            metadatas: one a text.
            show_progress: draw one progress bar over all passages.

        Returns:
            The ids, one a text given.

        Raises:
            InvalidTextError, MetadataError, DuplicateIdError, InvalidInputError: naming the text at fault.
            EmbeddingError, StorageError: from the thousand at fault on nothing is written; those before it are.
        """
        if isinstance(texts, (str, bytes, Passage)):
            raise InvalidInputError(f"texts is one {type(texts).__name__}: wrap it in a list")
        for name, given in (("ids", ids), ("metadatas", metadatas)):
            if isinstance(given, (str, bytes, dict)):
                raise InvalidInputError(f"{name} is one {type(given).__name__}: wrap it in a list")
            if given is not None and isinstance(texts, Sequence) and not isinstance(given, Sized):
                raise InvalidInputError(f"{name} is a {type(given).__name__}, and the texts are a list: pass a list")
            if given is not None and isinstance(texts, Sequence) and len(given) != len(texts):
                raise InvalidInputError(f"{len(texts)} texts but {len(given)} {name}; one a text is needed")
        passages = pair_up(texts, ids, metadatas)
        return self.upsert(list(passages) if isinstance(texts, Sequence) else passages, show_progress=show_progress)

    def upsert(
        self, passages: Iterable[Passage], *, encoding: Encoding | None = None, show_progress: bool = False
    ) -> list[str]:
        """Store Passages, replacing those with the same id; otherwise as `add`.

        Args:
            passages: with ids and metadata of their own.
            encoding: their vectors, if they are at hand: row i belongs to passage i. All passages are then written with
                these, changed or not; they must be what this index's encoder gives (`encode_documents`), since a text
                that comes again is given the vectors it has here.
            show_progress: draw one progress bar over all passages.

        Raises:
            InvalidInputError: the encoding does not fit the passages or the encoder; and what `add` raises.
        """
        if encoding is not None:
            return ingest_encoded(self.store, self.encoder.fingerprint, passages, encoding)
        return ingest(self.store, self.encoder, passages, show_progress=show_progress)

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
        k: int | None = None,
        candidates: int | None = None,
        filter: Filter | dict[str, Any] | None = None,
        mode: Mode = "hybrid",
        *,
        rerank: bool | None = None,
        fusion: Fusion | None = None,
        budget: Budget | None = None,
        min_score: float | None = None,
        instruction: str | None = None,
        selection: Selection | None = None,
    ) -> list[Hit]:
        """Find the passages that answer a query best.

        Where k, candidates, rerank, fusion, budget or min_score is None, the index's settings decide; where they say
        nothing, the default.

        Args:
            query: a question or keywords.
            k: how many hits (TopN); 5 by default.
            candidates: how many each side recalls, and how many of the fused list are reranked (TopK); 50 by default,
                at least k.
            filter: only passages whose metadata satisfies it; a filter object or its dict form.
            mode: "hybrid", or one side alone.
            rerank: False leaves the index's reranker out; True by default.
            fusion: how dense and sparse are joined this time; the index's way by default.
            budget: how long reranking may take; what there is no time for stays below the rest, in the fused order.
            min_score: leaves out what the reranker gave less, and what it did not score.
            instruction: in words, what makes a passage relevant, for a reranker that takes one.
            selection: chooses the hits from all ranked candidates: without near-duplicates, diverse, so many of one
                document; None takes the best. Of few `candidates` fewer than k may remain.

        Returns:
            At most k hits, best first; with a selection for diversity, in the order of choice. "sparse" finds only
            passages that share a token with the query.

        Raises:
            InvalidInputError: k or candidates is negative, the mode unknown, the selection none, or budget, min_score
                or instruction given without a reranker that takes it.
            InvalidTextError, FilterError: the query or the filter cannot be read.
        """
        stage = self._stage_if(rerank)
        request = self._request(k, candidates, filter, fusion, budget, min_score, instruction, selection, stage)
        return answer(self.store, self.encoder, stage, query, request, mode)[0]

    def explain(
        self,
        query: str,
        k: int | None = None,
        candidates: int | None = None,
        filter: Filter | dict[str, Any] | None = None,
        mode: Mode = "hybrid",
        *,
        rerank: bool | None = None,
        fusion: Fusion | None = None,
        budget: Budget | None = None,
        min_score: float | None = None,
        instruction: str | None = None,
        selection: Selection | None = None,
    ) -> list[Hit]:
        """Search, and add to each hit the tokens it shares with the query; arguments as in `search`.

        The scores of `Hit.matches` add up exactly to the hit's sparse score.
        """
        stage = self._stage_if(rerank)
        request = self._request(k, candidates, filter, fusion, budget, min_score, instruction, selection, stage)
        hits, sparse = answer(self.store, self.encoder, stage, query, request, mode)
        return explained(self.store, self.encoder, sparse, hits) if sparse is not None and hits else hits

    def search_vectors(
        self,
        dense: ArrayLike | None = None,
        sparse: SparseVector | None = None,
        *,
        k: int | None = None,
        candidates: int | None = None,
        filter: Filter | dict[str, Any] | None = None,
        fusion: Fusion | None = None,
    ) -> list[Hit]:
        """Find the passages nearest to a query's vectors, where these are at hand; nothing is embedded or reranked.

        Args:
            dense: (d,) of the encoder's dimension. Scores are inner products; a vector of unit length, as the encoder
                gives, makes them cosines.
            sparse: over the encoder's vocabulary, weights > 0. With both, the two lists are fused.
            k: how many hits; as in `search`.
            candidates: how many each side recalls; as in `search`.
            filter: only passages whose metadata satisfies it; a filter object or its dict form.
            fusion: how dense and sparse are joined; as in `search`.

        Returns:
            At most k hits, best first.

        Raises:
            InvalidInputError: no vector, or one that is not the encoder's kind or not finite; and as in `search`.
            FilterError: the filter cannot be read.
        """
        request = self._request(k, candidates, filter, fusion)
        if dense is None and sparse is None:
            raise InvalidInputError("search_vectors needs a dense vector, a sparse one, or both")
        made_by = self.encoder.fingerprint
        row = None if dense is None else check_dense(dense, made_by)
        tokens = None if sparse is None else check_sparse(sparse, made_by)
        return find(self.store, request, row, tokens, most=request.k)

    def optimize(self) -> None:
        """Prepare the store for fast search over many passages, where it has such a step."""
        optimize = getattr(self.store, "optimize", None)
        if optimize is not None:
            optimize()

    def compact(self) -> int:
        """Give back the space of deleted and replaced passages; return how many there were.

        Raises:
            InvalidInputError: the store looks after its space itself.
        """
        return int(self._maintain("compact")())

    def backup(self, folder: str | Path) -> int:
        """Copy the index, as of now, to a new folder, which opens on any machine; return the number of passages.

        Searches and writes may go on meanwhile. The folder appears when the copy is whole.

        Raises:
            StorageError: there is something at that path already, or it cannot be written.
            IndexCorruptError: the index is damaged.
            InvalidInputError: the store is a database with backups of its own, or in memory.
        """
        return int(self._maintain("backup")(folder))

    def _maintain(self, step: str) -> Callable[..., Any]:
        method: Callable[..., Any] | None = getattr(self.store, step, None)
        if method is None:
            raise InvalidInputError(f"{self.store!r} has no {step} of ours; an index in a folder has")
        return method

    def _request(
        self,
        k: int | None,
        candidates: int | None,
        filter: Filter | dict[str, Any] | None,
        fusion: Fusion | None,
        budget: Budget | None = None,
        min_score: float | None = None,
        instruction: str | None = None,
        selection: Selection | None = None,
        stage: RerankStage | None = None,
    ) -> Request:
        own = self.settings
        most, depth = said(k, own.k, TOP_N), said(candidates, own.candidates, CANDIDATES)
        request = Request.read(most, depth, filter, self.fusion if fusion is None else fusion)
        if stage is not None:  # what the settings say of reranking is for searches that rerank
            budget, min_score = said(budget, own.budget, None), said(min_score, own.min_score, None)
        return replace(request, budget=budget, min_score=min_score, instruction=instruction, selection=selection)

    def _stage_if(self, rerank: bool | None) -> RerankStage | None:
        """Return what reranks, if anything does."""
        if self.reranker is None or not said(rerank, self.settings.rerank, True):
            return None
        stage = self._stage = stage_of(self.reranker, self._stage)
        return stage


def _read_settings(given: Settings | str | Path | None, reranker: Reranker | None) -> Settings:
    settings = Settings.read(given)
    if reranker is None and settings.needs_reranker:
        raise InvalidInputError(
            "the settings have a budget or a min_score for a reranker, and there is none; give the one that they were "
            "chosen with"
        )
    return settings
