"""Linear layers and embedding tables of the exported graph, in float32 or int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..types import FloatArray
from .graph import GraphWriter

_STEPS = 127  # on either side of zero
_BELOW_ZERO = 32  # steps of an activation whose negative values are small


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer.

    Attributes:
        weight: (out, in).
        bias: (out,), or None.
    """

    weight: FloatArray
    bias: FloatArray | None


class Arithmetic(Protocol):
    """How tables are stored and linear layers computed."""

    def table(self, graph: GraphWriter, name: str, rows: FloatArray, ids: str) -> str:
        """Add the look-up of ids (tokens,) in a table (rows, d): (tokens, d)."""
        ...

    def linear(
        self,
        graph: GraphWriter,
        x: str,
        layers: Mapping[str, Linear],
        *,
        sizes: FloatArray | None = None,
        least: float | None = None,
    ) -> list[str]:
        """Add x W^T + b for each of some layers that read the same x.

        Args:
            graph: gets nodes and tensors.
            x: (tokens, in).
            layers: by name.
            sizes: (in,) how large each column of x typically is, where that is known.
            least: what no value of x is below, where that is known and near zero.
        """
        ...


class Float:
    """float32 throughout."""

    def table(self, graph: GraphWriter, name: str, rows: FloatArray, ids: str) -> str:
        """Add a look-up."""
        return graph.node("Gather", f"{name}/rows", [graph.tensor(name, rows), ids])

    def linear(
        self,
        graph: GraphWriter,
        x: str,
        layers: Mapping[str, Linear],
        *,
        sizes: FloatArray | None = None,
        least: float | None = None,
    ) -> list[str]:
        """Add matrix products with their biases."""
        values = []
        for name, layer in layers.items():
            tensors = [graph.tensor(f"{name}/weight", layer.weight)]
            if layer.bias is not None:
                tensors.append(graph.tensor(f"{name}/bias", layer.bias))
            values.append(graph.node("Gemm", f"{name}/linear", [x, *tensors], {"transB": 1}))
        return values


class Int8:
    """int8 weights with one scale an output, activations quantised as they come with one scale a token.

    With a scale for each token, large values in one text cost no other text of the batch its precision. Activations are
    unsigned bytes, since processors multiply unsigned with signed bytes fastest: zero is 128, or below that where few
    bytes are enough for the negative values, as after GELU.

    Some columns of a trained model's states are many times larger than the others, and have large gains in the layer
    norm (arXiv 2105.06990). Where the gains are known, each column is divided by a factor that its weights are
    multiplied with, as in SmoothQuant (arXiv 2211.10438, with equal shares), but without calibration texts.
    """

    def table(self, graph: GraphWriter, name: str, rows: FloatArray, ids: str) -> str:
        """Add a look-up in a table of bytes with one scale a row."""
        stored, scales = quantise(rows)
        found = graph.node("Gather", f"{name}/bytes", [graph.tensor(name, stored), ids])
        scale = graph.node("Gather", f"{name}/scale", [graph.tensor(f"{name}/scales", scales), ids])
        return graph.node("DequantizeLinear", f"{name}/rows", [found, scale], {"axis": 0})

    def linear(
        self,
        graph: GraphWriter,
        x: str,
        layers: Mapping[str, Linear],
        *,
        sizes: FloatArray | None = None,
        least: float | None = None,
    ) -> list[str]:
        """Add the quantisation of x, products of bytes, scales and biases."""
        if sizes is not None:
            even = evening(sizes, [layer.weight for layer in layers.values()])
            x = graph.node("Mul", f"{x}/even", [x, graph.tensor(f"{x}/evening", 1 / even)])
            layers = {name: Linear(layer.weight * even, layer.bias) for name, layer in layers.items()}
        zero = 128 if least is None else _BELOW_ZERO if least < 0 else 0
        whole, scale = self._quantised(graph, x, zero, least)
        one, middle = graph.number(1.0), graph.number(zero, np.uint8)
        values = []
        for name, layer in layers.items():
            stored, scales = quantise(layer.weight)
            tensors = [graph.tensor(f"{name}/weight", stored.T), one, graph.tensor(f"{name}/scales", scales), middle]
            value = graph.node("ms.MatMulIntegerToFloat", f"{name}/product", [whole, *tensors])
            value = graph.node("Mul", f"{name}/scaled", [value, scale])
            if layer.bias is not None:
                value = graph.node("Add", f"{name}/linear", [value, graph.tensor(f"{name}/bias", layer.bias)])
            values.append(value)
        return values

    def _quantised(self, graph: GraphWriter, x: str, zero: int, least: float | None) -> tuple[str, str]:
        """Return the bytes (tokens, in) and the scales (tokens, 1)."""
        above = graph.node("Abs", f"{x}/abs", [x]) if least is None else x
        peak = graph.node("ReduceMax", f"{x}/peak", [above, graph.ints(1)])
        scale = graph.node("Mul", f"{x}/step", [peak, graph.number(1 / (255 - zero))])
        smallest = -least / zero if least else 1e-12
        scale = graph.node("Max", f"{x}/scale", [scale, graph.number(smallest)])
        flat = graph.node("Squeeze", f"{x}/scales", [scale, graph.ints(1)])
        size = graph.node("Shape", f"{x}/tokens", [flat])
        middle = graph.node("Expand", f"{x}/zero", [graph.number(zero, np.uint8), size])
        return graph.node("QuantizeLinear", f"{x}/bytes", [x, flat, middle], {"axis": 0}), scale


def quantise(weight: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Return int8 (rows, columns) and one scale a row; byte times scale is the weight, to half a scale."""
    scales = np.maximum(np.abs(weight).max(axis=1) / _STEPS, 1e-12).astype(np.float32)
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


def evening(sizes: FloatArray, weights: list[FloatArray]) -> FloatArray:
    """Return for each input column the factor that shares its excess size between activations and weights."""
    largest = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
    factor = np.sqrt(np.maximum(np.abs(sizes), 1e-6) / np.maximum(largest, 1e-6))
    even: FloatArray = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
    return even
