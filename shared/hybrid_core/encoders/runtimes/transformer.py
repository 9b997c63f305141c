"""The transformer of BERT, RoBERTa and XLM-RoBERTa on torch, over texts laid end to end instead of padded.

Everything but attention works on single tokens, so texts need no rectangle: they are blocks of (rows, d), see
`packing`. Attention runs over groups of texts of like length, see `attention`. Results are those of transformers' own
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ModelLoadError, require
from .attention import FirstTokenAttention, Rows, attend, lengthen
from .crew import Crew
from .linear import Linear, int8, plain
from .packing import Block, Layout, Pack

ROBERTA = ("xlm-roberta", "roberta", "camembert")
BERT = ("bert",)


class Transformer:
    """Embeddings and layers with weights from a checkpoint.

    Args:
        config: config.json.
        state: tensors by their names in transformers' base model, without the model's prefix; consumed.
        name: of the checkpoint, for errors.
        device: a torch device.
        precision: "fp32", "fp16", "bf16", or "int8" (CPU: linear layers only).
        first_only: whether only the states of each text's first token are wanted, which spares most of the last layer.

    Raises:
        ModelLoadError: a weight is missing or of another shape than the configuration says, or the architecture is
            one that this class does not compute.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        state: dict[str, Any],
        *,
        name: str,
        device: str,
        precision: str,
        first_only: bool = False,
    ) -> None:
        self._torch = torch = require("torch", "torch")
        reason = unsupported(config)
        if reason:
            raise ModelLoadError(f"{name!r} {reason}")
        self.device = device
        self.dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
        self.hidden, self._heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self.pad_id = int(config.get("pad_token_id", 1)) if config["model_type"] in ROBERTA else None
        self._layout = Layout.of(device)
        self._crew = Crew(device)
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._activation = _ACTIVATIONS[config.get("hidden_act", "gelu")]
        take = _Weights(state, name, device, self.dtype, quantised=precision == "int8")
        hidden, inner = self.hidden, int(config["intermediate_size"])
        self._words = take("embeddings.word_embeddings.weight", int(config["vocab_size"]), hidden)
        self._places = take("embeddings.position_embeddings.weight", int(config["max_position_embeddings"]), hidden)
        self._types = take("embeddings.token_type_embeddings.weight", int(config.get("type_vocab_size", 1)), hidden)
        self._norm = take.norm("embeddings.LayerNorm", hidden)
        layers = int(config["num_hidden_layers"])
        self._first_only = first_only
        self._layers = [
            self._layer(take, f"encoder.layer.{i}", hidden, inner, first_only=first_only and i == layers - 1)
            for i in range(layers)
        ]

    def _layer(self, take: _Weights, at: str, hidden: int, inner: int, *, first_only: bool) -> _Layer:
        parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        attention: Linear | FirstTokenAttention
        if first_only:
            query, key, value = (take.pair(part, hidden, hidden) for part in parts)
            attention = FirstTokenAttention(query, key, value, self._heads)
        else:
            attention = take.linear(parts, hidden, hidden)
        return _Layer(
            attention,
            take.linear([f"{at}.attention.output.dense"], hidden, hidden),
            take.norm(f"{at}.attention.output.LayerNorm", hidden),
            take.linear([f"{at}.intermediate.dense"], inner, hidden),
            take.linear([f"{at}.output.dense"], hidden, inner),
            take.norm(f"{at}.output.LayerNorm", hidden),
        )

    def run(self, pack: Pack) -> Any:
        """Return the last states: (tokens, d), or with `first_only` those of each text's first token, (n, d).

        The caller holds `torch.inference_mode`.
        """
        with self._crew.at_work(len(pack.ids)):
            return self._run(pack)

    def _run(self, pack: Pack) -> Any:
        blocks = pack.blocks(self._layout)
        groups = [[Rows.of(group, self.device) for group in block.groups] for block in blocks]
        states = [self._embed(pack, block) for block in blocks]
        for layer in self._layers:  # block by block within a layer, whose weights are then at hand
            for i, block in enumerate(blocks):
                states[i] = self._forward(layer, states[i], block, groups[i])
        counts = (len(block.first) if self._first_only else block.end - block.start for block in blocks)
        whole = [part[:count] for part, count in zip(states, counts, strict=True)]
        return whole[0] if len(whole) == 1 else self._torch.cat(whole)

    def _embed(self, pack: Pack, block: Block) -> Any:
        torch, embedding = self._torch, self._torch.nn.functional.embedding
        tables = zip((pack.ids, pack.positions, pack.types), (self._words, self._places, self._types), strict=True)
        parts = [
            embedding(torch.from_numpy(of[block.start : block.end]).to(self.device), table) for of, table in tables
        ]
        return self._normalise(lengthen([parts[0].add_(parts[1]).add_(parts[2])], block.rows), self._norm)

    def _forward(self, layer: _Layer, states: Any, block: Block, groups: list[Rows]) -> Any:
        """Return the states (rows, d) after a layer, or of the first tokens alone where that is all it gives."""
        if isinstance(layer.attention, FirstTokenAttention):
            first = states[self._torch.from_numpy(block.first).to(self.device)]
            every, states = states, lengthen([first], self._layout.rows(len(first)))
            attended = layer.attention(every, states, groups)
        else:
            attended = attend(self._in_pieces(layer.attention, states), groups, self._heads)
        states = self._normalise(self._in_pieces(layer.output, attended).add_(states), layer.output_norm)
        for piece in states.split(self._layout.block):
            piece += layer.outer(self._activation(self._torch, layer.inner(piece)))
        return self._normalise(states, layer.outer_norm)

    def _in_pieces(self, linear: Linear, states: Any) -> Any:
        """Apply a linear layer; a long text makes more rows than a block has."""
        if len(states) <= self._layout.block:
            return linear(states)
        return self._torch.cat([linear(piece) for piece in states.split(self._layout.block)])

    def _normalise(self, states: Any, norm: tuple[Any, Any]) -> Any:
        return self._torch.nn.functional.layer_norm(states, (self.hidden,), *norm, self._epsilon)


