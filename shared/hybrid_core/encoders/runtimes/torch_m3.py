"""BGE-M3's forward pass on torch: one run of the transformer, three heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ModelLoadError, require
from ...types import IntArray
from ..checkpoint import Checkpoint
from .base import Outputs, Precision
from .devices import pick_device, pick_precision
from .packing import pack
from .transformer import Transformer
from .weights import base_model, load_head, read_weights


class TorchM3:
    """The three heads over one XLM-RoBERTa (arXiv 2402.03216, section 3.2), without padding.

    Args:
        checkpoint: a whole checkpoint.
        device: a torch device; None takes CUDA, then MPS, then the CPU.
        precision: "auto" is float16 on CUDA and MPS, float32 on the CPU.

    Raises:
        ModelLoadError: weights are missing or do not fit.
    """

    backend = "torch"

    def __init__(self, checkpoint: Checkpoint, *, device: str | None, precision: Precision) -> None:
        self._torch = require("torch", "torch")
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        state = base_model(read_weights(checkpoint.folder, checkpoint.name))
        self._transformer = Transformer(
            checkpoint.config, state, name=checkpoint.name, device=self.device, precision=self.precision
        )
        hidden, place = self._transformer.hidden, {"device": self.device, "dtype": self._transformer.dtype}
        heads = {name: load_head(path) for name, path in checkpoint.heads.items()}
        shapes = {name: tuple(weight.shape) for name, (weight, _) in heads.items()}
        if shapes["sparse_linear"] != (1, hidden) or shapes["colbert_linear"][1] != hidden:
            raise ModelLoadError(
                f"the heads of {checkpoint.name!r} do not fit its hidden size {hidden}: "
                f"sparse {shapes['sparse_linear']}, multi-vector {shapes['colbert_linear']}"
            )
        self._sparse, self._multi = (
            tuple(tensor.to(**place) for tensor in heads[name]) for name in ("sparse_linear", "colbert_linear")
        )

    def run(self, rows: Sequence[IntArray], *, multi: bool) -> Outputs:
        """Run texts, given as token ids with special tokens, in one pass."""
        torch = self._torch
        functional = torch.nn.functional
        packed = pack(rows, None, self._transformer.pad_id)
        place = packed.token_order()
        begins = packed.first[packed.order.argsort()]  # where each text given begins in the pack
        with torch.inference_mode():
            states = self._transformer.run(packed)
            # normalised in float32: half precision would leave rows off unit length by a thousandth
            dense = functional.normalize(states[torch.from_numpy(begins).to(self.device)].float(), dim=-1)
            weights = torch.relu(functional.linear(states, *self._sparse)).squeeze(-1).float().cpu().numpy()[place]
            vectors = None
            if multi:
                chosen = states[torch.from_numpy(place[~np.isin(place, begins)]).to(self.device)]
                vectors = functional.normalize(functional.linear(chosen, *self._multi).float(), dim=-1).cpu().numpy()
        return Outputs(dense.cpu().numpy(), weights, vectors)
