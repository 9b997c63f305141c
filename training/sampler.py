"""Draw training pairs: (query, passage) token ids from one kind of pair or another, half of a batch page by page."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from .directions import load_rows

Ids = list[int]
QUERY_TOKENS, PASSAGE_TOKENS = 32, 110  # of a passage usually; the trainer asks for longer ones now and then
# how often each kind is drawn; "lexical" kinds have words in common and train the sparse side at full weight
KINDS = {"heading": 30, "cross": 22, "block": 22, "span": 10, "keywords": 12, "body": 4}


@dataclass(frozen=True, slots=True)
class Text:
    """One training section as token ids, special tokens left out."""

    query: Ids
    heading: Ids
    title: Ids
    body: Ids
    page: str
    other: int  # the same section in the other language, or -1


class Sampler:
    """Draws batches; the same seed draws the same ones."""

    def __init__(self, work: Path, tokenizer: Tokenizer, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.passage_tokens = PASSAGE_TOKENS
        rows = load_rows(work / "sections.jsonl")
        other = {}
        for pair in load_rows(work / "aligned.jsonl"):
            other[pair["en"]], other[pair["zh"]] = pair["zh"], pair["en"]
        kept = [i for i, row in enumerate(rows) if row["train"]]
        place = {i: k for k, i in enumerate(kept)}
        fields = {
            name: [e.ids for e in tokenizer.encode_batch_fast([rows[i][name] for i in kept], add_special_tokens=False)]
            for name in ("query", "heading", "title", "body")
        }
        self.texts = [
            Text(
                **{name: fields[name][k] for name in fields},
                page=rows[i]["page"],
                other=place.get(other.get(i, -1), -1),
            )
            for k, i in enumerate(kept)
        ]
        self.aligned = [k for k, text in enumerate(self.texts) if text.other >= 0]
        self.pages: dict[str, list[int]] = {}
        for k, text in enumerate(self.texts):
            self.pages.setdefault(text.page, []).append(k)
        self.page_names = sorted(self.pages)
        blocks = [b for b in load_rows(work / "blocks.jsonl") if b["train"]]
        sides = [
            [e.ids for e in tokenizer.encode_batch_fast([b[side] for b in blocks], add_special_tokens=False)]
            for side in ("en", "zh")
        ]
        self.blocks = [(a, b) for a, b in zip(*sides, strict=True) if a and b]
        df: dict[int, int] = {}
        for text in self.texts:
            for token in set(text.body):
                df[token] = df.get(token, 0) + 1
        self.idf = {token: math.log(len(self.texts) / n) for token, n in df.items()}
        kinds = {k: w for k, w in KINDS.items() if self.aligned or k in ("heading", "span", "keywords")}
        self.kinds = {k: w for k, w in kinds.items() if self.blocks or k != "block"}

    def batch(self, size: int) -> tuple[list[Ids], list[Ids], list[bool]]:
        """Return queries, passages, and which pairs share a language."""
        pairs: list[tuple[Ids, Ids, bool]] = []
        while len(pairs) < size // 2:
            page = self.pages[self.random.choice(self.page_names)]
            for k in self.random.sample(page, min(4, len(page))):
                pairs.append(self.pair(self.kind(), k))
        while len(pairs) < size:
            pairs.append(self.pair(self.kind(), None))
        queries, passages, same = zip(*pairs[:size], strict=True)
        return list(queries), list(passages), list(same)

    def kind(self) -> str:
        """Draw a kind of pair."""
        return self.random.choices(list(self.kinds), weights=list(self.kinds.values()))[0]

    def pair(self, kind: str, k: int | None) -> tuple[Ids, Ids, bool]:
        """Draw one pair of a kind, from section `k` if given."""
        r = self.random
        if kind == "block":
            a, b = r.choice(self.blocks)
            if r.random() < 0.5:
                a, b = b, a
            return _wrap(a, 48), _wrap(b, 64), False
        if kind in ("cross", "body"):
            k = k if k is not None and self.texts[k].other >= 0 else r.choice(self.aligned)
        k = r.randrange(len(self.texts)) if k is None else k
        text = self.texts[k]
        if kind == "body":
            return _wrap(text.body, 64), self._passage(self.texts[text.other]), False
        if kind in ("heading", "cross"):
            query = r.choices((text.query, text.heading, text.title + text.heading), (55, 32, 13))[0]
            answer = self.texts[text.other] if kind == "cross" else text
            return _wrap(query, QUERY_TOKENS), self._passage(answer), kind == "heading"
        if kind == "keywords" or len(text.body) < 24:
            some = r.sample(text.body, min(24, len(text.body)))
            some = sorted(set(some), key=lambda t: -self.idf.get(t, 0.0) * r.uniform(0.4, 1.0))[: r.randint(2, 6)]
            return _wrap(some, QUERY_TOKENS), self._passage(text), True
        length = r.randint(4, 16)
        start = r.randrange(len(text.body) - length)
        body = text.body
        if r.random() < 0.6:
            body = body[:start] + body[start + length :]
        return _wrap(text.body[start : start + length], QUERY_TOKENS), self._passage(text, body, start), True

    def _passage(self, text: Text, body: Ids | None = None, near: int = 0) -> Ids:
        """The beginning of a body, or a window elsewhere, with the page's title in front now and then."""
        body = text.body if body is None else body
        if near > self.passage_tokens:
            body = body[near - self.passage_tokens // 2 :]
        elif near == 0 and len(body) > 2 * self.passage_tokens and self.random.random() < 0.15:
            body = body[self.random.randrange(len(body) - self.passage_tokens) :]
        if self.random.random() < 0.1:
            body = text.title[:12] + body
        return _wrap(body, self.passage_tokens)

    def state(self) -> str:
        """Return the state of the random numbers, to go on where a run broke off."""
        return json.dumps(self.random.getstate())

    def restore(self, state: str) -> None:
        """Go on from `state`."""
        version, numbers, gauss = json.loads(state)
        self.random.setstate((version, tuple(numbers), gauss))


def _wrap(ids: Ids, most: int) -> Ids:
    return [0, *ids[: most - 2], 2]
