"""The transformer of BERT, RoBERTa and XLM-RoBERTa on torch, over texts laid end to end: no token of padding.

Everything but attention works on single tokens, so a batch needs no rectangle: it is one (tokens, d) matrix. Attention
runs over groups of texts of like length (see `packing`). Results are those of transformers' own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ModelLoadError, require
from .crew import Crew
from .linear import Linear, int8, plain
from .packing import Group, Pack

_PIECE = 512  # tokens
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

    Raises:
        ModelLoadError: a weight is missing or of another shape than the configuration says, or the architecture is
            one that this class does not compute.
    """

    def __init__(
        self, config: Mapping[str, Any], state: dict[str, Any], *, name: str, device: str, precision: str
    ) -> None:
        self._torch = torch = require("torch", "torch")
        reason = unsupported(config)
        if reason:
            raise ModelLoadError(f"{name!r} {reason}")
        self.device = device
        self.dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
        self.hidden, self._heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self.pad_id = int(config.get("pad_token_id", 1)) if config["model_type"] in ROBERTA else None
        self._crew = Crew(device)
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._activation = _ACTIVATIONS[config.get("hidden_act", "gelu")]
        self._weights = _Weights(state, name, device, self.dtype, quantised=precision == "int8")
        hidden, inner = self.hidden, int(config["intermediate_size"])
        take = self._weights
        self._words = take("embeddings.word_embeddings.weight", int(config["vocab_size"]), hidden)
        self._places = take("embeddings.position_embeddings.weight", int(config["max_position_embeddings"]), hidden)
        self._types = take("embeddings.token_type_embeddings.weight", int(config.get("type_vocab_size", 1)), hidden)
        self._norm = take.norm("embeddings.LayerNorm", hidden)
        self._layers = [self._layer(f"encoder.layer.{i}", hidden, inner) for i in range(config["num_hidden_layers"])]

    def _layer(self, at: str, hidden: int, inner: int) -> _Layer:
        take = self._weights
        return _Layer(
            take.linear([f"{at}.attention.self.{part}" for part in ("query", "key", "value")], hidden, hidden),
            take.linear([f"{at}.attention.output.dense"], hidden, hidden),
            take.norm(f"{at}.attention.output.LayerNorm", hidden),
            take.linear([f"{at}.intermediate.dense"], inner, hidden),
            take.linear([f"{at}.output.dense"], hidden, inner),
            take.norm(f"{at}.output.LayerNorm", hidden),
        )

    def run(self, pack: Pack, *, first_only: bool = False) -> Any:
        """Return the last states: (tokens, d), or of each text's first token only, (n, d).

        The caller holds `torch.inference_mode`.
        """
        with self._crew.at_work(len(pack.ids)):
            return self._run(pack, first_only)

    def _run(self, pack: Pack, first_only: bool) -> Any:
        torch, functional = self._torch, self._torch.nn.functional
        ids, places, types = (torch.from_numpy(a).to(self.device) for a in (pack.ids, pack.positions, pack.types))
        states = functional.embedding(ids, self._words)
        states += functional.embedding(places, self._places)
        states += functional.embedding(types, self._types)
        states = self._normalise(states, self._norm)
        groups = [_prepare(torch, group, self.device) for group in pack.groups]
        for number, layer in enumerate(self._layers):
            attended = self._attend(layer.attention(states), groups)
            if first_only and number == len(self._layers) - 1:  # nothing after this looks at the other tokens
                first = torch.from_numpy(pack.first).to(self.device)
                attended, states = attended[first], states[first]
            states = self._normalise(layer.output(attended).add_(states), layer.output_norm)
            states = self._normalise(self._feed_forward(layer, states), layer.outer_norm)
        return states

    def _feed_forward(self, layer: _Layer, states: Any) -> Any:
        """Inner and outer layer and the residual, on the CPU in pieces whose inner states stay in the cache."""
        out = self._torch.empty_like(states)
        step = _PIECE if self.device.startswith("cpu") else len(states)
        for at in range(0, len(states), step):
            piece = states[at : at + step]
            out[at : at + step] = layer.outer(self._activation(self._torch, layer.inner(piece))).add_(piece)
        return out

    def _normalise(self, states: Any, norm: tuple[Any, Any]) -> Any:
        return self._torch.nn.functional.layer_norm(states, (self.hidden,), *norm, self._epsilon)

    def _attend(self, projected: Any, groups: list[tuple[Group, Any, Any]]) -> Any:
        """Scaled dot-product attention within each text; `projected` is (tokens, 3 d): queries, keys, values."""
        torch = self._torch
        out = torch.empty_like(projected[:, : self.hidden])
        for group, index, real in groups:
            part = projected[group.start : group.end]
            n, longest = len(group.lengths), int(group.lengths[0])
            if index is not None:
                part = part[index]
            part = part.view(n, longest, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            found = torch.nn.functional.scaled_dot_product_attention(
                part[0], part[1], part[2], attn_mask=None if real is None else real[:, None, None, :]
            )
            found = found.transpose(1, 2).reshape(n * longest, self.hidden)
            out[group.start : group.end] = found if real is None else found[real.view(-1)]
        return out


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

    attention: Linear
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
        return tensor.to(device=self._device, dtype=self._dtype)

    def norm(self, key: str, size: int) -> tuple[Any, Any]:
        return self(f"{key}.weight", size), self(f"{key}.bias", size)

    def linear(self, keys: list[str], rows: int, columns: int) -> Linear:
        """Put linear layers of the same input below each other."""
        torch = require("torch", "torch")
        weights = [self(f"{key}.weight", rows, columns) for key in keys]
        biases = [self(f"{key}.bias", rows) for key in keys]
        weight = weights[0] if len(keys) == 1 else torch.cat(weights)
        bias = biases[0] if len(keys) == 1 else torch.cat(biases)
        return int8(weight, bias) if self._quantised else plain(weight, bias)


def _prepare(torch: Any, group: Group, device: str) -> tuple[Group, Any, Any]:
    """Put the padding of an uneven group on the device, once for all layers."""
    if group.even:
        return group, None, None
    index, real = group.places()
    return group, torch.from_numpy(index.reshape(-1)).to(device), torch.from_numpy(real).to(device)


_ACTIVATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "gelu": lambda torch, x: torch.ops.aten.gelu_(x),
    "gelu_new": lambda torch, x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda torch, x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "relu": lambda torch, x: torch.relu_(x),
}
