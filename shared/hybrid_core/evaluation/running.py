"""Running systems over an index: queries are encoded once, and all systems share what each side recalls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..checks import check_text
from ..errors import InvalidInputError
from ..pipeline import HybridIndex
from ..rerankers.base import rank
from ..types import Encoding, Mode, Scored
from .records import Answer, Record, run_key
from .systems import System, check_names

Run: TypeAlias = Mapping[str, Sequence[Scored]]


@dataclass(frozen=True, slots=True, eq=False)
class SystemRun:
    """What one system found.

    Attributes:
        system: the system.
        answers: query id -> what was found, best first, and the seconds each stage took.
    """

    system: System
    answers: Mapping[str, Answer]

    def rankings(self) -> dict[str, tuple[Scored, ...]]:
        """Return query id -> documents, best first."""
        return {query: answer.ranking for query, answer in self.answers.items()}

    def seconds(self) -> dict[str, list[float]]:
        """Return stage -> seconds, one a query, and "total", their sum.

        Stages are those of `Hit.stages` and "encode". Queries are encoded in one batch, whose time is divided among
        them: less than a query that comes alone would take.
        """
        stages = dict.fromkeys(stage for answer in self.answers.values() for stage in answer.seconds)
        by_stage = {stage: [a.seconds.get(stage, 0.0) for a in self.answers.values()] for stage in stages}
        return {**by_stage, "total": [sum(answer.seconds.values()) for answer in self.answers.values()]}


def run_systems(
    index: HybridIndex,
    queries: Mapping[str, str],
    systems: Sequence[System],
    *,
    folder: str | Path | None = None,
    show_progress: bool = False,
) -> tuple[SystemRun, ...]:
    """Answer every query by every system.

    Each system finds what `HybridIndex.search` finds with its settings, up to the recall of an approximate dense
    index. With a folder, an answer is kept as soon as it is there, and one that was kept with the same settings, model,
    passages and query is not asked for again: a run that was killed continues. A model is known by what it says of
    itself (`repr`, fingerprint) and, of a reranker in a folder, by the time its files were changed; after changing what
    neither shows, a model on a server say, choose another folder.

    Args:
        index: the index; its own fusion and reranker are not used.
        queries: id -> text.
        systems: what to run, each with a name of its own.
        folder: where answers are kept; made if missing.
        show_progress: draw a progress bar a system.

    Raises:
        InvalidInputError: there is no query or system, or two systems have one name.
        StorageError: the folder cannot be written to.
    """
    check_names(systems)
    if not queries:
        raise InvalidInputError("there are no queries to run")
    for id_, text in queries.items():
        check_text(text, f"query {id_!r:.80}")
    keys = None if folder is None else run_key(index)
    records = [Record.open(folder, system.name, _identity(system), keys) for system in systems]
    missing = [[id_ for id_, text in queries.items() if record.answer(id_, text) is None] for record in records]
    to_ask = set().union(*missing)
    recall = _Recall.of(
        index,
        {id_: text for id_, text in queries.items() if id_ in to_ask},
        [system for system, ids in zip(systems, missing, strict=True) if ids],
        show_progress,
    )
    runs = []
    for system, record in zip(systems, records, strict=True):
        answers: dict[str, Answer] = {}
        with record, _progress(len(queries), system.name, show_progress) as done:
            for id_, text in queries.items():
                kept = record.answer(id_, text)
                if kept is None:
                    kept = _answer(index, system, text, recall, id_)
                    record.keep(id_, text, kept)
                answers[id_] = kept
                done(1)
        runs.append(SystemRun(system, answers))
    return tuple(runs)


def side_systems(systems: Sequence[System]) -> dict[str, System]:
    """Return each side that systems search, as a system of its own at the widest depth that any of them asks for.

    Run together with them it costs no search, since what a side recalls is shared; one that is among them is taken.

    Returns:
        "dense" and "sparse", or the only one of them that is searched -> the system.
    """
    names = {system.name for system in systems}
    found: dict[str, System] = {}
    sides: tuple[tuple[Mode, Mode], ...] = (("dense", "sparse"), ("sparse", "dense"))
    for side, other in sides:
        depths = [system.candidates for system in systems if system.mode != other]
        if not depths:
            continue
        name = f"{side} recall"
        while name in names:
            name += "_"
        alone = (s for s in systems if s.mode == side and s.reranker is None and s.candidates == max(depths))
        found[side] = next(alone, System(name, side, candidates=max(depths)))
    return found


def _identity(system: System) -> dict[str, Any]:
    """Return the settings, and when a reranker's files were changed: it may have been trained again."""
    home = None if system.reranker is None else Path(system.reranker.name)
    if home is None or not home.is_dir():
        return system.settings()
    return {
        **system.settings(),
        "changed": max(path.stat().st_mtime_ns for path in (home, *home.rglob("*")) if path.exists()),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Recall:
    """What each side finds for each query, at the widest depth that any system asks for.

    Attributes:
        encode: seconds of encoding a query.
        lists: side -> query id -> (ranked list, seconds).
    """

    encode: float
    lists: Mapping[str, Mapping[str, tuple[list[Scored], float]]]

    @classmethod
    def of(
        cls, index: HybridIndex, queries: Mapping[str, str], systems: Sequence[System], show_progress: bool
    ) -> _Recall:
        if not queries:
            return cls(0.0, {})
        start = time.perf_counter()
        encoding = index.encoder.encode_queries(list(queries.values()))
        encode = (time.perf_counter() - start) / len(queries)
        lists: dict[str, dict[str, tuple[list[Scored], float]]] = {}
        for side, other in (("dense", "sparse"), ("sparse", "dense")):
            depth = max((system.candidates for system in systems if system.mode != other), default=0)
            if depth:
                lists[side] = {}
                with _progress(len(queries), f"{side} search", show_progress) as done:
                    for i, id_ in enumerate(queries):
                        lists[side][id_] = _search(index, side, encoding, i, depth)
                        done(1)
        return cls(encode, lists)


def _search(index: HybridIndex, side: str, encoding: Encoding, i: int, depth: int) -> tuple[list[Scored], float]:
    start = time.perf_counter()
    if side == "dense":
        found = index.store.search_dense(encoding.dense[i], depth)
    else:
        found = index.store.search_sparse(encoding.sparse_row(i), depth)
    return found, time.perf_counter() - start


def _answer(index: HybridIndex, system: System, query: str, recall: _Recall, id_: str) -> Answer:
    sides = ("dense", "sparse") if system.mode == "hybrid" else (system.mode,)
    seconds = {"encode": recall.encode, **{side: recall.lists[side][id_][1] for side in sides}}
    lists = {side: recall.lists[side][id_][0][: system.candidates] for side in sides}
    start = time.perf_counter()
    if system.mode == "hybrid":
        final = system.joins(lists)[: system.candidates]
        seconds["fused"] = time.perf_counter() - start
    else:
        final = lists[system.mode]
    if system.reranker is not None:
        start = time.perf_counter()
        found = index.store.get([item.id for item in final])
        final = [item for item in final if item.id in found]
        order = rank(system.reranker, query, [found[item.id].text for item in final])
        final = [Scored(final[i].id, score) for i, score in order]
        seconds["reranked"] = time.perf_counter() - start
    return Answer(tuple(final), seconds)


@contextmanager
def _progress(total: int, name: str, show: bool) -> Iterator[Callable[[int], object]]:
    if not show:
        yield lambda count: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=name, unit="query") as bar:
        yield bar.update
