"""Linear layers: as they are, or with int8 weights and activations quantised as they come."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

from ...errors import InvalidInputError, require

Linear: TypeAlias = Callable[[Any], Any]  # (tokens, in) -> (tokens, out)


def plain(weight: Any, bias: Any) -> Linear:
    """Return x W^T + b in the weights' own precision.

    On a CPU that oneDNN serves, the weights are laid out once as its kernels read them. Other products lay them out
    anew each time, which takes half the seconds where a query has but a few tokens.

    Args:
        weight: (out, in), float32, float16 or bfloat16.
        bias: (out,) of the same kind.
    """
    torch = require("torch", "torch")
    if not _served(torch, weight):
        return lambda x: torch.nn.functional.linear(x, weight, bias)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight)
    run = torch.ops.mkldnn._linear_pointwise
    return lambda x: run(x, laid_out, bias, "none", [], "")


def _served(torch: Any, weight: Any) -> bool:
    """Whether oneDNN multiplies such weights here, by the two operators that torch.compile lowers linear layers to."""
    if weight.device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    operators = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(operators, "_linear_pointwise"):
        return False
    return weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and bool(operators._is_mkldnn_bf16_supported())
    )


def int8(weight: Any, bias: Any) -> Linear:
    """Return x W^T + b with int8 weights, one scale an output, and activations of one scale and offset a call.

    Symmetric weights, dynamic affine activations, float32 in and out, by oneDNN or FBGEMM, whichever torch has here.
    One scale a token would make a text's vectors independent of its neighbours in a batch, and was measured to cost
    half of the speed, since the kernels take one scale only.

    Args:
        weight: (out, in) float32 on the CPU.
        bias: (out,) float32.

    Raises:
        InvalidInputError: this build of torch has no such kernels.
    """
    torch = require("torch", "torch")
    engines, before = torch.backends.quantized.supported_engines, torch.backends.quantized.engine
    chosen = next((name for name in ("onednn", "x86", "fbgemm", "qnnpack") if name in engines), None)
    if chosen is None or not hasattr(torch, "_make_per_channel_quantized_tensor"):
        raise InvalidInputError(
            'precision="int8" has no kernels in this build of torch; export the model and use backend="onnx", or '
            'precision="fp32"'
        )
    scales = (torch.linalg.vector_norm(weight, float("inf"), dim=1) / 127).clamp_min_(1e-12)
    whole = (weight / scales[:, None]).round_().clamp_(-127, 127).to(torch.int8)
    zeros = torch.zeros(len(scales), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)  # of torch, for years to come
        quantised = torch._make_per_channel_quantized_tensor(whole, scales.double(), zeros, 0)
    torch.backends.quantized.engine = chosen
    try:
        packed = torch.ops.quantized.linear_prepack(quantised, bias)
    finally:
        torch.backends.quantized.engine = before
    quantised.untyped_storage().resize_(0)  # oneDNN holds on to it for unpacking, which would double the memory
    run = torch.ops.quantized.linear_dynamic
    # without VNNI two products are added in 16 bits, which a full range would overflow
    narrow = chosen != "qnnpack" and not torch.cpu._is_vnni_supported()
    return lambda x: run(x, packed, narrow)
