"""The transformer of BERT, RoBERTa and XLM-RoBERTa as an ONNX graph over texts laid end to end, without padding.

Only attention needs the texts apart. A text alone is attended to as it is, in blocks, so that a long one takes little
memory; several are spread out to (texts, longest), with a mask over what is empty, and gathered again.

Three sums are moved at export time, which changes results by rounding only: the key's bias adds the same to all scores
of a query, so softmax drops it; the value's bias passes through attention as it is, so it joins the output's; the shift
of a layer norm joins the biases of what reads it, so that what is quantised has no common offset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..types import FloatArray
from .graph import GraphWriter
from .linear import Arithmetic, Linear
from .weights import Weights


@dataclass(frozen=True, slots=True)
class States:
    """The value of a layer norm, its shift still to be added to each row.

    Attributes:
        value: (tokens, d).
        gain: (d,).
        shift: (d,).
    """

    value: str
    gain: FloatArray
    shift: FloatArray


class TransformerGraph:
    """Adds embeddings and layers to a graph, and the inputs that they need.

    Args:
        graph: gets nodes and tensors.
        weights: of the base model, by their names in it.
        config: config.json.
        arithmetic: of look-ups and linear layers.
    """

    def __init__(self, graph: GraphWriter, weights: Weights, config: dict[str, Any], arithmetic: Arithmetic) -> None:
        self._graph, self._weights, self._config, self._arithmetic = graph, weights, config, arithmetic
        self._epsilon = {"epsilon": float(config.get("layer_norm_eps", 1e-12))}
        self._activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
        self._hidden, self._inner = int(config["hidden_size"]), int(config["intermediate_size"])
        self._heads = {"num_heads": int(config["num_attention_heads"])}
        self._no_shift = graph.tensor("no_shift", np.zeros(self._hidden, dtype=np.float32))
        self._ids = graph.input("ids", ["tokens"], np.int64)
        self._positions = graph.input("positions", ["tokens"], np.int64)
        self._types = graph.input("types", ["tokens"], np.int64)
        self._first = graph.input("first", ["texts"], np.int64)
        self._grid = graph.input("grid", ["texts", "longest"], np.int64)
        self._mask = graph.input("mask", ["texts", "longest"], np.int32)
        self._places = graph.input("places", ["tokens"], np.int64)
        count = graph.node("Size", "texts", [self._first])
        self._alone = graph.node("Equal", "alone", [count, graph.number(1, np.int64)])

    def build(self, *, first_only: bool = False) -> str:
        """Return the last states: (tokens, d), or of each text's first token only, (texts, d)."""
        states = self._embeddings()
        layers = int(self._config["num_hidden_layers"])
        for i in range(layers):
            states = self._layer(f"encoder.layer.{i}", states, first_only=first_only and i == layers - 1)
        return self._graph.node("Add", "states", [states.value, self._graph.tensor("states/shift", states.shift)])

    def _embeddings(self) -> States:
        graph, at = self._graph, "embeddings"
        words, places, types = (
            self._weights(f"{at}.{kind}_embeddings.weight", int(self._config.get(size, 1)), self._hidden)
            for kind, size in _TABLES.items()
        )
        if len(types) == 1:  # the one type that all tokens have
            places = places + types[0]
        rows = self._arithmetic.table(graph, f"{at}/words", words, self._ids)
        positions = graph.tensor(f"{at}/positions", places)
        rows = graph.node(
            "Add", f"{at}/placed", [rows, graph.node("Gather", f"{at}/place", [positions, self._positions])]
        )
        if len(types) > 1:
            kinds = graph.tensor(f"{at}/types", types)
            rows = graph.node("Add", f"{at}/typed", [rows, graph.node("Gather", f"{at}/type", [kinds, self._types])])
        return self._norm(f"{at}.LayerNorm", rows)

    def _layer(self, at: str, states: States, *, first_only: bool) -> States:
        attended, states, value_bias = self._attention(at, states, first_only=first_only)
        output = self._read(f"{at}.attention.output.dense", self._hidden, self._hidden)
        output = _biased(output, _times(output.weight, value_bias) + states.shift)
        states = self._add_and_norm(f"{at}.attention.output", attended, output, states.value)
        name = f"{at}.intermediate.dense"
        layer = self._read(name, self._inner, self._hidden)
        layer = _biased(layer, _times(layer.weight, states.shift))
        [inner] = self._arithmetic.linear(self._graph, states.value, {name: layer}, sizes=states.gain)
        activation, least = self._activation
        inner = self._graph.node(activation, f"{name}/activated", [inner])
        outer = _biased(self._read(f"{at}.output.dense", self._hidden, self._inner), states.shift)
        return self._add_and_norm(f"{at}.output", inner, outer, states.value, least=least)

    def _attention(self, at: str, states: States, *, first_only: bool) -> tuple[str, States, FloatArray]:
        """Return the attended values, the states they belong to, and the bias that all attended values lack."""
        graph = self._graph
        names = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        query = self._read(names[0], self._hidden, self._hidden)
        key, value = (self._weights(f"{name}.weight", self._hidden, self._hidden) for name in names[1:])
        bias = self._weights(f"{names[2]}.bias", self._hidden) + _times(value, states.shift)
        layers = {
            names[0]: _biased(query, _times(query.weight, states.shift)),
            names[1]: Linear(key, None),
            names[2]: Linear(value, None),
        }
        if first_only:  # nothing after this looks at the other tokens
            asking = {names[0]: layers.pop(names[0])}
            keys, values = self._arithmetic.linear(graph, states.value, layers, sizes=states.gain)
            states = replace(states, value=graph.node("Gather", f"{at}/first", [states.value, self._first]))
            [queries] = self._arithmetic.linear(graph, states.value, asking, sizes=states.gain)
        else:
            queries, keys, values = self._arithmetic.linear(graph, states.value, layers, sizes=states.gain)

        def alone() -> str:
            parts = [
                graph.node("Unsqueeze", f"{at}/alone/{name}", [part, graph.ints(0)])
                for name, part in (("queries", queries), ("keys", keys), ("values", values))
            ]
            out = graph.node("ms.MultiHeadAttention", f"{at}/alone/out", parts, self._heads)
            return graph.node("Squeeze", f"{at}/alone/rows", [out, graph.ints(0)])

        def together() -> str:
            here = f"{at}/together"
            if first_only:
                asked = graph.node("Unsqueeze", f"{here}/queries", [queries, graph.ints(1)])
            else:
                asked = graph.node("Gather", f"{here}/queries", [queries, self._grid])
            parts = [
                graph.node("Gather", f"{here}/{name}", [part, self._grid])
                for name, part in (("keys", keys), ("values", values))
            ]
            out = graph.node("ms.MultiHeadAttention", f"{here}/out", [asked, *parts, "", self._mask], self._heads)
            rows = graph.node("Reshape", f"{here}/rows", [out, graph.ints(-1, self._hidden)])
            return rows if first_only else graph.node("Gather", f"{here}/tokens", [rows, self._places])

        return graph.choose(f"{at}/attended", self._alone, alone, together), states, bias

    def _add_and_norm(self, at: str, x: str, layer: Linear, skipped: str, *, least: float | None = None) -> States:
        """Add a linear layer, the states that skip it, and the layer norm."""
        [out] = self._arithmetic.linear(self._graph, x, {f"{at}.dense": layer}, least=least)
        return self._norm(f"{at}.LayerNorm", self._graph.node("Add", f"{at}/sum", [out, skipped]))

    def _norm(self, name: str, x: str) -> States:
        """Add a layer norm without its shift."""
        gain, shift = (self._weights(f"{name}.{part}", self._hidden) for part in ("weight", "bias"))
        inputs = [x, self._graph.tensor(f"{name}/gain", gain), self._no_shift]
        return States(self._graph.node("LayerNormalization", name, inputs, self._epsilon), gain, shift)

    def _read(self, name: str, rows: int, columns: int) -> Linear:
        return Linear(self._weights(f"{name}.weight", rows, columns), self._weights(f"{name}.bias", rows))


def _biased(layer: Linear, more: FloatArray) -> Linear:
    """Return the layer with more bias."""
    return Linear(layer.weight, more if layer.bias is None else layer.bias + more)


def _times(weight: FloatArray, vector: FloatArray) -> FloatArray:
    """Return W v, summed in float64."""
    return (weight.astype(np.float64) @ vector.astype(np.float64)).astype(np.float32)


# the tables and the names of their sizes in config.json
_TABLES = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
# by the names of config.json the operator, and what its values are never below
ACTIVATIONS = {
    "gelu": ("ms.Gelu", -0.1701),
    "gelu_new": ("ms.FastGelu", -0.1701),
    "gelu_pytorch_tanh": ("ms.FastGelu", -0.1701),
    "relu": ("Relu", 0.0),
}
