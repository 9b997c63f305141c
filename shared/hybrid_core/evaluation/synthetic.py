"""Questions made from the passages themselves, without a language model, for a corpus that has none.

They are easier than people's questions, for they use the passages' own words: compare systems by them, but do not
expect the same figures from users. Whatever becomes a question is taken out of the passage that should be found.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from ..checks import check_count
from ..errors import InvalidInputError
from ..types import Passage
from .datasets import EvaluationSet

Kind: TypeAlias = Literal["heading", "sentence", "keywords"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_TERMS = 4  # words of a keyword query
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]+|[^\W\d_{_CJK}][^\W_{_CJK}]*")
_SENTENCE = re.compile(r"[^\n.!?。！？]+(?:[.!?]+(?=\s|$)|[。！？]+|(?=\n)|$)")
_ENDS_A_SENTENCE = tuple(".!?:;,。！？：；，")

# query text, grades by document, passages as they are searched
_Made: TypeAlias = tuple[str, dict[str, int], dict[str, Passage]]


def synthetic_set(
    corpus: Sequence[Passage],
    *,
    count: int = 100,
    kinds: Sequence[Kind] = KINDS,
    seed: int = 0,
    name: str = "synthetic",
) -> EvaluationSet:
    """Make an evaluation set of a corpus.

    Three kinds of questions, each from passages of its own:

    - "heading": a passage's title (the `title` in its metadata where the text begins with it, else a short first line)
      asks for the passages below it; it is taken out of all that begin with it.
    - "sentence": a sentence from the middle of one passage asks for the rest of it.
    - "keywords": the four words of a passage with the highest inverse document frequency among those that some other
      passage has too (a word of one passage alone would find it by itself); nothing is taken out.

    A heading or sentence that can still be read in what it should find, or a sentence that another passage has too, is
    not used.

    Args:
        corpus: passages with distinct ids.
        count: how many questions of each kind, at most.
        kinds: which kinds.
        seed: which passages are chosen; the same seed, corpus and count give the same set.
        name: of the set.

    Returns:
        A set with the changed corpus, to be indexed anew, and the kind of each question.

    Raises:
        InvalidInputError: the corpus gives no question of these kinds, or an argument is out of range.
    """
    check_count(count, "count", least=1)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise InvalidInputError(f"kinds={list(kinds)!r} must be some of {', '.join(KINDS)}")
    passages = {passage.id: passage for passage in corpus}
    if len(passages) != len(corpus):
        raise InvalidInputError(f"{len(corpus) - len(passages)} passages have the id of another; ids must be distinct")
    makers: dict[Kind, Callable[[dict[str, Passage], list[str]], Iterator[_Made]]] = {
        "heading": _headings,
        "sentence": _sentences,
        "keywords": _keywords,
    }
    order = sorted(passages)
    random.Random(seed).shuffle(order)  # noqa: S311 - a choice that can be repeated, no secret
    changed: dict[str, Passage] = {}
    asked: set[str] = set()
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    of_kind: dict[str, str] = {}
    for kind in KINDS:  # headings first, for they need the passages as they are
        made = makers[kind](passages, order) if kind in kinds else iter(())
        found = 0
        for query, grades, replaced in made:
            if found == count:
                break
            if grades.keys() & asked or query in queries.values():
                continue
            found += 1
            id_ = f"{kind}-{found}"
            queries[id_], qrels[id_], of_kind[id_] = query, grades, kind
            asked |= grades.keys()
            changed |= replaced
    if not queries:
        raise InvalidInputError(
            f"{len(passages)} passages give no question of kind {', '.join(kinds)}: no headings, no passages of three "
            "sentences or more, or no words that two passages share"
        )
    return EvaluationSet(
        name, tuple(changed.get(passage.id, passage) for passage in corpus), queries, qrels, kinds=of_kind
    )


def _headings(passages: dict[str, Passage], order: list[str]) -> Iterator[_Made]:
    """Yield each heading with the passages that begin with it, without it."""
    split = {id_: found for id_, passage in passages.items() if (found := _heading(passage)) is not None}
    below: dict[str, list[str]] = {}
    for id_, (heading, _) in split.items():
        below.setdefault(heading, []).append(id_)
    for heading in dict.fromkeys(split[id_][0] for id_ in order if id_ in split):
        question = " ".join(heading.lstrip("#").replace(" > ", " ").split())
        rests = {id_: split[id_][1] for id_ in below[heading]}
        if any(_has(rest, question) or _has(rest, heading) for rest in rests.values()):
            continue
        replaced = {id_: replace(passages[id_], text=rest) for id_, rest in rests.items()}
        yield question, dict.fromkeys(rests, 1), replaced


def _heading(passage: Passage) -> tuple[str, str] | None:
    """Return a passage's heading and the text below it."""
    title = passage.metadata.get("title")
    if isinstance(title, str) and title.strip() and passage.text.startswith(title.strip()):
        heading, rest = title.strip(), passage.text[len(title.strip()) :]
    else:
        heading, _, rest = passage.text.lstrip().partition("\n")
        heading = heading.strip()
        if len(heading) > 100 or heading.endswith(_ENDS_A_SENTENCE):
            return None
    words = _WORD.findall(heading)
    return (heading, rest.strip()) if words and rest.strip() else None


