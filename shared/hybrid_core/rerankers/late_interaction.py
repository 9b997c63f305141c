"""Late interaction: BGE-M3's multi-vectors compared token by token (MaxSim), alone or with its other two scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..checks import check_text, check_texts
from ..encoders.base import Encoder
from ..errors import InvalidInputError
from ..types import FloatArray


class LateInteractionReranker:
    """Scores a passage by how well each query token finds a partner in it.

    For each query token the highest cosine with any passage token, averaged over the query tokens (arXiv 2402.03216,
    section 3.2, after ColBERT, arXiv 2004.12832). It needs no second model: give it the index's own encoder. The
    passages are encoded at query time, so the cost grows with their length.

    With `weights` the score is the paper's combined one, the weighted mean of dense, sparse and multi-vector score. The
    same forward pass gives all three.

    Args:
        encoder: an encoder with a multi-vector head: BgeM3Encoder.
        weights: of the dense, the sparse and the multi-vector score, each >= 0 and not all 0: (1, 0.3, 1) in the
            paper's evaluation, (0.15, 0.5, 0.35) for long documents there. None is the multi-vector score alone.

    Raises:
        InvalidInputError: the encoder is none, or the weights are not three such numbers.

    Example:
        >>> reranker = LateInteractionReranker(BgeM3Encoder.tiny(), weights=(1, 0.3, 1))
        >>> scores = reranker.score("what do workers do?", ["Workers pull tasks.", "网关限流。"])
        >>> bool(scores[0] > scores[1])
        True
    """

    def __init__(self, encoder: Encoder, *, weights: tuple[float, float, float] | None = None) -> None:
        if isinstance(encoder, type) or not isinstance(encoder, Encoder):
            raise InvalidInputError(f"encoder={encoder!r:.80} is no encoder; pass an object, not a name")
        self.encoder = encoder
        self.weights = None if weights is None else _weights(weights)

    @property
    def name(self) -> str:
        """The encoder's model name, marked as late interaction, with the weights where the score is combined."""
        model = self.encoder.fingerprint.model
        if self.weights is None:
            return f"{model} (late interaction)"
        dense, sparse, multi = self.weights
        return f"{model} ({dense:g} dense + {sparse:g} sparse + {multi:g} late interaction)"

    def __repr__(self) -> str:
        weights = "" if self.weights is None else f", weights={self.weights}"
        return f"LateInteractionReranker({self.encoder!r}{weights})"

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return MaxSim or combined scores (n,), float32 in [0, 1].

        The rare mean below 0 counts as 0, and above 1, where many tokens match, a combined score counts as 1.

        Raises:
            InvalidTextError: the query or a text is not a string.
            InvalidInputError: the encoder has no multi-vectors.
        """
        check_text(query, "query")
        texts = check_texts(texts)
        if not texts:
            return np.empty(0, dtype=np.float32)
        asked = self.encoder.encode_queries([query], multi=True)
        found = self.encoder.encode_documents(texts, multi=True)
        if asked.multi is None or found.multi is None:
            raise InvalidInputError(f"{self.encoder!r} gives no multi-vectors; take BgeM3Encoder")
        [tokens] = asked.multi
        scores = np.array([(tokens @ passage.T).max(axis=1).mean() for passage in found.multi], dtype=np.float32)
        if self.weights is not None:
            matched = (found.sparse @ asked.sparse.T).toarray()[:, 0]
            parts = np.stack([found.dense @ asked.dense[0], matched, scores])
            scores = (np.array(self.weights) @ parts / sum(self.weights)).astype(np.float32)
        return np.clip(scores, 0.0, 1.0)


def _weights(given: object) -> tuple[float, float, float]:
    if isinstance(given, (tuple, list)) and len(given) == 3:
        numbers = [
            float(weight)
            for weight in given
            if isinstance(weight, (int, float)) and not isinstance(weight, bool) and 0 <= weight < math.inf
        ]
        if len(numbers) == 3 and any(numbers):
            return numbers[0], numbers[1], numbers[2]
    raise InvalidInputError(
        f"weights={given!r:.80} must be three numbers >= 0, not all 0: of the dense, the sparse and the multi-vector "
        "score"
    )
