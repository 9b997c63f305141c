"""Files of an evaluation set, line by line: what cannot be read is named by file and line, with the remedy."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..checks import check_text
from ..errors import DuplicateIdError, InvalidInputError, InvalidTextError
from ..types import Passage

_HIGHEST_GRADE = 1_000  # trec_eval counts every grade up to the highest one: a billion takes minutes


class Judgement(NamedTuple):
    """One line of a qrels file.

    Attributes:
        query: id of the query.
        document: id of the document.
        grade: 0 is judged not relevant, 1 and more is relevant.
        place: "file:line", for errors.
    """

    query: str
    document: str
    grade: int
    place: str


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("file:line", text) of the lines that are not blank; a byte order mark is passed over.

    Raises:
        InvalidInputError: there is no such file, or it is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                place = f"{path}:{number}"
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise InvalidInputError(f"{place} is not UTF-8 ({error.reason}); convert the file first") from None
                if text.strip():
                    yield place, text.rstrip("\r\n")
    except OSError as error:
        raise _unreadable(path, error) from error


def read_passages(path: Path) -> tuple[Passage, ...]:
    """Read a corpus.jsonl of BEIR: `_id`, `text`, and optionally `title` and `metadata`.

    A passage's text is title, space, text, as BEIR and MTEB have it; the title is also kept in the metadata.

    Raises:
        InvalidInputError, DuplicateIdError, InvalidTextError: naming file and line.
    """
    passages: dict[str, Passage] = {}
    for id_, row, place in _rows(path):
        title = check_text(row.get("title") or "", f"{place}: title").strip()
        metadata = row.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise InvalidInputError(f"{place}: metadata is {metadata!r:.60}; an object is needed, or leave it out")
        text = f"{title} {row['text']}".strip() if title else row["text"]
        passages[id_] = Passage(id_, text, {**metadata, "title": title} if title else metadata)
    if not passages:
        raise InvalidInputError(f'{path} holds no documents; each line is {{"_id": ..., "title": ..., "text": ...}}')
    return tuple(passages.values())


def read_queries(path: Path) -> dict[str, str]:
    """Read a queries.jsonl of BEIR: `_id` and `text`.

    Raises:
        InvalidInputError, DuplicateIdError, InvalidTextError: naming file and line.
    """
    queries = {id_: check_filled(row["text"], f"{place}: the query") for id_, row, place in _rows(path)}
    if not queries:
        raise InvalidInputError(f'{path} holds no queries; each line is {{"_id": ..., "text": ...}}')
    return queries


def read_topics(path: Path) -> dict[str, str]:
    """Read topics: an id, a tab, a question.

    Raises:
        InvalidInputError, DuplicateIdError, InvalidTextError: naming file and line.
    """
    queries: dict[str, str] = {}
    seen: dict[str, str] = {}
    for place, line in lines(path):
        fields = line.split("\t")
        if len(fields) != 2:
            raise InvalidInputError(f"{place} has {len(fields)} columns; an id, a tab and a question are needed")
        id_ = fields[0].strip()
        _note(seen, id_, place)
        queries[id_] = check_filled(fields[1], f"{place}: the query")
    if not queries:
        raise InvalidInputError(f"{path} holds no topics; each line is an id, a tab and a question")
    return queries


def read_judgements(path: Path, *, trec: bool = False) -> list[Judgement]:
    """Read qrels: BEIR's three columns below a header (`query-id`, `corpus-id`, `score`), or TREC's four.

    A line that says again what was said is passed over.

    Args:
        path: the file.
        trec: four columns between spaces or tabs: query, anything, document, grade.

    Raises:
        InvalidInputError: naming file and line of wrong columns, of a grade that is no whole number from 0 to 1,000,
            and of a pair that is judged twice, differently.
    """
    needed = 4 if trec else 3
    found: dict[tuple[str, str], Judgement] = {}
    for i, (place, line) in enumerate(lines(path)):
        fields = line.split() if trec else [field.strip() for field in line.split("\t")]
        if i == 0 and not trec and fields[0].lower().replace("_", "-") == "query-id":
            continue
        if len(fields) != needed or not all(fields):
            columns = (
                "query, 0, document, grade between spaces"
                if trec
                else "query-id, corpus-id, score between tabs (TREC's four columns go into qrels.txt beside topics.tsv)"
            )
            raise InvalidInputError(f"{place} has {sum(map(bool, fields))} columns; {needed} are needed: {columns}")
        query, document = fields[0], fields[2 if trec else 1]
        judgement = Judgement(query, document, check_grade(fields[-1], place), place)
        first = found.setdefault((query, document), judgement)
        if first.grade != judgement.grade:
            raise InvalidInputError(
                f"{place} judges document {document!r:.80} for query {query!r:.80} as {judgement.grade}, {first.place} "
                f"as {first.grade}; keep one of the lines"
            )
    if not found:
        raise InvalidInputError(f"{path} holds no judgements; without them nothing can be measured")
    return list(found.values())


def read_table(path: Path, needed: Sequence[str], either: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield ("file:line", row) of a CSV with a header.

    Args:
        path: the file, comma-separated, in UTF-8.
        needed: columns that must be there.
        either: columns of which one must be there.

    Raises:
        InvalidInputError: naming file and line.
    """
    try:
        raw = path.read_bytes()
        reader = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        names = reader.fieldnames or []
        if not set(needed) <= set(names) or len(set(either) & set(names)) != 1:
            raise InvalidInputError(
                f"{path}:1 has the columns {', '.join(names) or 'none'}; needed are {', '.join(needed)} and one of "
                f"{', '.join(either)}, between commas"
            )
        for row in reader:
            place = f"{path}:{reader.line_num}"
            if None in row or None in row.values():
                raise InvalidInputError(f"{place} has not {len(names)} columns; quote what holds a comma")
            yield place, row
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{path}:{line} is not UTF-8 ({error.reason}); convert the file first") from None
    except csv.Error as error:
        raise InvalidInputError(f'{path}:{reader.reader.line_num} is no CSV: {error}; quote texts with "') from None


