"""An encoder that remembers: whoever asks for the other half of a text's vectors does not run the model again."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence

from ..checks import check_count, check_texts
from ..types import Encoding, Fingerprint
from .base import AsyncEncoder, Encoder
from .query_cache import encoding_bytes


class OnePass:
    """The given encoder, and what it made of the documents it saw last.

    Vector stores of others ask one object for dense vectors and another for sparse ones, of the same texts. Give both
    the same OnePass, and the model runs once: the second is answered from memory. Where both sides are asked at once,
    as `HybridIndex` does, there is nothing to gain.

    Threads may share it. Two that ask for the same new text at the same moment both run the model.

    Args:
        encoder: makes the vectors.
        most_bytes: of texts and vectors remembered, the oldest go first. A text of BGE-M3 takes some 5 kB: the default
            is for 50,000 in one call.

    Raises:
        InvalidInputError: most_bytes is negative; 0 remembers nothing.

    Example:
        >>> encoder = OnePass(BgeM3Encoder.tiny())
        >>> dense = encoder.encode_documents(["A worker pulls tasks."]).dense
        >>> sparse = encoder.encode_documents(["A worker pulls tasks."]).sparse  # no second pass
    """

    def __init__(self, encoder: Encoder, *, most_bytes: int = 256 << 20) -> None:
        self.encoder = encoder
        self._most_bytes = check_count(most_bytes, "most_bytes")
        self._lock = threading.Lock()
        self._batches: OrderedDict[int, tuple[list[str], Encoding, int]] = OrderedDict()  # oldest first
        self._places: dict[str, tuple[int, int]] = {}  # text -> its batch, and its row there
        self._bytes = self._made = 0

    def __repr__(self) -> str:
        return f"OnePass({self.encoder!r})"

    @property
    def fingerprint(self) -> Fingerprint:
        """The encoder's own."""
        return self.encoder.fingerprint

    @property
    def nbytes(self) -> int:
        """The bytes remembered."""
        return self._bytes

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """As the encoder's, which sees only texts that are not remembered; multi-vectors are not remembered."""
        if multi:
            return self.encoder.encode_documents(texts, multi=True, show_progress=show_progress)
        texts = check_texts(texts)
        parts, row_of = self._recall(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in row_of]
        if missing or not texts:
            fresh = self.encoder.encode_documents(missing, show_progress=show_progress)
            self._remember(missing, fresh)
            if missing == texts:
                return fresh
            row_of |= {text: len(row_of) + row for row, text in enumerate(missing)}
            parts.append(fresh)
        return Encoding.join(parts).rows([row_of[text] for text in texts])

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """As the encoder's, which may remember the last queries itself (`BgeM3Encoder` does)."""
        return self.encoder.encode_queries(texts, multi=multi)

    async def aencode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """As the encoder's, or in a thread where it has no such method."""
        if isinstance(self.encoder, AsyncEncoder):
            return await self.encoder.aencode_queries(texts, multi=multi)
        return await asyncio.to_thread(self.encoder.encode_queries, texts, multi=multi)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """As the encoder's."""
        return self.encoder.tokens(ids)

    def clear(self) -> None:
        """Remember nothing of what there is."""
        with self._lock:
            self._batches.clear()
            self._places.clear()
            self._bytes = 0

    def _recall(self, texts: list[str]) -> tuple[list[Encoding], dict[str, int]]:
        """Return vectors of the texts that are remembered, and each such text's row in them, one below the other."""
        of_batch: dict[int, list[tuple[str, int]]] = {}
        with self._lock:
            for text in dict.fromkeys(texts):
                if text in self._places:
                    number, row = self._places[text]
                    of_batch.setdefault(number, []).append((text, row))
            batches = {number: self._batches[number][1] for number in of_batch}
        parts: list[Encoding] = []
        row_of: dict[str, int] = {}
        for number, found in of_batch.items():
            parts.append(batches[number].rows([row for _, row in found]))
            row_of |= {text: len(row_of) + i for i, (text, _) in enumerate(found)}
        return parts, row_of

    def _remember(self, texts: list[str], encoding: Encoding) -> None:
        weight = encoding_bytes(encoding) + sum(map(sys.getsizeof, texts))
        if not texts or weight > self._most_bytes:
            return
        for array in (encoding.dense, encoding.sparse.data, encoding.sparse.indices, encoding.sparse.indptr):
            array.flags.writeable = False  # it is handed out more than once
        with self._lock:
            number, self._made = self._made, self._made + 1
            self._batches[number] = texts, encoding, weight
            self._places |= {text: (number, row) for row, text in enumerate(texts)}
            self._bytes += weight
            while self._bytes > self._most_bytes:
                old, (gone, _, freed) = self._batches.popitem(last=False)
                self._bytes -= freed
                for text in gone:
                    if self._places.get(text, (None,))[0] == old:
                        del self._places[text]
