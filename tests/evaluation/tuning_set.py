"""A set made by numbers alone: how well each side and the reranker find the answers, and how long it takes, is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hybrid_core import Encoding, Fingerprint, HybridIndex, Passage, SparseVector
from hybrid_core.evaluation import EvaluationSet
from hybrid_core.stores.scoring import sparse_matrix
from hybrid_core.types import FloatArray

DIMENSION, VOCABULARY, PASSAGES = 24, 120, 200


@dataclass
class Clock:
    """Seconds that pass when someone says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_milliseconds(self, milliseconds: float) -> None:
        self.now += milliseconds / 1e3


def draws(text: str, salt: int) -> np.random.Generator:
    kind, number = text.split()
    return np.random.default_rng([salt, kind == "question", int(number)])


@dataclass
class NumberEncoder:
    """ "passage 17" answers "question 17"; noise hides that from each side. A question takes 2 ms, several 1 ms each."""

    dense_noise: float = 0.0
    sparse_noise: float = 0.0
    clock: Clock = field(default_factory=Clock)
    calls: list[int] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint("numbers", f"{self.dense_noise} {self.sparse_noise}", DIMENSION, VOCABULARY, "cls", 512)

    def __repr__(self) -> str:
        return "NumberEncoder()"

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        return self._encode(texts)

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        self.calls.append(len(texts))
        self.alone += texts if len(texts) == 1 else []
        self.clock.pass_milliseconds(2 if len(texts) == 1 else len(texts))
        return self._encode(texts)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [f"t{i}" for i in ids]

    def _encode(self, texts: Sequence[str]) -> Encoding:
        rows, sparse = [], []
        for text in texts:
            number = text.split()[1]
            meant, own = draws(f"passage {number}", 1), draws(text, 2)
            is_question = text.startswith("question")
            row = meant.normal(size=DIMENSION) + self.dense_noise * is_question * own.normal(size=DIMENSION)
            rows.append(row / np.linalg.norm(row))
            tokens = meant.choice(VOCABULARY, size=6, replace=False)
            if is_question:
                lost = own.random(6) < self.sparse_noise
                tokens = np.where(lost, own.choice(VOCABULARY, size=6, replace=False), tokens)
            sparse.append(SparseVector.from_dict({int(token): 0.1 + 0.02 * (token % 7) for token in tokens}))
        return Encoding(np.array(rows, dtype=np.float32), sparse_matrix(sparse, VOCABULARY))


@dataclass
class NumberReranker:
    """Scores the answer around .75, everything else around .25; a call takes 5 ms, and 1 ms a passage."""

    noise: float = 0.1
    clock: Clock = field(default_factory=Clock)
    asked: list[tuple[str, int]] = field(default_factory=list)
    name: str = "numbers"

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        self.asked.append((query, len(texts)))
        self.clock.pass_milliseconds(5 + len(texts))
        right = np.array([text.split()[1] == query.split()[1] for text in texts])
        noise = np.array([draws(text, 3 + int(query.split()[1])).normal() for text in texts])
        return np.clip(0.25 + 0.5 * right + self.noise * noise, 0, 1).astype(np.float32)


def number_set(count: int, start: int = 0) -> EvaluationSet:
    """So many questions, from a number on, each with one passage that answers it."""
    corpus = tuple(Passage(f"d{i:03d}", f"passage {i}") for i in range(PASSAGES))
    numbers = range(start, start + count)
    queries = {f"q{i}": f"question {i}" for i in numbers}
    return EvaluationSet("numbers", corpus, queries, {f"q{i}": {f"d{i:03d}": 1} for i in numbers})


def number_index(encoder: NumberEncoder, reranker: NumberReranker | None = None) -> HybridIndex:
    """An index in memory of all passages."""
    index = HybridIndex.open(None, encoder=encoder, reranker=reranker)
    index.add([Passage(f"d{i:03d}", f"passage {i}") for i in range(PASSAGES)])
    return index
