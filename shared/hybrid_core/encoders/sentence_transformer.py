"""Dense models of sentence-transformers, with a sparse partner, as one encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_texts
from ..errors import EmbeddingError, InvalidInputError, require
from ..types import Encoding, Fingerprint, FloatArray
from .sentence_model import Precision, Role, SentenceModel
from .sparse_sides.base import SparseSide


class SentenceTransformerEncoder:
    """Any dense model that sentence-transformers loads, and beside it a sparse side: hybrid search for it.

    The dense side is the model's own `encode_query` and `encode_document`, normalised. Prompts that the checkpoint
    stores are used ("query", and "document", "passage" or "corpus"); where it stores none and its card asks for them,
    as with E5, they have to be given. The object may be shared by any number of threads and indexes.

    Args:
        model: a hub name such as "sentence-transformers/all-MiniLM-L6-v2", or a folder.
        sparse: turns texts into sparse weights: `Bm25()`, `Splade(...)` or another `SparseSide`.
        precision: "auto" (float16 on a GPU, float32 on the CPU), "fp32", "fp16" or "bf16".
        device: a torch device such as "cuda:1"; None takes CUDA, then MPS, then the CPU.
        max_length: tokens of a text that the model sees, prompt included; None takes what the checkpoint says. No more
            than it has positions for.
        batch_size: texts in a forward pass.
        query_prompt, passage_prompt: text put before every query or passage, in place of the checkpoint's; "" for none.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, a part of it is missing, it is another kind of model, such as a cross-encoder, or
            it needs code of its own.
        MissingDependencyError: sentence-transformers is not installed.
        InvalidInputError: an argument is out of range, or `sparse` is not a sparse side.

    Example:
        >>> encoder = SentenceTransformerEncoder(
        ...     "intfloat/e5-large-v2", sparse=Bm25(), query_prompt="query: ", passage_prompt="passage: "
        ... )
        >>> with HybridIndex.open("my-index", encoder=encoder) as index:
        ...     ids = index.add(["A worker pulls tasks from the queue."])
    """

    def __init__(
        self,
        model: str | Path,
        *,
        sparse: SparseSide,
        precision: Precision = "auto",
        device: str | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        if not isinstance(sparse, SparseSide) or isinstance(sparse, type):
            raise InvalidInputError(f"sparse={sparse!r:.80} is no sparse side; pass an object such as Bm25()")
        self._model = SentenceModel(
            model,
            "SentenceTransformer",
            precision=precision,
            device=device,
            max_length=max_length,
            batch_size=batch_size,
            query_prompt=query_prompt,
            passage_prompt=passage_prompt,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        self._sparse = sparse
        checkpoint = self._model.checkpoint
        self._fingerprint = Fingerprint(
            model=checkpoint.name,
            digest=checkpoint.digest(),
            dimension=int(self._model.encode(["dimension"], "passage").shape[1]),
            vocabulary=sparse.vocabulary,
            pooling=checkpoint.pooling,
            max_length=self._model.max_length,
            instruction=self._model.prompts["passage"],
            query_instruction=self._model.prompts["query"],
            sparse=sparse.name,
            sparse_weighting="idf" if sparse.idf else "plain",
        )

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides which vectors a text gets: the dense model, the prompts and the sparse side."""
        return self._fingerprint

    @property
    def device(self) -> str:
        """The torch device in use."""
        return self._model.device

    @property
    def precision(self) -> str:
        """The precision in use: "fp32", "fp16" or "bf16"."""
        return self._model.precision

    def __repr__(self) -> str:
        return (
            f"SentenceTransformerEncoder({self._fingerprint.model!r}, sparse={self._sparse!r}, "
            f"precision={self.precision!r}, device={self.device!r})"
        )

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        """Encode passages.

        Args:
            texts: strings, the empty one included.
            multi: not to be had from these models.
            show_progress: draw the library's progress bar over the batches.

        Returns:
            An Encoding with one row a text, in the order given. A text to which the model gives the zero vector, which
            has no direction, keeps it.

        Raises:
            InvalidTextError: naming the position of what is not a string or holds a lone surrogate.
            InvalidInputError: multi is set.
            EmbeddingError: naming the position of a text for which the model returned NaN or infinity.
        """
        texts = check_texts(texts)
        self._check_multi(multi)
        return Encoding(self._dense(texts, "passage", show_progress), self._sparse.encode_documents(texts))

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        """Encode queries; arguments, result and errors as in `encode_documents`."""
        texts = check_texts(texts, "query")
        self._check_multi(multi)
        return Encoding(self._dense(texts, "query", False), self._sparse.encode_queries(texts))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the strings of the sparse side's ids."""
        return self._sparse.tokens(ids)

    def _check_multi(self, multi: bool) -> None:
        if multi:
            raise InvalidInputError(
                f"{self._fingerprint.model!r} has no multi-vectors; rerank with CrossEncoderReranker, or take a "
                "BgeM3Encoder"
            )

    def _dense(self, texts: Sequence[str], role: Role, show_progress: bool) -> FloatArray:
        if not texts:
            return np.empty((0, self._fingerprint.dimension), dtype=np.float32)
        output = self._model.encode(texts, role, show_progress=show_progress)
        return _unit_rows(output, texts)


def _unit_rows(output: Any, texts: Sequence[str]) -> FloatArray:
    """Return rows of unit length, float32, or raise EmbeddingError."""
    rows = output.to(device="cpu", dtype=require("torch", "torch").float32).numpy()
    good = np.isfinite(rows).all(axis=1)
    if not good.all():
        raise EmbeddingError(
            f"the model returned NaN or infinity for text {int(np.flatnonzero(~good)[0])}; "
            'in half precision try precision="fp32", otherwise the checkpoint is damaged'
        )
    # in float64, where no square of a float32 overflows or vanishes
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit: FloatArray = (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return unit
