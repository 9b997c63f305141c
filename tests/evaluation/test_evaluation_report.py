"""The report: whole, harmless, the same every time, and written whatever was evaluated."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
import typer
from evaluation_files import CORPUS, QRELS, QUERIES, write_beir
from PIL import Image
from typer.testing import CliRunner

from hybrid_core import (
    BgeM3Encoder,
    CrossEncoderReranker,
    HybridIndex,
    MissingDependencyError,
    Passage,
    Scored,
    StorageError,
)
from hybrid_core.cli.evaluate import evaluate as command
from hybrid_core.evaluation import Evaluation, EvaluationSet, System, evaluate, named_systems, write_report
from hybrid_core.evaluation.report.case_cards import saved_card
from hybrid_core.evaluation.report.cases import Case, Saved
from hybrid_core.evaluation.report.findings import finding
from hybrid_core.evaluation.report.numbers import stage_steps
from hybrid_core.types import TokenMatch

NAMES = {"quality", "recall", "latency", "scores", "weights", "differences"}
DATE = datetime.date(2026, 3, 1)
HOSTILE = '<script src="http://evil.example/x.js">alert(1)</script> <img src=x onerror=alert(1)> rotates the secret'
ASKED = 'how <script>alert(2)</script> & "who" rotates the secret?'
HOSTILE_ID = '"><svg/onload=alert(3)>'
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page is made of; tags that do not match fail."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def pictures(self) -> dict[str, str]:
        """Return figure -> what it says to who does not see it."""
        figures = [attrs["id"] or "" for tag, attrs in self.tags if tag == "figure"]
        alts = [attrs.get("aria-label") or "" for _, attrs in self.tags if attrs.get("role") == "img"]
        return dict(zip(figures, alts, strict=True))


class Written(NamedTuple):
    """A report that was written."""

    found: Evaluation
    folder: Path
    html: str
    page: Page


@pytest.fixture(scope="module")
def hostile_index(encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    """The small index, with a passage that would do harm."""
    with HybridIndex.open(None, encoder=encoder) as index:
        index.add([*CORPUS, Passage(HOSTILE_ID, HOSTILE)])
        yield index


@pytest.fixture(scope="module")
def written(
    hostile_index: HybridIndex, reranker: CrossEncoderReranker, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    """Everything that can be shown: names, questions and ids that would do harm, and each side saving the other."""
    queries = {**QUERIES, "<i>q7</i>": ASKED}
    qrels = {**QRELS, "<i>q7</i>": {HOSTILE_ID: 1}}
    dataset = EvaluationSet(
        "<b>small & $mall$</b>", (*CORPUS, Passage(HOSTILE_ID, HOSTILE)), queries, qrels, unjudged=2
    )
    named = named_systems(["dense", "sparse", "rrf", "rerank"], encoder=hostile_index.encoder, reranker=reranker)
    systems = [*(replace(system, candidates=8) for system in named), System("<u>系统 a$b$c</u>", candidates=8)]
    found = evaluate(hostile_index, dataset, systems, k=2)
    others = [Scored(passage.id, 0.1) for passage in CORPUS[6:]]
    wanted = {"<i>q7</i>": Scored(HOSTILE_ID, 0.5), "q4": Scored("secret", 0.5)}
    sides = {"sparse": "<i>q7</i>", "dense": "q4"}  # what each finds at once and the other does not
    lists = {
        side: {
            **rankings,
            **{query: [hit, *others] if sides[side] == query else [*others, hit] for query, hit in wanted.items()},
        }
        for side, rankings in found.recalled.items()
    }
    found = replace(found, recalled=lists)
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    path = write_report(found, folder, index=hostile_index, date=DATE)
    html = path.read_text(encoding="utf-8")
    return Written(found, folder, html, Page(html))


def test_every_chart_is_there_with_words_and_as_a_file(written: Written) -> None:
    pictures = written.page.pictures()
    assert set(pictures) == NAMES
    assert all(len(alt) > 60 for alt in pictures.values())
    for result in written.found.systems:
        for name in ("quality", "recall", "latency"):
            assert result.name in pictures[name]
        assert f"{result.name} {result.means['nDCG@2']:.3f}" in pictures["quality"]
    assert {path.name for path in written.folder.iterdir()} == {"report.html", *(f"{name}.png" for name in NAMES)}
    for name in NAMES:
        with Image.open(written.folder / f"{name}.png") as image:
            image.verify()
            assert image.format == "PNG"
            assert image.width == 980
            assert image.height > 300
        with Image.open(written.folder / f"{name}.png") as image:
            colours = image.convert("RGB").getcolors(maxcolors=2**24)
        assert colours is not None
        assert len(colours) > 50, "a blank picture"


def test_nothing_is_fetched_and_nothing_runs(written: Written) -> None:
    tags = {tag for tag, _ in written.page.tags}
    assert not tags & {"script", "iframe", "frame", "object", "embed", "form", "base", "img", "image"}
    for tag, attrs in written.page.tags:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attrs.get(name) or "data:").startswith(("data:", "#")), (tag, attrs)
    policy = [attrs["content"] for tag, attrs in written.page.tags if attrs.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    style = written.html[written.html.index("<style>") : written.html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert written.html.count("http://") == written.html.count("http://evil.example")  # which is text
    assert "https://" not in written.html
    assert set(re.findall(r"url\((.)", written.html)) <= {"#"}


def test_texts_from_outside_are_text(written: Written) -> None:
    text = "".join(written.page.text)
    shown = [HOSTILE, ASKED, HOSTILE_ID, "<i>q7</i>", "<b>small & $mall$</b>", "<u>系统 a$b$c</u>"]
    for part in shown:
        assert part in text, part
    for part in ("<script", "<img", "<svg/onload", "<i>", "<u>", "<b>small"):
        assert part not in written.html, part


def test_every_cell_says_what_it_is_on_a_narrow_screen(written: Written) -> None:
    """There a row is a block and its head is hidden: cells show their header, and roles keep it a table."""
    tags = written.page.tags
    cells = [attrs for tag, attrs in tags if tag == "td"]
    assert cells
    assert all(attrs["data-h"] and attrs["role"] == "cell" for attrs in cells)
    headers = {attrs["data-h"] for attrs in cells}
    assert {"nDCG@2", "difference", "wins", "total", "mode", "question"} <= headers
    roles = {
        tag: {attrs.get("role") for other, attrs in tags if other == tag} for tag in ("table", "thead", "tr", "th")
    }
    assert roles == {
        "table": {"table"},
        "thead": {"rowgroup"},
        "tr": {"row"},
        "th": {"columnheader", "rowheader"},
    }


def test_charts_are_whole_and_share_no_ids(written: Written) -> None:
    drawings = re.findall(r"<svg.*?</svg>", written.html, flags=re.DOTALL)
    assert len(drawings) == len(NAMES)
    for drawing in drawings:
        ElementTree.fromstring(drawing.replace("<svg", '<svg xmlns:xlink="x"', 1))  # noqa: S314 - our own
        for reference in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', drawing):
            assert f'id="{"".join(reference)}"' in drawing
    ids = [attrs["id"] for _, attrs in written.page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert "var(--ink)" in drawings[0]
    assert "#1c2229" not in "".join(drawings)  # ink follows the page into the dark


def test_the_page_says_what_was_run(written: Written) -> None:
    text = " ".join("".join(written.page.text).split())
    found = written.found
    assert f"13 passages, {len(found.queries)} questions" in text
    for part in (found.encoder, "CrossEncoderReranker('tiny'", "ReciprocalRank(k=60.0", "bge-hybrid", "2026-03-01"):
        assert part in text
    assert "2 questions without judgements were left out" in text
    best = max(found.systems, key=lambda result: result.means["nDCG@2"])
    assert f"{best.name} ranks best: nDCG@2 {best.means['nDCG@2']:.3f}" in text
    headline = finding(found, stage_steps(found))
    assert f">{escape(headline)}</h1>" in re.sub(r'<span class="interval">(.*?)</span>', r"\1", written.html)
    assert "Brackets hold 95 % intervals over 7 questions" in text
    for comparison in found.comparisons():
        assert f"{comparison.system} against {comparison.baseline}" in text
    assert "Synthetic questions" not in text
    for result in found.systems:
        for metric in found.metrics:
            assert f"{result.means[metric]:.3f}" in text


def test_cases_show_passage_and_matched_tokens(written: Written, hostile_index: HybridIndex) -> None:
    text = " ".join("".join(written.page.text).split())
    assert re.search("Sparse saved dense: [1-7] of 7 questions", text)
    assert re.search("Dense saved sparse: [1-7] of 7 questions", text)
    [passage] = hostile_index.get(["secret"])
    assert passage is not None
    assert passage.text in text
    marks = [attrs for tag, attrs in written.page.tags if tag == "mark"]
    widths = [attrs["style"] for tag, attrs in written.page.tags if tag == "li" and attrs.get("style")]
    assert marks
    assert "--w:100%" in widths


def test_the_same_evaluation_gives_the_same_bytes(written: Written, hostile_index: HybridIndex, tmp_path: Path) -> None:
    write_report(written.found, tmp_path, index=hostile_index, date=datetime.datetime(2027, 4, 5, 6, 7))
    other = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert other != written.html
    assert other.replace("2027-04-05 06:07", "2026-03-01") == written.html
    for name in NAMES:
        assert (tmp_path / f"{name}.png").read_bytes() == (written.folder / f"{name}.png").read_bytes()


def test_one_question_one_system_one_candidate(
    hostile_index: HybridIndex, small_set: EvaluationSet, tmp_path: Path
) -> None:
    """No comparison, no heat map, no case, no reranker; and what an earlier report left is taken away."""
    dataset = EvaluationSet(
        "one", small_set.corpus, {"q1": QUERIES["q1"]}, {"q1": QRELS["q1"]}, kinds={"q1": "heading"}
    )
    for name in ("weights", "differences"):
        (tmp_path / f"{name}.png").write_bytes(b"old")
    found = evaluate(hostile_index, dataset, [System("dense", mode="dense", candidates=1)], k=1)
    html = write_report(found, tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert set(page.pictures()) == NAMES - {"weights", "differences"}
    assert {path.stem for path in tmp_path.glob("*.png")} == NAMES - {"weights", "differences"}
    text = "".join(page.text)
    assert "Words and meaning" not in text
    assert "Synthetic questions." in text
    assert "nDCG@1, heading" in text
    assert str(datetime.datetime.now().astimezone().date()) in text


def test_systems_that_agree_and_miss_nothing(
    hostile_index: HybridIndex, small_set: EvaluationSet, tmp_path: Path
) -> None:
    found = evaluate(hostile_index, small_set, [System("a", candidates=9), System("b", candidates=9)], k=9)
    lists = dict.fromkeys(("dense", "sparse"), found.recalled["dense"])
    html = write_report(replace(found, recalled=lists), tmp_path).read_text(encoding="utf-8")
    text = " ".join("".join(Page(html).text).split())
    assert "Sparse saved dense: 0 of 6 questions" in text
    assert "Whatever dense answers here, sparse answers too." in text
    assert "Greatest wins" not in text
    assert "too little for these questions to tell the two apart" in text


def test_what_is_not_known_of_a_case_is_left_out() -> None:
    case = Case("q", "question", "d", rank=1, missed=None, depth=5)
    assert "blockquote" not in saved_card(Saved("sparse", 1, 9, (case,)))
    card = saved_card(Saved("dense", 9, 12, (replace(case, text="passage"),)))
    assert "No token in common." in card
    assert "sparse: not among 5" in card
    assert "And 8 more." in card
    tokens = tuple(TokenMatch(token, 1.0, 1.0, score) for token, score in (("▁ro", 0.5), ("tate", 0.25), ("轮换", 0.0)))
    card = saved_card(Saved("dense", 1, 12, (replace(case, text="to rotate", matches=tokens),)))
    assert re.findall(r"<li[^>]*>([^<]+)<", card) == ["ro", "-tate", "轮换"]
    assert re.findall(r"--w:(\d+)%", card) == ["100", "50", "0"]


def test_a_folder_that_cannot_be_written_to(written: Written, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        write_report(written.found, tmp_path / "file")


def test_matplotlib_is_asked_for_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"bge-hybrid\[eval\]\""):
        write_report(written.found, tmp_path / "report")
    app = typer.Typer()
    app.command("eval")(command)
    data = write_beir(tmp_path / "data")
    done = CliRunner().invoke(app, [str(data), "--model", "tiny", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, MissingDependencyError)
    assert not (tmp_path / "out").exists()


def test_the_command_line_writes_it(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command("eval")(command)
    data = write_beir(tmp_path / "data")
    done = CliRunner().invoke(
        app, [str(data), "--model", "tiny", "--systems", "dense,rrf", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'out' / 'report.html'} shows it" in " ".join(done.stdout.split()).replace("\n", "")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert set(page.pictures()) == NAMES
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == NAMES
