"""A checkpoint's tensors as float32 arrays, checked when they are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelLoadError
from ..types import FloatArray


class Weights:
    """Tensors by name.

    Args:
        state: torch tensors of any floating type.
        name: of the model, for errors.
    """

    def __init__(self, state: Mapping[str, Any], name: str) -> None:
        self._state, self.name = state, name

    def __call__(self, key: str, *shape: int) -> FloatArray:
        """Return a tensor.

        Raises:
            ModelLoadError: there is none of that name, it has another shape, or it holds NaN or infinity.
        """
        if key not in self._state:
            raise ModelLoadError(f"{self.name!r} lacks the weight {key}, which would be random")
        array: FloatArray = self._state[key].float().numpy()
        if array.shape != shape:
            raise ModelLoadError(
                f"{self.name!r}: {key} is {array.shape}, and {shape} is needed; the files do not belong together"
            )
        if not np.isfinite(array).all():
            raise ModelLoadError(f"{self.name!r}: {key} holds NaN or infinity; the file is damaged")
        return array

    def rows(self, key: str) -> int | None:
        """Return how many rows a tensor has, or None where there is none of that name."""
        tensor = self._state.get(key)
        return int(tensor.shape[0]) if tensor is not None and tensor.ndim else None