def _sentences(passages: dict[str, Passage], order: list[str]) -> Iterator[_Made]:
    """Yield a sentence from the middle of each passage, with the passage without it."""
    flat = {id_: _flat(passage.text) for id_, passage in passages.items()}
    for id_ in order:
        text = passages[id_].text
        spans = [match.span() for match in _SENTENCE.finditer(text) if match[0].strip()]
        if len(spans) < 3:
            continue
        middle = sorted(range(1, len(spans) - 1), key=lambda i: abs(i - len(spans) // 2))
        for i in middle:
            start, end = spans[i]
            sentence = _flat(text[start:end])
            if not _is_a_question(sentence):
                continue
            if sum(sentence in other for other in flat.values()) > 1:  # overlapping chunks: both would be right
                continue
            rest = (text[:start].rstrip(" ") + " " + text[end:].lstrip(" ")).strip()
            if not _has(rest, sentence):
                yield sentence, {id_: 1}, {id_: replace(passages[id_], text=rest)}
                break


def _is_a_question(sentence: str) -> bool:
    """Return whether a sentence says enough to be found by, and not too much."""
    words = _WORD.findall(sentence)
    size = sum(max(1, len(word) // 2) if re.match(f"[{_CJK}]", word) else 1 for word in words)
    return 5 <= size <= 40


def _keywords(passages: dict[str, Passage], order: list[str]) -> Iterator[_Made]:
    """Yield the words of each passage that the fewest others have."""
    counts = {id_: Counter(_terms(passage.text)) for id_, passage in passages.items()}
    frequency = Counter(term for terms in counts.values() for term in terms)
    for id_ in order:
        terms = [term for term in counts[id_] if frequency[term] > 1]
        idf = {term: math.log(len(passages) / frequency[term]) for term in terms}
        place = {term: i for i, term in enumerate(counts[id_])}
        best = sorted(terms, key=lambda term: (-idf[term], -counts[id_][term], place[term]))[:_TERMS]
        if len(best) == _TERMS and idf[best[-1]] > 0:
            yield " ".join(sorted(best, key=place.__getitem__)), {id_: 1}, {}


def _terms(text: str) -> Iterator[str]:
    """Yield words of three letters or more in lower case; of Chinese and its neighbours every two characters."""
    for word in _WORD.findall(text):
        if re.match(f"[{_CJK}]", word):
            yield from (word[i : i + 2] for i in range(len(word) - 1))
        elif len(word) > 2:
            yield word.lower()


def _has(text: str, part: str) -> bool:
    return _flat(part).casefold() in _flat(text).casefold()


def _flat(text: str) -> str:
    return " ".join(text.split())
