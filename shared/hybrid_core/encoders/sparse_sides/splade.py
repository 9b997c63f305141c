"""SPLADE and its kin: sparse weights that a masked language model gives to the words of its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...checks import check_texts
from ...errors import EmbeddingError, ModelLoadError, require
from ..csr import to_csr
from ..sentence_model import Precision, Role, SentenceModel

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Splade:
    """Loads a `SparseEncoder` of sentence-transformers over a vocabulary, such as SPLADE (arXiv 2109.10086).

    Models whose queries need no forward pass (a table of weights, "inference-free") and those with two encoders work as
    the library routes them. The weights are the model's own: no inverse document frequency is put on them.

    Args:
        model: a hub name such as "naver/splade-v3", or a folder.
        precision: "auto" (float16 on a GPU, float32 on the CPU), "fp32", "fp16" or "bf16".
        device: a torch device such as "cuda:1"; None takes CUDA, then MPS, then the CPU.
        max_length: tokens of a text that the model sees; None takes what the checkpoint says. No more than it has
            positions for.
        batch_size: texts in a forward pass; each token of it takes room for the whole vocabulary.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, a part of it is missing, or it is another kind of model.
        MissingDependencyError: sentence-transformers is not installed.
        InvalidInputError: an argument is out of range.
    """

    idf = False

    def __init__(
        self,
        model: str | Path,
        *,
        precision: Precision = "auto",
        device: str | None = None,
        max_length: int | None = None,
        batch_size: int = 16,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        self._model = SentenceModel(
            model,
            "SparseEncoder",
            precision=precision,
            device=device,
            max_length=max_length,
            batch_size=batch_size,
            query_prompt=None,
            passage_prompt=None,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        checkpoint = self._model.checkpoint
        if "SparseAutoEncoder" in [module for module, _ in checkpoint.modules]:
            raise ModelLoadError(
                f"{checkpoint.name!r} is a SparseEncoder whose dimensions are no words; one over a vocabulary, such as "
                "naver/splade-v3, is needed"
            )
        self._vocabulary = int(self._model.encode(["vocabulary"], "passage").shape[1])
        self._special = np.array(self._model.model.tokenizer.all_special_ids, dtype=np.int64)
        prompts = self._model.prompts
        self._name = f"splade(digest={checkpoint.digest()!r}, max_length={self._model.max_length}, prompts={prompts})"

    @property
    def name(self) -> str:
        """The digest of the model, and what else decides which weights a text gets."""
        return self._name

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self._vocabulary

    def __repr__(self) -> str:
        return f"Splade({self._model.checkpoint.name!r}, device={self._model.device!r})"

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        """Return the weights (n, vocabulary) float32, special tokens left out; blank texts have none.

        Raises:
            InvalidTextError: naming the position of what is not a string or holds a lone surrogate.
            EmbeddingError: naming the position of a text for which the model returned NaN or infinity.
        """
        return self._encode(check_texts(texts), "passage")

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        """Return the weights (n, vocabulary) float32; all else as in `encode_documents`."""
        return self._encode(check_texts(texts, "query"), "query")

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the tokenizer's strings for vocabulary ids."""
        return [str(token) for token in self._model.model.tokenizer.convert_ids_to_tokens([int(i) for i in ids])]

    def _encode(self, texts: Sequence[str], role: Role) -> csr_array:
        shape = (len(texts), self._vocabulary)
        filled = np.array([i for i, text in enumerate(texts) if text.strip()], dtype=np.int64)
        if not len(filled):
            return to_csr([], [], shape)
        torch = require("torch", "torch")
        output = self._model.encode([texts[i] for i in filled.tolist()], role).coalesce()
        row, column = output.indices().cpu().numpy()
        weights = output.values().to(device="cpu", dtype=torch.float32).numpy()
        row = filled[row]
        good = np.isfinite(weights)
        if not good.all():
            raise EmbeddingError(
                f"the model returned NaN or infinity for text {int(row[~good].min())}; "
                'in half precision try precision="fp32", otherwise the checkpoint is damaged'
            )
        keep = (weights > 0) & ~np.isin(column, self._special)
        return to_csr([row[keep] * self._vocabulary + column[keep]], [weights[keep]], shape)
