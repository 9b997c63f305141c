"""A sparse side of no model: how often each word is there."""

from __future__ import annotations

from collections.abc import Sequence

from model_server import VOCABULARY, word_weights
from scipy.sparse import csr_array

from hybrid_core.types import SparseVector


class WordCounts:
    """Words hashed into a small vocabulary."""

    def __init__(self, *, idf: bool = False) -> None:
        self.idf = idf
        self.name = "word counts"
        self.vocabulary = VOCABULARY

    def __repr__(self) -> str:
        return "WordCounts()"

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        rows = [SparseVector.from_dict(weights) for weights in word_weights(list(texts))]
        matrix = csr_array((len(rows), self.vocabulary), dtype="float32").tolil()
        for i, row in enumerate(rows):
            for index, value in row.as_dict().items():
                matrix[i, index] = value
        return csr_array(matrix.tocsr())

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        return self.encode_documents(texts)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [f"w{i}" for i in ids]
