"""Choosing device and precision for torch."""

from __future__ import annotations

from ...errors import InvalidInputError, require

_PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def pick_device(device: str | None) -> str:
    """Return the torch device to use: the one given, else CUDA, then MPS, then the CPU.

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


def pick_precision(precision: str, device: str) -> str:
    """Return the arithmetic: what was asked for, or for "auto" fp32 on the CPU, fp16 on a GPU.

    Half precision gains nothing on most CPUs, and int8 changes the vectors a little, so neither is chosen unasked.

    Raises:
        InvalidInputError: there is no such precision, or not on this device.
    """
    if precision == "auto":
        return "fp32" if device.startswith("cpu") else "fp16"
    if precision not in _PRECISIONS:
        raise InvalidInputError(f"precision={precision!r} must be 'auto', {', '.join(map(repr, _PRECISIONS))}")
    if precision == "int8" and not device.startswith("cpu"):
        raise InvalidInputError(f"precision='int8' runs on the CPU; on {device!r} take 'fp16' or 'bf16'")
    return precision