def check_filled(text: object, what: str) -> str:
    """Return a text that is not blank, without the white space around it."""
    filled = check_text(text, what).strip()
    if not filled:
        raise InvalidTextError(f"{what} is blank; write it, or remove the line")
    return filled


def check_grade(text: str, place: str) -> int:
    """Return a grade: a whole number from 0 to 1,000."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 <= value <= _HIGHEST_GRADE and value.is_integer()):
        raise InvalidInputError(
            f"{place}: grade {text!r:.40} is no whole number from 0 to {_HIGHEST_GRADE:,}; 0 is not relevant (write 0 "
            "for TREC's negative grades), 1 and more relevant"
        )
    return int(value)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield (id, row, "file:line") of JSON lines with an `_id` of their own and a `text`."""
    seen: dict[str, str] = {}
    for place, line in lines(path):
        try:
            row = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{place} is no JSON ({error}); one object a line is needed") from None
        if not isinstance(row, dict) or "_id" not in row or "text" not in row:
            has = ", ".join(map(repr, row)) if isinstance(row, dict) else repr(row)
            raise InvalidInputError(f"{place} has {has:.80} where an object with '_id' and 'text' is needed")
        id_ = str(row["_id"]) if type(row["_id"]) is int else check_text(row["_id"], f"{place}: _id")
        check_text(row["text"], f"{place}: text")
        _note(seen, id_, place)
        yield id_, row, place


def _unreadable(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(f"{path} cannot be read: {error.strerror or error}; is it the right folder?")


def _note(seen: dict[str, str], id_: str, place: str) -> None:
    if not id_:
        raise InvalidInputError(f"{place}: the id is empty; give it a name")
    if id_ in seen:
        raise DuplicateIdError(f"{place}: id {id_!r:.80} is taken by {seen[id_]}; every line needs an id of its own")
    seen[id_] = place


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
