"""Conditions as Qdrant's filters: objects throughout, never a value in a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import require
from ..remote.conditions import ALWAYS, Between, Condition, Every, Has, Plain, Some, TextIs, Unless
from .points import OWN


def qdrant_filter(condition: Condition) -> Any:
    """Return a Filter; of `ALWAYS`, None."""
    models: Any = require("qdrant_client.models", "qdrant")
    return None if condition == ALWAYS else models.Filter(must=[_write(condition, models)])


def _write(condition: Condition, models: Any) -> Any:
    match condition:
        case Has(tokens, True):
            return models.Filter(must=[_any("facts", [token], models) for token in tokens])
        case Has(tokens):
            return _any("facts", tokens, models)
        case TextIs(hashes):
            return _any("text_hash", hashes, models)
        case Between(path, low, high):
            return models.FieldCondition(key=f"{OWN}.orders.{path}", range=models.Range(gte=low, lte=high))
        case Plain():
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=f"{OWN}.facts"))
        case Every(parts):
            return models.Filter(must=[_write(part, models) for part in parts])
        case Some(parts):
            return models.Filter(should=[_write(part, models) for part in parts])
        case Unless(part):
            return models.Filter(must_not=[_write(part, models)])


def _any(name: str, values: Sequence[str], models: Any) -> Any:
    return models.FieldCondition(key=f"{OWN}.{name}", match=models.MatchAny(any=list(values)))
