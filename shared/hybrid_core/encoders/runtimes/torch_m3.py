"""BGE-M3's forward pass on torch: one run of the transformer, three heads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError, ModelLoadError, require
from ...types import FloatArray
from ..checkpoint import Checkpoint

Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16"]


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """One batch's output.

    Attributes:
        dense: (n, d) float32 unit rows: the normalised CLS state.
        weights: (n, tokens) float32 >= 0: relu(W_lex h) of each token.
        multi: (n, tokens - 1, d) float32 unit rows: the normalised W_mul h without CLS; None unless asked for.
    """

    dense: FloatArray
    weights: FloatArray
    multi: FloatArray | None


class TorchM3:
    """The three heads over one XLM-RoBERTa (arXiv 2402.03216, section 3.2).

    Args:
        checkpoint: a whole checkpoint.
        device: a torch device; None takes CUDA, then MPS, then the CPU.
        precision: "auto" is float16 on CUDA and MPS, float32 on the CPU.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str | None, precision: Precision) -> None:
        torch = require("torch", "torch")
        transformers = require("transformers", "torch")
        self.device = pick_device(device)
        self.precision = _pick_precision(precision, self.device)
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]
        try:
            with _quiet(transformers):
                self._model, report = transformers.XLMRobertaModel.from_pretrained(
                    checkpoint.folder,
                    dtype=dtype,
                    add_pooling_layer=False,
                    local_files_only=True,
                    output_loading_info=True,
                )
        except Exception as error:  # torch, pickle, safetensors and transformers each raise their own for a bad file
            raise ModelLoadError(f"the weights of {checkpoint.name!r} cannot be loaded: {error}") from error
        if report["missing_keys"]:
            raise ModelLoadError(
                f"{checkpoint.name!r} lacks weights, which would be random: {', '.join(sorted(report['missing_keys']))}"
            )
        self._sparse = _load_head(checkpoint.heads["sparse_linear"])
        self._multi = _load_head(checkpoint.heads["colbert_linear"])
        hidden = int(checkpoint.config["hidden_size"])
        if self._sparse.weight.shape != (1, hidden) or self._multi.in_features != hidden:
            raise ModelLoadError(
                f"the heads of {checkpoint.name!r} do not fit its hidden size {hidden}: "
                f"sparse {tuple(self._sparse.weight.shape)}, multi-vector {tuple(self._multi.weight.shape)}"
            )
        for part in (self._model, self._sparse, self._multi):
            part.to(device=self.device, dtype=dtype).eval()

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64], *, multi: bool) -> Outputs:
        """Run one batch: ids and mask are (n, tokens)."""
        torch = require("torch", "torch")
        normalize = torch.nn.functional.normalize
        with torch.inference_mode():
            hidden = self._model(
                input_ids=torch.from_numpy(ids).to(self.device), attention_mask=torch.from_numpy(mask).to(self.device)
            ).last_hidden_state
            # normalised in float32: half precision would leave rows off unit length by a thousandth
            dense = normalize(hidden[:, 0].float(), dim=-1)
            weights = torch.relu(self._sparse(hidden)).squeeze(-1).float()
            vectors = normalize(self._multi(hidden[:, 1:]).float(), dim=-1) if multi else None
        return Outputs(dense.cpu().numpy(), weights.cpu().numpy(), None if vectors is None else vectors.cpu().numpy())


def pick_device(device: str | None) -> str:
    """Return the torch device to use.

    Raises:
        InvalidInputError: the device does not exist here.
    """
    torch = require("torch", "torch")
    if device is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInputError(
            f"device={device!r} is not to be had here ({reason}); leave it out to take the best there is"
        ) from error
    return device


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from drawing a progress bar over a load of milliseconds; its setting is put back."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _pick_precision(precision: str, device: str) -> Literal["fp32", "fp16", "bf16"]:
    match precision:
        case "auto":
            return "fp32" if device.startswith("cpu") else "fp16"
        case "fp32" | "fp16" | "bf16":
            return precision
        case _:
            raise InvalidInputError(f"precision={precision!r} must be one of 'auto', 'fp32', 'fp16', 'bf16'")


def _load_head(path: Path) -> Any:
    """Load a linear head; `.pt` files are read as plain tensors only, never unpickled into objects."""
    torch = require("torch", "torch")
    try:
        if path.suffix == ".safetensors":
            state = require("safetensors.torch", "torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        weight = state["weight"]
        head = torch.nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in state)
        head.load_state_dict(state)
    except Exception as error:  # torch, pickle and safetensors each raise their own for a file that is not tensors
        raise ModelLoadError(
            f"{path} is not a linear head (tensors 'weight' and 'bias'): {type(error).__name__}: {error}"
        ) from error
    return head
