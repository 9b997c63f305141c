"""Which engine runs a checkpoint."""

from __future__ import annotations

import logging

from ...errors import InvalidInputError, ModelLoadError
from ..checkpoint import Checkpoint
from .base import Backend, EncoderRuntime, Precision
from .onnx_folder import is_export

logger = logging.getLogger(__name__)


def open_runtime(
    checkpoint: Checkpoint, *, backend: Backend, device: str | None, precision: Precision
) -> EncoderRuntime:
    """Load the weights into an engine, and say at level INFO which was chosen.

    Raises:
        InvalidInputError: there is no such backend, device or precision.
        ModelLoadError: the weights cannot be loaded, or are not there for this backend.
    """
    runtime: EncoderRuntime
    if choose_backend(checkpoint.name, backend, exported=is_export(checkpoint.folder)) == "onnx":
        from .onnx_m3 import OnnxM3

        runtime = OnnxM3(checkpoint.folder, device=device, precision=precision)
    else:
        from .torch_m3 import TorchM3

        runtime = TorchM3(checkpoint, device=device, precision=precision)
    logger.info("%s runs on %s in %s on %s", checkpoint.name, runtime.backend, runtime.precision, runtime.device)
    return runtime


def choose_backend(name: str, backend: Backend, *, exported: bool) -> str:
    """Return "onnx" for an export and "torch" for anything else, or say why what was asked for cannot be had."""
    if backend not in ("auto", "torch", "onnx"):
        raise InvalidInputError(f"backend={backend!r} must be 'auto', 'torch' or 'onnx'")
    found = "onnx" if exported else "torch"
    if backend in ("auto", found):
        return found
    if exported:
        raise ModelLoadError(f"{name!r} is an export for ONNX Runtime; torch needs the model that it was made from")
    raise ModelLoadError(f"{name!r} has no ONNX export; make one: bge-hybrid export {name} DIR --precision int8")
