"""Checkpoints with a scoring head after each of their upper layers."""

from __future__ import annotations

import re
from typing import Any

from ...errors import InvalidInputError, ModelLoadError


def check_cutoff(cutoff_layer: int | None, possible: range, name: str) -> int:
    """Return the layer to score after, by default the last.

    Raises:
        InvalidInputError: there is no head after that layer.
    """
    if cutoff_layer is None:
        return possible[-1]
    if cutoff_layer not in possible:
        steps = f" in steps of {possible.step}" if possible.step > 1 else ""
        raise InvalidInputError(
            f"cutoff_layer={cutoff_layer!r}: {name!r} scores after layers {possible[0]} to {possible[-1]}{steps}"
        )
    return int(cutoff_layer)


def take_head(state: dict[str, Any], number: int, name: str) -> Any:
    """Return the weight (1, d) of a scoring head.

    Raises:
        ModelLoadError: it is missing.
    """
    key = f"lm_head.{number}.linear_head.weight"
    if key not in state:
        raise ModelLoadError(f"{name!r} lacks the weight {key}, which would be random")
    return state[key]


def lower_layers(state: dict[str, Any], cutoff: int) -> dict[str, Any]:
    """Return the tensors of a decoder without its heads and its layers from the cutoff on."""

    def kept(key: str) -> bool:
        layer = re.match(r"model\.layers\.(\d+)\.", key)
        return not key.startswith("lm_head.") and (layer is None or int(layer[1]) < cutoff)

    return {key: tensor for key, tensor in state.items() if kept(key)}
