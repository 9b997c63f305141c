"""An encoder's name in settings that are written down, and the check that they are read with the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError, ModelMismatchError
from ..types import Fingerprint
from .base import Encoder


def named_after(encoder: Encoder) -> dict[str, Any]:
    """Return the entries by which settings, and caches keyed by them, tell models apart."""
    return {"model_name": encoder.fingerprint.model, "fingerprint": encoder.fingerprint.as_dict()}


def with_encoder(settings: Mapping[str, Any], encoder: object) -> dict[str, Any]:
    """Return settings that were written down, with the encoder in place of its name.

    Raises:
        InvalidInputError: what is given is no encoder; none is written down.
        ModelMismatchError: it is another than the one named.
    """
    if not isinstance(encoder, Encoder):
        raise InvalidInputError(f"encoder={encoder!r:.80}: pass the loaded encoder, which is not written down")
    named, written = named_after(encoder), settings.get("fingerprint")
    if written and (different := Fingerprint(**written).differences(encoder.fingerprint)):
        raise ModelMismatchError(
            f"written down with {written['model']!r}, the encoder given is {named['model_name']!r}; they differ in "
            f"{', '.join(different)}"
        )
    return {**{key: value for key, value in settings.items() if key not in named}, "encoder": encoder}
