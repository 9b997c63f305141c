"""Cross-encoders of any other architecture, run by sentence-transformers as it runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.runtimes.base import Precision
from ..encoders.runtimes.crew import Crew
from ..encoders.runtimes.devices import pick_device, pick_precision
from ..encoders.runtimes.weights import read_weights
from ..errors import InvalidInputError, ModelLoadError, require
from ..types import FloatArray, IntArray


class LibraryScorer:
    """A sequence-classification model of one label that sentence-transformers can load: DeBERTa, ModernBERT, ELECTRA.

    Args:
        folder: of the checkpoint.
        name: of the checkpoint, for errors.
        device: a torch device; None takes CUDA, then MPS, then the CPU.
        precision: "auto" is float16 on CUDA and MPS, float32 on the CPU; int8 is not offered.

    Raises:
        ModelLoadError: the library cannot load it, or its head would be random.
    """

    backend = "torch"

    def __init__(self, folder: Path, *, name: str, device: str | None, precision: Precision) -> None:
        torch = self._torch = require("torch", "torch")
        cross_encoder = require("sentence_transformers", "torch").CrossEncoder
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        if self.precision == "int8":
            raise InvalidInputError(f'precision="int8" is not offered for the architecture of {name!r}; use "fp32"')
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]
        try:
            model = cross_encoder(str(folder), device=self.device, local_files_only=True, model_kwargs={"dtype": dtype})
        except Exception as error:  # transformers, safetensors and torch each raise their own
            raise ModelLoadError(f"reranker {name!r} cannot be loaded: {error}") from error
        _check_head(model.model, folder, name)
        self._crew = Crew(self.device)
        self._model, self._pad = model, model.tokenizer.pad_token_id or 0
        self._typed = "token_type_ids" in model.tokenizer.model_input_names

    def run(self, rows: Sequence[IntArray], types: Sequence[IntArray] | None = None) -> FloatArray:
        """Return the logit of each pair, float32 (n,)."""
        torch = self._torch
        features = {"input_ids": _padded(rows, self._pad), "attention_mask": _padded([r * 0 + 1 for r in rows], 0)}
        if self._typed and types is not None:
            features["token_type_ids"] = _padded(types, 0)
        self._model.eval()
        with torch.inference_mode(), self._crew.at_work(features["input_ids"].size):
            moved = {key: torch.from_numpy(array).to(self.device) for key, array in features.items()}
            logits: FloatArray = self._model(moved)["scores"].float().reshape(-1).cpu().numpy()
        return logits


def _padded(rows: Sequence[IntArray], value: int) -> Any:
    out = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def _check_head(model: Any, folder: Path, name: str) -> None:
    """Raise ModelLoadError unless the weights of the scoring head are in the checkpoint.

    transformers fills a head that is missing with random numbers, so that an embedding model would load as a reranker
    and score at random.
    """
    stored = read_weights(folder, name)
    head = [key for key, _ in model.named_parameters() if not key.startswith(f"{model.base_model_prefix}.")]
    missing = [key for key in head if key not in stored]
    if missing:
        raise ModelLoadError(
            f"{name!r} is no reranker: it lacks the weights {', '.join(missing)}, which would be random. "
            "Use a model such as BAAI/bge-reranker-v2-m3"
        )
