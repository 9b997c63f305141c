"""What each embedding API is asked, and where in its answer the vectors are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from ...errors import EmbeddingError, InvalidInputError
from ...http.answers import entry, in_order
from ...types import FloatArray

EmbeddingApiName: TypeAlias = Literal["tei", "openai", "vllm", "infinity"]
EncodingFormat: TypeAlias = Literal["float", "base64"]


@dataclass(frozen=True, slots=True)
class EmbeddingApi:
    """One API.

    Attributes:
        name: as users give it.
        route: where texts are posted.
        texts: the entry of the request that holds them.
        wrapped: the answer is OpenAI's ({"data": [{"index", "embedding"}]}), not a bare list of vectors.
        info: where the server says what it serves; empty where nothing is documented, or it says nothing of use.
        batch: texts in a request, unless the user says otherwise.
        most_texts: the documented limit of texts in a request; None where there is none, or the server reports it.
        most_bytes: a limit of bytes that keeps a request under the documented one.
        most_characters: the documented limit of a text; the model sees far less of it.
        extra: further entries of the request.
        home: the address of the service, for APIs that have one.
    """

    name: EmbeddingApiName
    route: str
    texts: str
    wrapped: bool
    info: str
    batch: int
    most_texts: int | None = None
    most_bytes: int | None = None
    most_characters: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    home: str | None = None

    def body(self, texts: list[str], model: str, encoding_format: EncodingFormat) -> dict[str, Any]:
        """Return the request."""
        named = {"model": model, "encoding_format": encoding_format} if self.wrapped else {}
        return {self.texts: texts, **named, **self.extra}

    def vectors(self, answer: Any, count: int, first: int, server: str) -> FloatArray:
        """Return (count, d) float32 rows of unit length, in the order of the texts.

        Args:
            answer: of the server.
            count: of texts that were sent.
            first: position of the first of them among the caller's, for messages.
            server: its address, for messages.

        Raises:
            EmbeddingError: a vector is missing, not of numbers, of another length than the others, zero, NaN or
                infinite.
        """
        if self.wrapped:
            rows = [entry(item, "embedding", server) for item in in_order(entry(answer, "data", server), count, server)]
        elif isinstance(answer, list) and len(answer) == count:
            rows = answer
        else:
            what = f"{len(answer)} vectors" if isinstance(answer, list) else f"{answer!r:.80}"
            raise EmbeddingError(f"{server} gave {what} for {count} texts; check url and api=")
        return _unit_rows([_numbers(row, first + i, server) for i, row in enumerate(rows)], first, server)


# TEI: its OpenAPI document (docs/openapi.json), 1.6; a request has at most 2,000,000 bytes (--payload-limit).
# OpenAI: the API reference of "Create embeddings": 2,048 inputs and 300,000 tokens in a request. A token has at least
# one byte, so that many bytes are not more tokens.
# vLLM: "OpenAI-Compatible Embeddings API" in its documentation; -1 cuts texts to what the model can take.
# Infinity: its OpenAPI document (docs/assets/openapi.json), 0.0.63.
_APIS = (
    EmbeddingApi(
        "tei", "/embed", "inputs", wrapped=False, info="/info", batch=32, most_bytes=1_900_000,
        extra={"normalize": True, "truncate": True},
    ),
    EmbeddingApi(
        "openai", "/v1/embeddings", "input", wrapped=True, info="", batch=256, most_texts=2_048, most_bytes=300_000,
        home="https://api.openai.com",
    ),
    EmbeddingApi(
        "vllm", "/v1/embeddings", "input", wrapped=True, info="/v1/models", batch=64,
        extra={"truncate_prompt_tokens": -1},
    ),
    EmbeddingApi(
        "infinity", "/embeddings", "input", wrapped=True, info="/models", batch=64, most_texts=2_048,
        most_characters=122_880,
    ),
)  # fmt: skip
APIS: Mapping[str, EmbeddingApi] = {api.name: api for api in _APIS}


def find_api(name: object) -> EmbeddingApi:
    """Return an API by its name, or raise InvalidInputError naming those there are."""
    if not isinstance(name, str) or name not in APIS:
        raise InvalidInputError(f"api={name!r:.80} must be one of {', '.join(map(repr, APIS))}")
    return APIS[name]


def _numbers(row: Any, position: int, server: str) -> FloatArray:
    """Read one vector: a list of numbers, or float32 in base64."""
    if isinstance(row, str):
        try:
            raw = base64.b64decode(row, validate=True)
            return np.frombuffer(raw, dtype="<f4").astype(np.float32)
        except (binascii.Error, ValueError) as error:
            raise EmbeddingError(f"{server} gave base64 for text {position} that cannot be read: {error}") from error
    try:
        vector = np.asarray(row)
    except ValueError:
        vector = np.empty(0, dtype=object)
    if vector.ndim != 1 or vector.dtype.kind not in "fiu":
        raise EmbeddingError(f"{server} gave no vector of numbers for text {position}: {row!r:.60}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and is reported as such
        return vector.astype(np.float32)


def _unit_rows(rows: list[FloatArray], first: int, server: str) -> FloatArray:
    lengths = {len(row) for row in rows}
    if len(lengths) > 1 or 0 in lengths:
        raise EmbeddingError(
            f"{server} gave vectors of {', '.join(map(str, sorted(lengths)))} dimensions in one answer"
        )
    dense = np.stack(rows)
    norms = np.linalg.norm(dense.astype(np.float64), axis=1)
    bad = ~np.isfinite(dense).all(axis=1) | (norms == 0)
    if bad.any():
        position = int(np.flatnonzero(bad)[0])
        what = "NaN or infinity" if not np.isfinite(dense[position]).all() else "zeros only"
        raise EmbeddingError(f"{server} gave a vector with {what} for text {first + position}; see the server's log")
    unit: FloatArray = (dense / norms[:, None]).astype(np.float32)
    return unit
