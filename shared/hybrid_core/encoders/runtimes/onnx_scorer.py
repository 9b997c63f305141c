"""A cross-encoder's forward pass on ONNX Runtime, from an exported folder; needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...types import FloatArray, IntArray
from .base import Precision
from .onnx_folder import read_export
from .onnx_session import OnnxSession
from .packing import pack


class OnnxScorer:
    """An exported cross-encoder with one label.

    Args:
        folder: made by `hybrid_core.export.export_model`.
        device: "cpu", or "cuda" where onnxruntime-gpu is installed; None is the CPU.
        precision: "auto", or what the export is.
        threads: of the CPU; None takes one for each core.

    Raises:
        ModelLoadError: the folder is incomplete, damaged, or holds an encoder.
        InvalidInputError: there is no such device here, or the export has another precision.
        MissingDependencyError: onnxruntime is not installed.
    """

    backend = "onnx"

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        precision: Precision = "auto",
        threads: int | None = None,
    ) -> None:
        self.export = read_export(folder)
        self._session = OnnxSession(self.export, kind="reranker", device=device, precision=precision, threads=threads)
        self.device, self.precision = self._session.device, self.export.precision

    def run(self, rows: Sequence[IntArray], types: Sequence[IntArray] | None = None) -> FloatArray:
        """Return the logit of each pair (n,), given as token ids and token types; no types are all zero."""
        packed = pack(rows, types, self.export.pad_id)
        [logits] = self._session.run(packed)
        scores: FloatArray = logits[np.argsort(packed.order)]
        return scores
