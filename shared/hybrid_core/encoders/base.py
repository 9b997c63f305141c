"""What the rest of the project asks of an encoder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..types import Encoding, Fingerprint


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into dense, sparse and, on request, multi-vectors, in one forward pass."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides which vector a text gets."""
        ...

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """Encode passages, in the order given."""
        ...

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """Encode queries, in the order given."""
        ...

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the vocabulary's strings for sparse ids."""
        ...


@runtime_checkable
class AsyncEncoder(Protocol):
    """An encoder in whose forward passes the queries of many tasks are joined."""

    async def aencode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """As `encode_queries`, without blocking the event loop."""
        ...


async def aencode_queries(encoder: Encoder, texts: Sequence[str]) -> Encoding:
    """Encode queries by the encoder's own coroutine, or in a thread where it has none."""
    if isinstance(encoder, AsyncEncoder):
        return await encoder.aencode_queries(texts)
    return await asyncio.to_thread(encoder.encode_queries, texts)
