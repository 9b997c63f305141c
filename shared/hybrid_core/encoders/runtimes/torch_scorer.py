"""A cross-encoder's forward pass on torch: BERT's and XLM-RoBERTa's sequence classification with one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelLoadError, require
from ...types import FloatArray, IntArray
from .base import Precision
from .devices import pick_device, pick_precision
from .packing import pack
from .transformer import ROBERTA, Transformer
from .weights import base_model, read_weights


class TorchScorer:
    """Transformer and classification head, without padding; the last layer works for the first token only.

    Args:
        folder: of the checkpoint.
        config: its config.json.
        name: of the checkpoint, for errors.
        device: a torch device; None takes CUDA, then MPS, then the CPU.
        precision: "auto" is float16 on CUDA and MPS, float32 on the CPU.

    Raises:
        ModelLoadError: weights are missing or do not fit; a head that is missing is never filled with random numbers.
    """

    backend = "torch"

    def __init__(
        self, folder: Path, config: Mapping[str, Any], *, name: str, device: str | None, precision: Precision
    ) -> None:
        self._torch = require("torch", "torch")
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        state = read_weights(folder, name)
        head = {key: tensor for key, tensor in state.items() if key.startswith(("classifier.", "bert.pooler."))}
        self._transformer = Transformer(
            config, base_model(state), name=name, device=self.device, precision=self.precision, first_only=True
        )
        roberta = config["model_type"] in ROBERTA
        wide, out = ("classifier.dense", "classifier.out_proj") if roberta else ("bert.pooler.dense", "classifier")
        needed = [f"{layer}.{part}" for layer in (wide, out) for part in ("weight", "bias")]
        missing = [key for key in needed if key not in head]
        if missing:
            raise ModelLoadError(
                f"{name!r} is no reranker: it lacks the weights {', '.join(missing)}, which would be random. "
                "Use a model such as BAAI/bge-reranker-v2-m3"
            )
        place = {"device": self.device, "dtype": self._transformer.dtype, "copy": True}
        self._wide, self._out = (
            tuple(head[f"{layer}.{part}"].to(**place) for part in ("weight", "bias")) for layer in (wide, out)
        )

    def run(self, rows: Sequence[IntArray], types: Sequence[IntArray] | None = None) -> FloatArray:
        """Return the logit of each pair, float32 (n,)."""
        torch = self._torch
        linear = torch.nn.functional.linear
        packed = pack(rows, types, self._transformer.pad_id)
        with torch.inference_mode():
            first = self._transformer.run(packed)
            logits = linear(torch.tanh(linear(first, *self._wide)), *self._out).squeeze(-1).float().cpu().numpy()
        out: FloatArray = logits[packed.order.argsort()]
        return out