def unsupported(config: Mapping[str, Any]) -> str:
    """Return why `Transformer` does not compute this architecture, or nothing."""
    kind, activation = config.get("model_type"), config.get("hidden_act", "gelu")
    if kind not in ROBERTA + BERT:
        return f"is a {kind!r} model; {', '.join(ROBERTA + BERT)} are computed here"
    if activation not in _ACTIVATIONS:
        return f"has the activation {activation!r}; {', '.join(_ACTIVATIONS)} are computed here"
    if config.get("position_embedding_type", "absolute") != "absolute":
        return f"has {config['position_embedding_type']!r} positions; absolute ones are computed here"
    if config.get("is_decoder"):
        return "is a decoder"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """The parts of one layer."""

    attention: Linear | FirstTokenAttention
    output: Linear
    output_norm: tuple[Any, Any]
    inner: Linear
    outer: Linear
    outer_norm: tuple[Any, Any]


class _Weights:
    """Takes tensors out of a state dict, checked, on the device and in the precision wanted."""

    def __init__(self, state: dict[str, Any], name: str, device: str, dtype: Any, *, quantised: bool) -> None:
        self._state, self._name, self._device, self._dtype, self._quantised = state, name, device, dtype, quantised

    def __call__(self, key: str, *shape: int) -> Any:
        tensor = self._state.pop(key, None)
        if tensor is None:
            raise ModelLoadError(f"{self._name!r} lacks the weight {key}, which would be random")
        if tuple(tensor.shape) != shape:
            raise ModelLoadError(
                f"{self._name!r}: {key} is {tuple(tensor.shape)}, and config.json says {shape}; the files do not "
                "belong together"
            )
        # a small one as a copy, or it would keep the whole file mapped
        return tensor.to(device=self._device, dtype=self._dtype, copy=len(shape) == 1)

    def norm(self, key: str, size: int) -> tuple[Any, Any]:
        return self(f"{key}.weight", size), self(f"{key}.bias", size)

    def pair(self, key: str, rows: int, columns: int) -> tuple[Any, Any]:
        return self(f"{key}.weight", rows, columns), self(f"{key}.bias", rows)

    def linear(self, keys: list[str], rows: int, columns: int) -> Linear:
        """Put linear layers of the same input below each other."""
        torch = require("torch", "torch")
        weights, biases = zip(*(self.pair(key, rows, columns) for key in keys), strict=True)
        weight, bias = (tensors[0] if len(keys) == 1 else torch.cat(tensors) for tensors in (weights, biases))
        return int8(weight, bias) if self._quantised else plain(weight, bias)


_ACTIVATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "gelu": lambda torch, x: torch.ops.aten.gelu_(x),
    "gelu_new": lambda torch, x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda torch, x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "relu": lambda torch, x: torch.relu_(x),
}
