"""An encoder that tells before each call what it is about to encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hybrid_core import BgeM3Encoder, Encoding, Fingerprint


class WatchedEncoder:
    """The given encoder; `before` is called with the passages of each call, and may raise or wait."""

    def __init__(self, encoder: BgeM3Encoder, before: Callable[[Sequence[str]], Any]) -> None:
        self._encoder = encoder
        self._before = before

    @property
    def fingerprint(self) -> Fingerprint:
        return self._encoder.fingerprint

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        self._before(texts)
        return self._encoder.encode_documents(texts, multi=multi, show_progress=show_progress)

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        return self._encoder.encode_queries(texts, multi=multi)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self._encoder.tokens(ids)
