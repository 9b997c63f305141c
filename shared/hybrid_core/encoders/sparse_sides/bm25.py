"""BM25 as sparse vectors: words that match, by how rare they are."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...checks import check_texts
from ...errors import InvalidInputError
from .words import Words

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_SPACE = 2**31 - 1  # ids of terms: the most that int32 can name, which every store takes
_MET = 16_384  # terms of queries whose strings are kept


class Bm25:
    """Scores by BM25 (Robertson and Zaragoza 2009, doi:10.1561/1500000019) without a model or a training corpus.

    A term that occurs tf times in a passage of `len` terms weighs, in the passage,

        tf * (k1 + 1) / (tf + k1 * (1 - b + b * len / average_length))

    and in a query as often as it occurs there, which is how Lucene scores a question of repeated words. The store
    multiplies the query's weight by ln(1 + (N - df + 0.5) / (df + 0.5)), Lucene's inverse document frequency, from its
    own passages at the time of the search (see `Store.weigh`): nothing has to be indexed again as it grows.

    How texts become terms is told in `words.Words`. A term's id is a hash of it, always and everywhere the same. Of
    100,000 distinct terms some 2 pairs are expected to share an id (n² / 2 / 2³¹), which then count as one term.

    Args:
        language: of the Snowball stemmer ("english", "german", "russian", ...; `Stemmer.algorithms()` lists them); None
            leaves words as they are. Chinese, Japanese and Korean are handled under any.
        k1: how slowly a repeated term saturates; 0 only asks whether it is there.
        b: how much long passages are discounted, from 0 to 1.
        average_length: the length, in terms, of a passage that is neither discounted nor favoured. It is fixed because
            passages are weighed when they are written, and the average of an index that grows is not known then;
            Qdrant's own BM25 does the same. It need not be right: over any value from 64 to 1,024, nDCG@10 moves by
            0.02 on SciFact and by 0.005 on XQuAD and CMRC 2018, whose passages have 126 to 371 terms on average.

    Raises:
        InvalidInputError: an argument is out of range.
        MissingDependencyError: PyStemmer or regex is not installed (the extra "bm25").

    Example:
        >>> bm25 = Bm25()
        >>> query = bm25.encode_queries(["Which workers pull tasks?"])
        >>> sorted(bm25.tokens(query.indices.tolist()))
        ['pull', 'task', 'which', 'worker']
    """

    idf = True
    vocabulary = _SPACE

    def __init__(
        self, *, language: str | None = "english", k1: float = 1.2, b: float = 0.75, average_length: float = 256
    ) -> None:
        self._k1 = _check_number(k1, "k1", 0, math.inf)
        self._b = _check_number(b, "b", 0, 1)
        self._average = _check_number(average_length, "average_length", 1, math.inf)
        self._language = language
        self._words = Words(language)
        self._met: OrderedDict[int, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The parameters, and the version of the rules by which texts become terms."""
        return f"{self!r}, rules {self._words.version}"

    def __repr__(self) -> str:
        return f"Bm25(language={self._language!r}, k1={self._k1:g}, b={self._b:g}, average_length={self._average:g})"

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        """Return the saturated term frequencies (n, 2^31 - 1) float32; a text without words has none.

        Raises:
            InvalidTextError: naming the position of what is not a string or holds a lone surrogate.
        """
        rows = []
        for text in check_texts(texts):
            counts = _by_id(Counter(self._words.terms(text)))
            norm = self._k1 * (1 - self._b + self._b * counts.total() / self._average)
            rows.append({id_: tf * (self._k1 + 1) / (tf + norm) for id_, tf in counts.items()})
        return _matrix(rows)

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        """Return how often each term occurs (n, 2^31 - 1) float32; errors as in `encode_documents`."""
        rows = []
        for text in check_texts(texts, "query"):
            terms = Counter(self._words.terms(text))
            self._meet(terms)
            rows.append({id_: float(tf) for id_, tf in _by_id(terms).items()})
        return _matrix(rows)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the terms of ids; "#" and the id for one that was in none of the last queries.

        What a query and a passage share is in the query, so the terms of passages need not be kept: only those of
        queries are, the last 16,384.
        """
        with self._lock:
            return [self._met.get(int(id_), f"#{id_}") for id_ in ids]

    def _meet(self, terms: Iterable[str]) -> None:
        with self._lock:
            for term in terms:
                self._met[term_id(term)] = term
                self._met.move_to_end(term_id(term))
            while len(self._met) > _MET:
                self._met.popitem(last=False)


def term_id(term: str) -> int:
    """Return the id of a term, from 0 to 2^31 - 2: a hash of its UTF-8, the same in every process, on every machine."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8"), digest_size=8).digest(), "little") % _SPACE


def _by_id(terms: Counter[str]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for term, tf in terms.items():
        counts[term_id(term)] += tf
    return counts


def _matrix(rows: list[dict[int, float]]) -> csr_array:
    from scipy.sparse import csr_array

    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    entries = [entry for row in rows for entry in sorted(row.items())]
    indices = np.array([id_ for id_, _ in entries], dtype=np.int32)
    return csr_array((np.array([weight for _, weight in entries], np.float32), indices, indptr), (len(rows), _SPACE))


def _check_number(value: object, name: str, least: float, most: float) -> float:
    wrong = isinstance(value, bool) or not isinstance(value, (int, float))
    if wrong or not math.isfinite(value) or not least <= value <= most:  # type: ignore[operator, arg-type]
        span = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise InvalidInputError(f"{name}={value!r} must be a number {span}")
    return float(value)  # type: ignore[arg-type]
