"""Which engine runs a checkpoint."""

from __future__ import annotations

import logging

from ...errors import InvalidInputError
from ..checkpoint import Checkpoint
from .base import Backend, EncoderRuntime, Precision

logger = logging.getLogger(__name__)


def open_runtime(
    checkpoint: Checkpoint, *, backend: Backend, device: str | None, precision: Precision
) -> EncoderRuntime:
    """Load the weights into an engine, and say at level INFO which was chosen.

    Raises:
        InvalidInputError: there is no such backend, device or precision.
        ModelLoadError: the weights cannot be loaded.
    """
    if backend not in ("auto", "torch"):
        raise InvalidInputError(f"backend={backend!r} must be 'auto' or 'torch'")
    from .torch_m3 import TorchM3

    runtime = TorchM3(checkpoint, device=device, precision=precision)
    logger.info("%s runs on %s in %s on %s", checkpoint.name, runtime.backend, runtime.precision, runtime.device)
    return runtime
