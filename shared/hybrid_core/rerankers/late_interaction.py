"""Late interaction: BGE-M3's multi-vectors compared token by token (MaxSim)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checks import check_text, check_texts
from ..encoders.base import Encoder
from ..types import FloatArray


class LateInteractionReranker:
    """Scores a passage by how well each query token finds a partner in it.

    For each query token the highest cosine with any passage token, averaged over the query tokens (arXiv 2402.03216,
    section 3.2, after ColBERT, arXiv 2004.12832). It needs no second model: give it the index's own encoder. The
    passages are encoded at query time, so the cost grows with their length.

    Args:
        encoder: an encoder with a multi-vector head.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @property
    def name(self) -> str:
        """The encoder's model name, marked as late interaction."""
        return f"{self.encoder.fingerprint.model} (late interaction)"

    def __repr__(self) -> str:
        return f"LateInteractionReranker({self.encoder!r})"

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return MaxSim scores (n,), float32; the rare negative mean cosine counts as 0.

        Raises:
            InvalidTextError: the query or a text is not a string.
        """
        check_text(query, "query")
        texts = check_texts(texts)
        if not texts:
            return np.empty(0, dtype=np.float32)
        [tokens] = self.encoder.encode_queries([query], multi=True).multi or ()
        passages = self.encoder.encode_documents(texts, multi=True).multi or ()
        scores = [float((tokens @ passage.T).max(axis=1).mean()) for passage in passages]
        return np.clip(np.array(scores, dtype=np.float32), 0.0, 1.0)
