"""What each reranking API is asked, and where in its answer the scores are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..errors import InvalidInputError
from ..http.answers import entry, in_order

RerankApiName: TypeAlias = Literal["tei", "vllm", "infinity", "cohere", "jina", "voyage"]


@dataclass(frozen=True, slots=True)
class RerankApi:
    """One API.

    Attributes:
        name: as users give it.
        route: where query and texts are posted.
        batch: texts in a request, unless the user says otherwise.
        most_texts: the documented limit of texts in a request; None where there is none, or the server reports it.
        texts: the entry of the request that holds them.
        results: the entry of the answer that holds the list of results; empty where the answer is the list.
        score: the entry of a result that holds its score.
        most_bytes: a limit of bytes that keeps a request under the documented one.
        most_characters: the documented limit of a text; the model sees far less of it.
        query_counts: the limit of bytes counts the query once for each text.
        extra: further entries of the request.
        home: the address of the service, for APIs that have one; these need a model and a key.
        max_tokens: of query and text together, as documented; None where that is the served model's affair.
    """

    name: RerankApiName
    route: str
    batch: int
    most_texts: int | None = None
    texts: str = "documents"
    results: str = "results"
    score: str = "relevance_score"
    most_bytes: int | None = None
    most_characters: int | None = None
    query_counts: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)
    home: str | None = None
    max_tokens: int | None = None

    def body(self, query: str, texts: list[str], model: str | None) -> dict[str, Any]:
        """Return the request."""
        named = {"model": model} if model and self.name != "tei" else {}
        return {"query": query, self.texts: texts, **named, **self.extra}

    def scores(self, answer: Any, count: int, server: str) -> list[Any]:
        """Return what stands for the score of each text, in their order; all results are due, whatever their rank.

        Raises:
            EmbeddingError: a result is missing, there twice, or of no text that was sent.
        """
        results = entry(answer, self.results, server) if self.results else answer
        return [entry(item, self.score, server) for item in in_order(results, count, server)]


# TEI: its OpenAPI document (docs/openapi.json), 1.6; a request has at most 2,000,000 bytes (--payload-limit).
# vLLM: "Rerank API" in its documentation, the interface of Jina and Cohere; -1 cuts texts to what the model can take.
# Infinity: its OpenAPI document (docs/assets/openapi.json), 0.0.63.
# Cohere: "Rerank API (v2)" and "Best Practices for using Rerank": 10,000 documents at most, over 1,000 not recommended;
# of each it reads 4,096 tokens unless told otherwise (max_tokens_per_doc).
# Jina: "Reranker API"; no limit of documents is documented. Its models read 8,192 tokens or more, or have windows of
# their own.
# Voyage: "Rerankers": 1,000 documents; query tokens * documents + document tokens <= 600,000 for its current models. A
# token has at least one byte, so that many bytes are never more tokens. rerank-2-lite reads 8,000 tokens, rerank-2.5
# 32,000.
_APIS = (
    RerankApi(
        "tei", "/rerank", batch=32, texts="texts", results="", score="score", most_bytes=1_900_000,
        extra={"raw_scores": False, "return_text": False, "truncate": True},
    ),
    RerankApi("vllm", "/v1/rerank", batch=64, extra={"truncate_prompt_tokens": -1}),
    RerankApi(
        "infinity", "/rerank", batch=64, most_texts=2_048, most_characters=122_880,
        extra={"raw_scores": False, "return_documents": False},
    ),
    RerankApi(
        "cohere", "/v2/rerank", batch=1_000, most_texts=10_000, max_tokens=4_096, home="https://api.cohere.com",
    ),
    RerankApi(
        "jina", "/v1/rerank", batch=100, max_tokens=8_192, extra={"return_documents": False},
        home="https://api.jina.ai",
    ),
    RerankApi(
        "voyage", "/v1/rerank", batch=1_000, most_texts=1_000, results="data", most_bytes=600_000, query_counts=True,
        max_tokens=8_000, extra={"return_documents": False, "truncation": True}, home="https://api.voyageai.com",
    ),
)  # fmt: skip
APIS: Mapping[str, RerankApi] = {api.name: api for api in _APIS}


def find_api(name: object) -> RerankApi:
    """Return an API by its name, or raise InvalidInputError naming those there are."""
    if not isinstance(name, str) or name not in APIS:
        raise InvalidInputError(f"api={name!r:.80} must be one of {', '.join(map(repr, APIS))}")
    return APIS[name]
