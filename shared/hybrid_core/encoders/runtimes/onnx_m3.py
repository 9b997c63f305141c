"""BGE-M3's forward pass on ONNX Runtime, from an exported folder; needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...types import IntArray
from .base import Outputs, Precision
from .onnx_folder import read_export
from .onnx_session import OnnxSession
from .packing import pack


class OnnxM3:
    """The three heads over one exported transformer.

    Args:
        folder: made by `hybrid_core.export.export_model`.
        device: "cpu", or "cuda" where onnxruntime-gpu is installed; None is the CPU.
        precision: "auto", or what the export is.
        threads: of the CPU; None takes one for each core.

    Raises:
        ModelLoadError: the folder is incomplete, damaged, or holds a cross-encoder.
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
        self._session = OnnxSession(self.export, kind="encoder", device=device, precision=precision, threads=threads)
        self.device, self.precision = self._session.device, self.export.precision

    def run(self, rows: Sequence[IntArray], *, multi: bool) -> Outputs:
        """Run texts, given as token ids with special tokens; of any lengths, in the order the outputs have."""
        packed = pack(rows, None, self.export.pad_id)
        dense, weights, vectors = self._session.run(packed, multi=multi)
        tokens = packed.token_order()
        back = np.argsort(packed.order)
        if not multi:
            return Outputs(dense[back], weights[tokens], None)
        first = np.zeros(len(tokens), dtype=np.int64)
        first[packed.first] = 1
        others = tokens[first[tokens] == 0]  # every vector stands as many rows higher as texts begin before it
        return Outputs(dense[back], weights[tokens], vectors[others - np.cumsum(first)[others]])
