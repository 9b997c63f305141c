"""Answers kept on disk while a run goes on, so that one that was killed continues where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import quote

from ..errors import StorageError
from ..pipeline import HybridIndex
from ..types import Scored
from .datasets import corpus_digest

_FORMAT = 1
_AT_ONCE = 1_000  # passages read from the index together


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one system found for one query.

    Attributes:
        ranking: documents, best first.
        seconds: stage -> seconds.
    """

    ranking: tuple[Scored, ...]
    seconds: Mapping[str, float]


def run_key(index: HybridIndex) -> dict[str, Any]:
    """Return what decides a ranking besides system and query: model, kind of store, passages, and our version."""
    ids = index.ids()
    passages = (p for at in range(0, len(ids), _AT_ONCE) for p in index.get(ids[at : at + _AT_ONCE]) if p is not None)
    try:
        ours = version("bge-hybrid")
    except PackageNotFoundError:
        ours = "unknown"
    return {
        "format": _FORMAT,
        "version": ours,
        "encoder": f"{index.encoder!r} {index.encoder.fingerprint.as_dict()}",
        "store": type(index.store).__name__,
        "passages": corpus_digest(passages),
    }


class Record:
    """The answers of one system, a line of JSON each behind a first line with the settings they were found with.

    Open one with `Record.open`. Its file carries a hash of the settings in its name, so that a run with others begins
    a file of its own and nothing is lost. A last line that was cut off is passed over.
    """

    def __init__(self, path: Path | None, head: Mapping[str, Any], answers: dict[str, tuple[str, Answer]]) -> None:
        self._path = path
        self._head = head
        self._answers = answers
        self._file: IO[str] | None = None

    @classmethod
    def open(
        cls, folder: str | Path | None, name: str, settings: Mapping[str, Any], key: Mapping[str, Any] | None
    ) -> Record:
        """Read what is there; no folder keeps nothing.

        Raises:
            StorageError: the folder cannot be made or read.
        """
        if folder is None:
            return cls(None, {}, {})
        head = {"system": name, "settings": dict(settings), "key": dict(key or {})}
        digest = hashlib.blake2b(json.dumps(head, sort_keys=True).encode(), digest_size=16).hexdigest()
        path = Path(folder) / f"{quote(name, safe=' +')}.{digest[:12]}.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, head, _read(path, head))
        except OSError as error:
            raise StorageError(f"{path} cannot be used: {error}; choose another folder") from error

    def answer(self, query: str, text: str) -> Answer | None:
        """Return what was found for a query, None if that was not kept, or the query had another text."""
        kept = self._answers.get(query)
        return kept[1] if kept is not None and kept[0] == text else None

    def keep(self, query: str, text: str, answer: Answer) -> None:
        """Write an answer, on its way to the disk when the call returns.

        Raises:
            StorageError: it cannot be written.
        """
        self._answers[query] = (text, answer)
        if self._path is None:
            return
        row = {"query": query, "text": text, "ranking": answer.ranking, "seconds": dict(answer.seconds)}
        try:
            if self._file is None:
                self._file = self._start(self._path)
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error}; what it holds is kept") from error

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _start(self, path: Path) -> IO[str]:
        file = path.open("a+", encoding="utf-8", newline="\n")
        if file.tell() == 0:
            file.write(json.dumps(self._head, ensure_ascii=False) + "\n")
        else:
            file.write("\n")  # a line that was cut off ends here; a blank one does no harm
        return file


def _read(path: Path, head: Mapping[str, Any]) -> dict[str, tuple[str, Answer]]:
    answers: dict[str, tuple[str, Answer]] = {}
    if not path.exists():
        return answers
    first = True
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
            if first and row != head:
                path.unlink()  # cut off in its first line: nothing was kept
                return {}
            if not first:
                ranking = tuple(Scored(str(id_), float(score)) for id_, score in row["ranking"])
                answers[row["query"]] = (row["text"], Answer(ranking, row["seconds"]))
        except (ValueError, KeyError, TypeError):  # cut off, or blank
            if first:
                path.unlink()
                return {}
        first = False
    return answers
