"""A whole system as a model of mteb: any mode, fusion and reranker over an index of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from ...encoders.base import Encoder
from ...errors import InvalidInputError
from ...pipeline import HybridIndex
from ...searching import check_part
from ...types import Passage, Scored
from ...vector_search import VectorQuery, Way
from ...vector_search import search as search_among
from ..running import run_systems
from ..systems import System
from .models import encoder_meta

if TYPE_CHECKING:
    from mteb.models import ModelMeta


class MtebSearch:
    """A system over an index of its own, any mode, fusion and reranker: mteb's `SearchProtocol`.

    What it finds for a retrieval task is what `run_systems` finds, at most `system.candidates` passages a query, in an
    order that mteb cannot change: of equal scores the later one is lowered to the next float32. So metrics deeper than
    that see no more; recall at 100 takes candidates=100. In a reranking task each query ranks the passages given for
    it, by the system's fusion, its one side or, where it has one, its reranker.

    Args:
        encoder: the model.
        system: how to search.
        folder: where indexes are kept, one a task, subset and split, so that a second run embeds nothing; None keeps
            each for one search, in a temporary folder.
        name: as of `MtebEncoder`; the system's settings are added.

    Raises:
        InvalidInputError, MissingDependencyError: as `MtebEncoder`.

    Example:
        >>> system = System("rrf+rerank", reranker=CrossEncoderReranker("BAAI/bge-reranker-v2-m3"), candidates=100)
        >>> model = MtebSearch(BgeM3Encoder("BAAI/bge-m3"), system)
        >>> result = mteb.evaluate(model, mteb.get_tasks(tasks=["SciFact"]))
    """

    def __init__(
        self, encoder: Encoder, system: System, *, folder: str | Path | None = None, name: str | None = None
    ) -> None:
        check_part(encoder, Encoder, "encoder")
        check_part(system, System, "system")
        self.encoder = encoder
        self.system = system
        self.folder = None if folder is None else Path(folder)
        settings = {name: value for name, value in system.settings().items() if value is not None}
        self.mteb_model_meta: ModelMeta = encoder_meta(name, encoder, system.mode, settings)
        self._open = ExitStack()
        self._index: HybridIndex | None = None

    def index(
        self, corpus: Iterable[Mapping[str, Any]], *, task_metadata: Any, hf_split: str, hf_subset: str, **options: Any
    ) -> None:
        """Index a corpus: rows with "id", "text" and maybe "title", which is put before the text.

        Args:
            corpus: the rows.
            task_metadata: has the `name` of the task.
            hf_split: the split.
            hf_subset: the subset.
            **options: has no effect, but for `show_progress_bar` in `encode_kwargs`.
        """
        self._index = None
        self._open.close()
        home = self.folder or Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        path = home.joinpath(*(quote(part, safe=" ") for part in (task_metadata.name, f"{hf_subset}-{hf_split}")))
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = HybridIndex.open(path, encoder=self.encoder, reranker=self.system.reranker, fusion=self.system.joins)
        self._open.enter_context(opened)
        progress = bool(options.get("encode_kwargs", {}).get("show_progress_bar", False))
        there = set(opened.upsert(map(_passage, corpus), show_progress=progress))
        opened.delete([id_ for id_ in opened.ids() if id_ not in there])  # of an earlier release of the task
        self._index = opened

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> dict[str, dict[str, float]]:
        """Search what was indexed last, once: the index is closed afterwards.

        Args:
            queries: rows with "id", "text" and maybe "instruction"; a conversation is joined as mteb does.
            top_k: how many passages a query at most.
            top_ranked: of a reranking task: query id -> the documents to rank.
            **options: has no effect.

        Returns:
            query id -> document id -> score, best first.

        Raises:
            InvalidInputError: nothing was indexed.
        """
        if self._index is None:
            raise InvalidInputError("there is no index to search; call index first, before every search")
        index, self._index = self._index, None
        texts = {str(row["id"]): query_text(row) for row in queries}
        with self._open:
            if top_ranked is None:
                found: Mapping[str, Sequence[Scored]] = run_systems(index, texts, [self.system])[0].rankings()
            else:
                found = {id_: self._rank(index, text, top_ranked.get(id_, ())) for id_, text in texts.items()}
        return {id_: falling(ranking[:top_k]) for id_, ranking in found.items()}

    def _rank(self, index: HybridIndex, query: str, ids: Sequence[str]) -> list[Scored]:
        if not ids:
            return []
        way: Way = "reranked" if self.system.reranker is not None else self.system.mode
        hits = search_among(index, VectorQuery(text=query, k=len(ids), candidates=len(ids), ids=ids), way)
        return [Scored(hit.passage.id, hit.score) for hit in hits]


def falling(ranking: Sequence[Scored]) -> dict[str, float]:
    """Return document id -> score, each score a float32 below the one before, so that the order is the only one."""
    above = np.float32(np.inf)
    scores: dict[str, float] = {}
    for id_, score in ranking:
        above = min(np.float32(score), np.nextafter(above, np.float32(-np.inf)))
        scores[id_] = float(above)
    return scores


def query_text(row: Mapping[str, Any]) -> str:
    """Return a query as mteb's encoders read it: with its instruction, of a conversation all turns."""
    text, instruction = row["text"], row.get("instruction")
    if isinstance(text, str):
        return text if instruction is None else f"{text} {instruction}"
    turns = "; ".join(turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in text)
    return turns if instruction is None else f"{instruction} {turns}"


def _passage(row: Mapping[str, Any]) -> Passage:
    title = row.get("title") or ""
    return Passage(str(row["id"]), (f"{title} {row['text']}" if title else row["text"]).strip())
