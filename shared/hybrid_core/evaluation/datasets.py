"""Evaluation sets: passages, questions, and which passages answer them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ..checks import check_count
from ..errors import InvalidInputError
from ..types import Passage
from .dataset_files import (
    Judgement,
    check_filled,
    check_grade,
    read_judgements,
    read_passages,
    read_queries,
    read_table,
    read_topics,
)

Qrels: TypeAlias = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationSet:
    """Questions with judged answers over a corpus.

    Attributes:
        name: for reports.
        corpus: the passages that are searched.
        queries: id -> text of the questions that have judgements, in the order of their file.
        qrels: query id -> document id -> grade; 0 is judged not relevant, 1 and more relevant. A document without a
            grade counts as not relevant.
        unjudged: how many questions were left out because nothing is judged for them.
        kinds: query id -> "heading", "sentence" or "keywords" of questions made by `synthetic_set`, "llm" of those by
            `synthetic_llm_set`; empty otherwise.

    Raises:
        InvalidInputError: nothing is judged, or a judgement names a query or document that is not there.
    """

    name: str
    corpus: tuple[Passage, ...]
    queries: Mapping[str, str]
    qrels: Qrels
    unjudged: int = 0
    kinds: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.queries or set(self.queries) != set(self.qrels):
            raise InvalidInputError(
                f"{self.name}: {len(self.queries)} queries, judgements for {len(self.qrels)}; every query needs some, "
                "and no other"
            )
        there = {passage.id for passage in self.corpus}
        for query, grades in self.qrels.items():
            if not grades or not grades.keys() <= there:
                missing = next(iter(grades.keys() - there), None)
                raise InvalidInputError(
                    f"{self.name}: query {query!r:.80} has no judgements"
                    if missing is None
                    else f"{self.name}: query {query!r:.80} names document {missing!r:.80}, which is not in the corpus"
                )
            for document, grade in grades.items():
                check_grade(str(check_count(grade, f"grade of {document!r:.80}")), self.name)


def corpus_digest(passages: Iterable[Passage]) -> str:
    """Return a hash of ids and texts, whatever their order."""
    rows = sorted(
        hashlib.blake2b(f"{len(passage.id)}\0{passage.id}{passage.text}".encode(), digest_size=16).digest()
        for passage in passages
    )
    return hashlib.blake2b(b"".join(rows), digest_size=16).hexdigest()


def read_set(path: str | Path, corpus: Sequence[Passage] | None = None) -> EvaluationSet:
    """Read an evaluation set: a folder in BEIR's layout, a folder of TREC files, or a CSV.

    Args:
        path: a folder with queries.jsonl and qrels.tsv (or qrels/test.tsv), see `read_beir`; a folder with topics.tsv
            and qrels.txt, see `read_trec`; or a file, see `read_csv`.
        corpus: the passages that are searched, those of an index, say; None reads the corpus.jsonl in the folder, or
            beside the CSV.

    Raises:
        InvalidInputError: naming file, line and remedy.
    """
    path = Path(path)
    if path.is_file():
        return read_csv(path, _needed(corpus, path))
    if not path.is_dir():
        raise InvalidInputError(f"{path} does not exist; give a folder in BEIR's layout, TREC files in one, or a CSV")
    if (path / "topics.tsv").is_file():
        return read_trec(path / "topics.tsv", path / "qrels.txt", _needed(corpus, path), name=path.resolve().name)
    return read_beir(path, corpus)


def read_beir(folder: str | Path, corpus: Sequence[Passage] | None = None) -> EvaluationSet:
    """Read a folder with corpus.jsonl, queries.jsonl and qrels.tsv (or qrels/test.tsv), as BEIR publishes its sets.

    Args:
        folder: the folder.
        corpus: passages that take the place of corpus.jsonl.

    Raises:
        InvalidInputError: naming file, line and remedy.
    """
    folder = Path(folder)
    qrels = [path for path in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if path.is_file()]
    if not (folder / "queries.jsonl").is_file() or not qrels:
        raise InvalidInputError(
            f"{folder} lacks {'qrels.tsv' if not qrels else 'queries.jsonl'}; an evaluation set is corpus.jsonl, "
            "queries.jsonl and qrels.tsv (or qrels/test.tsv), or topics.tsv and qrels.txt. From passages alone, "
            "synthetic questions can be made"
        )
    passages = _needed(corpus, folder)
    queries, judgements = read_queries(folder / "queries.jsonl"), read_judgements(qrels[0])
    return _joined(folder.resolve().name, passages, queries, judgements)


def read_trec(
    topics: str | Path, qrels: str | Path, corpus: Sequence[Passage], *, name: str = "topics"
) -> EvaluationSet:
    """Read topics (id, tab, question) and TREC qrels (query, 0, document, grade) over a corpus.

    Raises:
        InvalidInputError: naming file, line and remedy.
    """
    return _joined(name, corpus, read_topics(Path(topics)), read_judgements(Path(qrels), trec=True))


def read_csv(path: str | Path, corpus: Sequence[Passage]) -> EvaluationSet:
    """Read a CSV of questions and what should be found, over a corpus.

    Columns: `question`; `document` (a passage's id) or `text` (every passage that holds it is expected, differences in
    white space aside); optionally `grade`. A question with several answers takes several lines.

    Raises:
        InvalidInputError: naming file, line and remedy.
    """
    path = Path(path)
    ids: dict[str, str] = {}
    judgements: dict[tuple[str, str], Judgement] = {}
    flat = [(passage.id, _flat(passage.text)) for passage in corpus]
    for place, row in read_table(path, ["question"], ["document", "text"]):
        question = check_filled(row["question"], f"{place}: the question")
        query = ids.setdefault(question, f"q{len(ids) + 1}")
        grade = check_grade(row["grade"], place) if "grade" in row else 1
        documents = [row["document"].strip()] if "document" in row else _holding(flat, row["text"], place)
        for document in documents:
            judgement = Judgement(query, document, grade, place)
            first = judgements.setdefault((query, document), judgement)
            if first.grade != grade:
                raise InvalidInputError(
                    f"{place} judges document {document!r:.80} as {grade}, {first.place} as {first.grade}; keep one"
                )
    if not ids:
        raise InvalidInputError(f"{path} holds no questions; below the header, each line is a question and its answer")
    queries = {query: question for question, query in ids.items()}
    return _joined(path.stem, corpus, queries, list(judgements.values()))


def _needed(corpus: Sequence[Passage] | None, path: Path) -> Sequence[Passage]:
    if corpus is not None:
        return corpus
    beside = (path if path.is_dir() else path.parent) / "corpus.jsonl"
    if not beside.is_file():
        raise InvalidInputError(f"{beside} is not there; add it, or give the index that holds the passages")
    return read_passages(beside)


def _joined(
    name: str, corpus: Sequence[Passage], queries: Mapping[str, str], judgements: Sequence[Judgement]
) -> EvaluationSet:
    there = {passage.id for passage in corpus}
    qrels: dict[str, dict[str, int]] = {}
    if not any(judgement.query in queries for judgement in judgements):
        raise InvalidInputError(
            f"{name}: queries and qrels share no query id (queries have {next(iter(queries))!r:.40}, "
            f"{judgements[0].place} has {judgements[0].query!r:.40}); they belong to different sets"
        )
    for query, document, grade, place in judgements:
        if query not in queries:
            raise InvalidInputError(f"{place} names query {query!r:.80}, which is unknown; add it, or remove the line")
        if document not in there:
            raise InvalidInputError(
                f"{place} names document {document!r:.80}, which is not among the {len(there):,} passages; add it, or "
                "remove the line"
            )
        qrels.setdefault(query, {})[document] = grade
    judged = {id_: text for id_, text in queries.items() if id_ in qrels}
    ordered = {id_: qrels[id_] for id_ in judged}
    return EvaluationSet(name, tuple(corpus), judged, ordered, unjudged=len(queries) - len(judged))


def _holding(flat: Sequence[tuple[str, str]], text: str, place: str) -> list[str]:
    expected = _flat(check_filled(text, f"{place}: the text"))
    found = [id_ for id_, passage in flat if expected in passage]
    if not found:
        raise InvalidInputError(f"{place}: no passage holds {expected!r:.80}; quote it as it stands in the passage")
    return found


def _flat(text: str) -> str:
    return " ".join(text.split())
