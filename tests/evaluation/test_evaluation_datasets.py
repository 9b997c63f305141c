"""Evaluation sets in every layout, and what is wrong with a file by file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluation_files import CORPUS, QRELS, QUERIES, TEXTS, write_beir, write_rows, write_trec

from hybrid_core import DuplicateIdError, InvalidInputError, InvalidTextError, Passage
from hybrid_core.evaluation import EvaluationSet, read_beir, read_csv, read_set, read_trec


def assert_small(found: EvaluationSet) -> None:
    assert {passage.id: passage.text for passage in found.corpus} == TEXTS
    assert dict(found.queries) == QUERIES
    assert found.qrels == QRELS
    assert (found.unjudged, found.kinds) == (0, {})


def test_a_folder_in_beirs_layout(tmp_path: Path) -> None:
    found = read_set(write_beir(tmp_path / "small"))
    assert_small(found)
    assert found.name == "small"


def test_qrels_in_a_folder_of_their_own(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "small")
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    assert_small(read_beir(folder))


def test_trec_files_over_passages_that_are_given(tmp_path: Path) -> None:
    folder = write_trec(tmp_path / "small")
    assert_small(read_set(folder, CORPUS))
    assert_small(read_trec(folder / "topics.tsv", folder / "qrels.txt", CORPUS))


def test_trec_files_beside_a_corpus(tmp_path: Path) -> None:
    write_beir(tmp_path / "small")
    assert_small(read_set(write_trec(tmp_path / "small")))


def test_a_csv_of_questions_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    rows = [f'"{QUERIES[query]}",{id_},{grade}' for query, grades in QRELS.items() for id_, grade in grades.items()]
    path.write_text("\ufeff" + "\r\n".join(["question,document,grade", *rows, ""]), encoding="utf-8", newline="")
    assert_small(read_set(path, CORPUS))


def test_a_csv_of_questions_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text(
        'question,text\nhow long?,"The wait doubles\nafter every  attempt"\nhow long?,A worker pulls\nwho?,A worker\n',
        encoding="utf-8",
    )
    found = read_csv(path, CORPUS)
    assert found.queries == {"q1": "how long?", "q2": "who?"}
    assert found.qrels == {"q1": {"retry": 1, "queue": 1}, "q2": {"queue": 1, "shutdown": 1}}


def test_the_title_stands_before_the_text_as_in_beir_and_is_kept(tmp_path: Path) -> None:
    folder = write_beir(tmp_path)
    rows = [{"_id": id_, "title": "Jobs", "text": text, "metadata": {"lang": "en"}} for id_, text in TEXTS.items()]
    write_rows(folder / "corpus.jsonl", rows)
    first = read_beir(folder).corpus[0]
    assert first == Passage("retry", f"Jobs {TEXTS['retry']}", {"lang": "en", "title": "Jobs"})


def test_questions_without_judgements_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_beir(tmp_path)
    write_rows(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"question {i}"} for i in range(1, 10)])
    found = read_beir(folder)
    assert list(found.queries) == list(QRELS)
    assert found.unjudged == 3


def test_ids_may_be_numbers_and_lines_blank(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"_id": 7, "text": "seven"}])
    (tmp_path / "queries.jsonl").write_text('\n{"_id": 1, "text": "what?"}\n\n', encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("1\t7\t1.0\n\n1\t7\t1\n", encoding="utf-8")  # no header, and said twice
    assert read_beir(tmp_path).qrels == {"1": {"7": 1}}


def change(folder: Path, name: str, line: int, text: str) -> None:
    """Put a line in place of another; numbers from 1."""
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    lines[line - 1] = text
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "line", "text", "kind", "remedy"),
    [
        ("corpus.jsonl", 3, "{broken", InvalidInputError, "is no JSON"),
        ("corpus.jsonl", 3, '{"_id": "x", "text": NaN}', InvalidInputError, "NaN is no JSON number"),
        ("corpus.jsonl", 3, "[]", InvalidInputError, "an object with '_id' and 'text'"),
        ("corpus.jsonl", 3, '{"id": "x", "text": "y"}', InvalidInputError, "an object with '_id' and 'text'"),
        ("corpus.jsonl", 3, '{"_id": null, "text": "y"}', InvalidTextError, "a str is needed"),
        ("corpus.jsonl", 3, '{"_id": "", "text": "y"}', InvalidInputError, "give it a name"),
        ("corpus.jsonl", 3, '{"_id": "x", "text": 1}', InvalidTextError, "a str is needed"),
        ("corpus.jsonl", 3, '{"_id": "x", "text": "\\ud800"}', InvalidTextError, "lone surrogate"),
        ("corpus.jsonl", 3, '{"_id": "x", "text": "y", "title": 1}', InvalidTextError, "title"),
        ("corpus.jsonl", 3, '{"_id": "x", "text": "y", "metadata": [1]}', InvalidInputError, "leave it out"),
        ("corpus.jsonl", 3, '{"_id": "retry", "text": "y"}', DuplicateIdError, "taken by {folder}/corpus.jsonl:1"),
        ("queries.jsonl", 2, '{"_id": "q1", "text": "y"}', DuplicateIdError, "taken by {folder}/queries.jsonl:1"),
        ("queries.jsonl", 2, '{"_id": "q2", "text": "  "}', InvalidTextError, "blank"),
        ("qrels.tsv", 2, "q1\tretry", InvalidInputError, "2 columns; 3 are needed"),
        ("qrels.tsv", 2, "q1 0 retry 1", InvalidInputError, "1 columns; 3 are needed"),
        ("qrels.tsv", 2, "q1\t\t1", InvalidInputError, "2 columns; 3 are needed"),
        ("qrels.tsv", 2, "q1\tretry\tnan", InvalidInputError, "whole number from 0 to 1,000"),
        ("qrels.tsv", 2, "q1\tretry\t-1", InvalidInputError, "write 0"),
        ("qrels.tsv", 2, "q1\tretry\t0.5", InvalidInputError, "grade '0.5'"),
        ("qrels.tsv", 2, "q1\tretry\t2147483648", InvalidInputError, "whole number from 0 to 1,000"),
        ("qrels.tsv", 2, "q1\tretry\tinf", InvalidInputError, "grade 'inf'"),
        ("qrels.tsv", 2, "q1\tretry\tyes", InvalidInputError, "grade 'yes'"),
        ("qrels.tsv", 2, "q1\tqueue\t3", InvalidInputError, "keep one of the lines"),
        ("qrels.tsv", 4, "q1\tnowhere\t1", InvalidInputError, "document 'nowhere', which is not among the 12 passages"),
        ("qrels.tsv", 4, "q99\tretry\t1", InvalidInputError, "query 'q99', which is unknown"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(
    tmp_path: Path, name: str, line: int, text: str, kind: type[Exception], remedy: str
) -> None:
    folder = write_beir(tmp_path)
    change(folder, name, line, text)
    with pytest.raises(InvalidInputError) as error:
        read_beir(folder)
    assert type(error.value) is kind
    message = str(error.value)
    # two lines may be at odds; then the one that comes second is named first
    assert message.startswith(f"{folder / name}:{line if 'keep one' not in remedy else line + 1}")
    assert remedy.format(folder=folder) in message


def no_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()


def no_queries(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()


def no_qrels(folder: Path) -> None:
    (folder / "qrels.tsv").unlink()


def empty_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text("\n")


def empty_queries(folder: Path) -> None:
    (folder / "queries.jsonl").write_text("")


def only_a_header(folder: Path) -> None:
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n")


def other_queries(folder: Path) -> None:
    (folder / "qrels.tsv").write_text("1\tretry\t1\n2\tqueue\t1\n")


def not_utf8(folder: Path) -> None:
    (folder / "queries.jsonl").write_bytes('{"_id": "q1", "text": "怎样"}\n'.encode("gbk"))


def no_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (no_corpus, ["corpus.jsonl is not there", "index"]),
        (no_queries, ["lacks queries.jsonl", "synthetic"]),
        (no_qrels, ["lacks qrels.tsv", "qrels/test.tsv"]),
        (empty_corpus, ["corpus.jsonl holds no documents"]),
        (empty_queries, ["queries.jsonl holds no queries"]),
        (only_a_header, ["qrels.tsv holds no judgements"]),
        (other_queries, ["share no query id", "'q1'", "qrels.tsv:1", "'1'"]),
        (not_utf8, ["queries.jsonl:1 is not UTF-8"]),
        (no_folder, ["does not exist"]),
    ],
)
def test_what_is_missing_or_does_not_fit(tmp_path: Path, damage: Callable[[Path], None], parts: list[str]) -> None:
    folder = write_beir(tmp_path / "small")
    damage(folder)
    with pytest.raises(InvalidInputError) as error:
        read_set(folder)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("topics.tsv", "q1 no tab\n", ["topics.tsv:1", "1 columns"]),
        ("topics.tsv", "q1\ta\nq1\tb\n", ["topics.tsv:2", "taken by", "topics.tsv:1"]),
        ("topics.tsv", "\n", ["holds no topics"]),
        ("qrels.txt", "q1 0 retry\n", ["qrels.txt:1", "3 columns; 4 are needed"]),
        ("qrels.txt", "q1 0 retry -2\n", ["qrels.txt:1", "write 0 for TREC's negative grades"]),
        ("qrels.txt", "q1 0 retry nan\n", ["qrels.txt:1", "grade 'nan'"]),
        ("qrels.txt", "q1 0 retry 1\nq1 0 nowhere 1\n", ["qrels.txt:2", "document 'nowhere'"]),
        ("qrels.txt", "7 0 retry 1\n", ["share no query id", "qrels.txt:1 has '7'"]),
        ("qrels.txt", "", ["holds no judgements"]),
    ],
)
def test_trec_files_that_cannot_be_read(tmp_path: Path, name: str, text: str, parts: list[str]) -> None:
    folder = write_trec(tmp_path)
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError) as error:
        read_set(folder, CORPUS)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [":1 has the columns none", "question"]),
        ("question;document\n", [":1 has the columns question;document", "between commas"]),
        ("question,document,text\nq,a,b\n", [":1", "one of document, text"]),
        ("question,document\n", ["holds no questions"]),
        ("question,document\nwhy,retry,1\n", [":2 has not 2 columns", "quote"]),
        ("question,document\nwhy\n", [":2 has not 2 columns"]),
        ("question,document\n ,retry\n", [":2: the question is blank"]),
        ("question,document\nwhy,nowhere\n", [":2 names document 'nowhere'"]),
        ("question,document,grade\nwhy,retry,\n", [":2: grade ''"]),
        ("question,document,grade\nwhy,retry,nan\n", [":2: grade 'nan'"]),
        ("question,document,grade\nwhy,retry,1\nwhy,retry,2\n", [":3 judges document 'retry'", ":2 as 1"]),
        ("question,text\nwhy,not a word of it\n", [":2: no passage holds 'not a word of it'"]),
        ("question,text\nwhy,\n", [":2: the text is blank"]),
        ('question,text\nwhy,"a"b\n', [":2 is no CSV"]),
    ],
)
def test_a_csv_that_cannot_be_read(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "questions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError) as error:
        read_set(path, CORPUS)
    assert str(path) in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_a_csv_of_another_encoding_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_bytes("question,document\nwhy,retry\n怎样,limit\n".encode("gbk"))
    with pytest.raises(InvalidInputError, match=r"questions\.csv:3 is not UTF-8"):
        read_csv(path, CORPUS)


def test_a_csv_needs_passages(tmp_path: Path) -> None:
    (tmp_path / "questions.csv").write_text("question,document\nwhy,retry\n")
    with pytest.raises(InvalidInputError, match="the index that holds the passages"):
        read_set(tmp_path / "questions.csv")
    write_beir(tmp_path)
    assert read_set(tmp_path / "questions.csv").qrels == {"q1": {"retry": 1}}


@pytest.mark.parametrize(
    ("queries", "qrels", "part"),
    [
        ({}, {}, "0 queries"),
        ({"a": "x"}, {"b": {"retry": 1}}, "every query needs some"),
        ({"a": "x"}, {"a": {}}, "'a' has no judgements"),
        ({"a": "x"}, {"a": {"nowhere": 1}}, "'nowhere', which is not in the corpus"),
        ({"a": "x"}, {"a": {"retry": -1}}, "retry"),
        ({"a": "x"}, {"a": {"retry": 1.5}}, "retry"),
        ({"a": "x"}, {"a": {"retry": 10**9}}, "from 0 to 1,000"),
    ],
)
def test_a_set_made_in_python_is_checked_too(queries: Any, qrels: Any, part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        EvaluationSet("made", tuple(CORPUS), queries, qrels)


def test_the_files_are_the_json_that_was_meant(tmp_path: Path) -> None:
    """The helper of these tests writes what BEIR writes."""
    row = json.loads((write_beir(tmp_path) / "queries.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert row == {"_id": "q1", "text": QUERIES["q1"]}
