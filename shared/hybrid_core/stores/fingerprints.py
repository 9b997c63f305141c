"""Checking that an index was built with the model it is opened with."""

from __future__ import annotations

from ..errors import ModelMismatchError
from ..types import Fingerprint


def check_fingerprint(where: str, built: Fingerprint, given: Fingerprint, place: str) -> None:
    """Raise ModelMismatchError, naming both models and what they differ in, unless they are the same.

    Args:
        where: the index, as the message names it.
        built: what is written beside it.
        given: the encoder in use.
        place: where to index anew ("folder", "collection").
    """
    different = built.differences(given)
    if different:
        values = "; ".join(
            f"{name}: {getattr(built, name)!r} there, {getattr(given, name)!r} here" for name in different
        )
        raise ModelMismatchError(
            f"{where} was built with {built.model!r}, the encoder given is {given.model!r} ({values}). "
            f"Open it with {built.model!r}, or index the documents again into a new {place}"
        )
