"""Cross-encoders: query and passage read together by one model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_count, check_text, check_texts
from ..encoders.batching import token_batches
from ..encoders.checkpoint import find_folder
from ..errors import EmbeddingError, ModelLoadError, require
from ..types import FloatArray

logger = logging.getLogger(__name__)


class CrossEncoderReranker:
    """Scores passages with a sequence-classification model of one label, loaded by sentence-transformers.

    Works with BAAI/bge-reranker-base, -large and -v2-m3, cross-encoder/ms-marco-MiniLM-L6-v2 and their kin.

    Args:
        model: a hub name or a folder.
        device: a torch device; None takes the best there is.
        max_length: tokens of query and passage together; the model's own limit where that is less. The longer of the
            two is cut first.
        batch_tokens: the most tokens in a batch, padding counted; None takes 4,096 on the CPU, 65,536 on a GPU.
        revision, cache_dir, local_files_only: as in huggingface_hub.snapshot_download.

    Raises:
        ModelLoadError: no such model, or it is not a reranker with one label.
        MissingDependencyError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        model: str | Path = "BAAI/bge-reranker-v2-m3",
        *,
        device: str | None = None,
        max_length: int = 1024,
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        check_count(max_length, "max_length", least=4)
        if batch_tokens is not None:
            check_count(batch_tokens, "batch_tokens", least=1)
        cross_encoder = require("sentence_transformers", "torch").CrossEncoder
        self.name, folder = find_folder(
            model, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only
        )
        try:
            self._model = cross_encoder(str(folder), device=device, local_files_only=True)
        except Exception as error:  # transformers, safetensors and torch each raise their own
            raise ModelLoadError(f"reranker {self.name!r} cannot be loaded: {error}") from error
        if self._model.num_labels != 1:
            raise ModelLoadError(
                f"{self.name!r} has {self._model.num_labels} labels; a reranker has one. "
                "Use a model such as BAAI/bge-reranker-v2-m3"
            )
        _check_head(self._model.model, folder, self.name)
        self._max_length = min(max_length, _own_limit(self._model))
        on_cpu = str(self._model.device).startswith("cpu")
        self._batch_tokens = batch_tokens or (4_096 if on_cpu else 65_536)
        self._lock = threading.Lock()
        self._reported_truncation = False

    def __repr__(self) -> str:
        return f"CrossEncoderReranker({self.name!r}, max_length={self._max_length}, device={str(self._model.device)!r})"

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return sigmoid(logit) of each text, float32 (n,) in [0, 1], in the order given.

        Raises:
            InvalidTextError: the query or a text is not a string.
            EmbeddingError: naming the position of a text for which the model returned NaN.
        """
        check_text(query, "query")
        texts = check_texts(texts)
        scores = np.empty(len(texts), dtype=np.float32)
        with self._lock:  # tokenizer and model are not for two threads at once
            rows = self._tokenize(query, texts)
            for batch in token_batches([len(row["input_ids"]) for row in rows], self._batch_tokens):
                scores[batch] = self._run([rows[i] for i in batch])
        if np.isnan(scores).any():
            raise EmbeddingError(f"{self.name!r} returned NaN for text {int(np.flatnonzero(np.isnan(scores))[0])}")
        return scores

    def _tokenize(self, query: str, texts: list[str]) -> list[dict[str, list[int]]]:
        if not texts:
            return []
        encoded = self._model.tokenizer(
            [query] * len(texts), texts, truncation="longest_first", max_length=self._max_length
        )
        rows = [{key: encoded[key][i] for key in encoded} for i in range(len(texts))]
        full = sum(len(row["input_ids"]) == self._max_length for row in rows)
        if full and not self._reported_truncation:
            self._reported_truncation = True
            logger.warning(
                "%d of %d texts fill the %d tokens that query and text share; what lies beyond is not scored. "
                "Split such texts, or raise max_length. Reported once.",
                full, len(texts), self._max_length,
            )  # fmt: skip
        return rows

    def _run(self, rows: list[dict[str, list[int]]]) -> FloatArray:
        torch = require("torch", "torch")
        features = self._model.tokenizer.pad(rows, return_tensors="pt").to(self._model.device)
        self._model.eval()
        with torch.inference_mode():
            logits = self._model(dict(features))["scores"].float().reshape(-1)
            scores: FloatArray = torch.sigmoid(logits).cpu().numpy()
        return scores


def _check_head(model: Any, folder: Path, name: str) -> None:
    """Raise ModelLoadError unless the weights of the scoring head are in the checkpoint.

    transformers fills a head that is missing with random numbers, so that an embedding model would load as a reranker
    and score at random.
    """
    stored = _weight_names(folder)
    head = [key for key, _ in model.named_parameters() if not key.startswith(f"{model.base_model_prefix}.")]
    missing = [key for key in head if key not in stored]
    if missing:
        raise ModelLoadError(
            f"{name!r} is no reranker: it lacks the weights {', '.join(missing)}, which would be random. "
            "Use a model such as BAAI/bge-reranker-v2-m3"
        )


def _weight_names(folder: Path) -> set[str]:
    """Return the names of the tensors in a checkpoint, without reading the tensors."""
    names: set[str] = set()
    for path in folder.glob("model*.safetensors"):
        with require("safetensors", "torch").safe_open(path, "pt") as file:
            names.update(file.keys())
    for path in [] if names else folder.glob("pytorch_model*.bin"):
        names.update(require("torch", "torch").load(path, map_location="cpu", weights_only=True, mmap=True))
    return names


def _own_limit(model: Any) -> int:
    """Tokens the model can take; RoBERTa's positions start behind the padding id."""
    config = model.model.config
    limit = int(getattr(config, "max_position_embeddings", 1 << 30))
    if "roberta" in config.model_type:
        limit -= int(config.pad_token_id) + 1
    return min(limit, int(model.tokenizer.model_max_length))
