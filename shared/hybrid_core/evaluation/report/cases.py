"""Questions that one side answers and the other misses, with the passage and the tokens that matched."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ...pipeline import HybridIndex
from ...types import TokenMatch
from ..results import Evaluation

Side: TypeAlias = Literal["dense", "sparse"]

_NO_SPACES = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"  # scripts written without spaces between words


@dataclass(frozen=True, slots=True)
class Case:
    """A question that one side answers within the first k, and the other does not.

    Attributes:
        query: its id.
        question: its text.
        document: the relevant passage that the one side ranks highest.
        rank: its rank there, from 1.
        missed: rank of the first relevant passage on the other side; None where its list holds none.
        depth: length of the other side's list.
        text: the passage; None without an index.
        matches: tokens that question and passage share, the strongest first.
    """

    query: str
    question: str
    document: str
    rank: int
    missed: int | None
    depth: int
    text: str | None = None
    matches: tuple[TokenMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """What one side saved from the other.

    Attributes:
        by: the side that answers.
        count: how many questions there are of which that is true.
        asked: of how many.
        cases: some of them, the clearest first.
    """

    by: Side
    count: int
    asked: int
    cases: tuple[Case, ...]


def saved_by(found: Evaluation, side: Side, index: HybridIndex | None = None, most: int = 4) -> Saved:
    """Return what a side answers within the first k that the other misses there.

    Args:
        found: an evaluation in which both sides were asked.
        side: the one that answers.
        index: what was evaluated; gives texts and tokens of the cases returned, which costs a search each.
        most: how many cases to return.
    """
    other: Side = "sparse" if side == "dense" else "dense"
    cases = []
    for query, question in found.queries.items():
        rank, missed = _first_relevant(found, side, query), _first_relevant(found, other, query)
        if rank is not None and rank <= found.k and (missed is None or missed > found.k):
            ranking = found.recalled[side][query]
            cases.append(Case(query, question, ranking[rank - 1].id, rank, missed, len(found.recalled[other][query])))
    clearest = sorted(cases, key=lambda case: (case.rank, -(case.missed or math.inf)))[:most]
    shown = clearest if index is None else [_read(case, side, index) for case in clearest]
    return Saved(side, len(cases), len(found.queries), tuple(shown))


def _first_relevant(found: Evaluation, side: Side, query: str) -> int | None:
    grades = found.qrels[query]
    places = (place for place, item in enumerate(found.recalled[side][query], 1) if grades.get(item.id, 0) > 0)
    return next(places, None)


def _read(case: Case, side: Side, index: HybridIndex) -> Case:
    """Return a case with its passage and the tokens; asked alone, its question may move by a bit and a rank."""
    hits = index.explain(case.question, k=case.rank + 1, candidates=case.rank + 1, mode=side, rerank=False)
    for hit in hits:
        if hit.passage.id == case.document:
            matches = tuple(sorted(hit.matches, key=lambda match: -match.score))
            return replace(case, text=hit.passage.text, matches=matches)
    [passage] = index.get([case.document])
    return case if passage is None else replace(case, text=passage.text)


def beginning(text: str, most: int = 340) -> str:
    """Return a text's beginning on one line, cut at a word where there is one."""
    flat = " ".join(text.split())
    if len(flat) <= most:
        return flat
    cut = flat[:most]
    space = cut.rfind(" ", most - 40)
    return (cut[:space] if space > 0 else cut).rstrip(" ,;:") + " …"


def shown(token: str, *, begin: bool) -> str:
    """Return a token to be read: what continues a word begins with a dash, where the tokenizer tells (`begin`)."""
    piece = token.replace("▁", "")
    inside = begin and not token.startswith("▁") and not re.match(f"[{_NO_SPACES}]", piece) and piece[:1].isalnum()
    return f"-{piece}" if inside else piece or "▁"


def marked(text: str, tokens: Sequence[str]) -> list[tuple[str, bool]]:
    """Split a text into parts and say of each whether it is a matched token.

    A tokenizer's string tells where a word begins ("▁") but not where in the text it stood, so only what is beyond
    doubt is marked: pieces that begin a word, and those of scripts without spaces. Whole words if they are short.

    Returns:
        The parts, which joined are the text; of a word, the piece that matched.
    """
    inside = rf"[^\W{_NO_SPACES}]"  # a letter or digit of a script with spaces
    patterns = []
    for token in sorted(tokens, key=len, reverse=True):
        piece = token.replace("▁", "")
        if re.fullmatch(f"[{_NO_SPACES}]+", piece):
            patterns.append(re.escape(piece))
        elif token.startswith("▁") and re.search(r"\w", piece):
            patterns.append(f"(?<!{inside}){re.escape(piece)}" + (f"(?!{inside})" if len(piece) < 4 else ""))
    if not patterns:
        return [(text, False)]
    parts = re.split(f"({'|'.join(patterns)})", text)
    return [(part, i % 2 == 1) for i, part in enumerate(parts) if part]
