"""TREC run files: query, Q0, document, rank, score, tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from ..errors import DuplicateIdError, InvalidInputError, StorageError
from ..types import Scored
from .dataset_files import lines

_COLUMNS = "query Q0 document rank score tag"


def write_run(path: str | Path, run: Mapping[str, Sequence[Scored]], tag: str) -> None:
    """Write a run so that trec_eval ranks it in the order given.

    trec_eval sorts by score, read as float32, and where scores are equal by descending id. A score that does not lie
    below the one before it is therefore written as the next float32 below that one. White space, control characters
    and "%" in ids are written as in URLs ("%20").

    Args:
        path: the file; replaced if it is there.
        run: query id -> documents, best first; of a document that occurs twice the first is written.
        tag: the system's name.

    Raises:
        StorageError: the file cannot be written.
    """
    rows = []
    for query, ranking in run.items():
        above = np.float32(np.inf)
        scores: dict[str, float] = {}
        for id_, score in ranking:
            scores.setdefault(id_, score)
        for place, (id_, score) in enumerate(scores.items(), start=1):
            if not np.float32(score) < above:
                score = float(np.nextafter(above, np.float32(-np.inf)))
            above = np.float32(score)
            rows.append(f"{_escaped(query)} Q0 {_escaped(id_)} {place} {score!r} {_escaped(tag)}\n")
    try:
        Path(path).write_text("".join(rows), encoding="utf-8", newline="\n")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def read_run(path: str | Path) -> dict[str, tuple[Scored, ...]]:
    """Read a run file, of another system's as well; documents by score, best first, ties in order of id.

    Ranks are not looked at, as in trec_eval; ties are, which there go by descending id.

    Raises:
        InvalidInputError, DuplicateIdError: naming file and line.
    """
    found: dict[str, dict[str, float]] = {}
    for place, line in lines(Path(path)):
        fields = line.split()
        if len(fields) != 6:
            raise InvalidInputError(f"{place} has {len(fields)} columns; 6 are needed: {_COLUMNS}")
        query, document = unquote(fields[0]), unquote(fields[2])
        scores = found.setdefault(query, {})
        if document in scores:
            raise DuplicateIdError(f"{place}: document {document!r:.80} is in the list of {query!r:.80} already")
        try:
            scores[document] = float(fields[4])
        except ValueError:
            scores[document] = float("nan")
        if not np.isfinite(scores[document]):
            raise InvalidInputError(f"{place}: score {fields[4]!r:.40} is no finite number")
    if not found:
        raise InvalidInputError(f"{path} holds no run; each line is: {_COLUMNS}")
    return {query: ranked(scores) for query, scores in found.items()}


def ranked(scores: Mapping[str, float]) -> tuple[Scored, ...]:
    """Return documents by score, best first, ties in order of id: the order this library keeps everywhere."""
    return tuple(Scored(id_, score) for id_, score in sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def _escaped(id_: str) -> str:
    return "".join(quote(c, safe="") if c == "%" or c.isspace() or not c.isprintable() else c for c in id_)
