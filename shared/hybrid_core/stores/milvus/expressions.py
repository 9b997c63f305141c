"""Conditions as Milvus' filter expressions: a template with named values, never a value in the text."""

from __future__ import annotations

import math
import re
from typing import Any

from ..remote.conditions import ALWAYS, Between, Condition, Every, Has, Plain, Some, TextIs, Unless

_SAFE = re.compile(r"[0-9a-f-]*")  # our hashes and UUIDs


class Template:
    """An expression and its values.

    Args:
        condition: what it starts with.

    Attributes:
        values: by the name that stands for each in the text.
    """

    def __init__(self, condition: Condition = ALWAYS) -> None:
        self.values: dict[str, Any] = {}
        self._parts = [] if condition == ALWAYS else [self._write(condition)]

    @property
    def text(self) -> str:
        """The expression; empty if everything satisfies it."""
        return " and ".join(self._parts)

    def add(self, part: str) -> None:
        """Ask for one thing more."""
        self._parts.append(part)

    def value(self, value: Any) -> str:
        """Return the place of a value in the expression."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return "{" + name + "}"

    def _write(self, condition: Condition) -> str:
        match condition:
            case Has(tokens, every):
                return f"array_contains_{'all' if every else 'any'}(facts, {self.value(list(tokens))})"
            case TextIs(hashes):
                return f"text_hash in {self.value(list(hashes))}"
            case Between(path, low, high):
                if not _SAFE.fullmatch(path[1:]) or path[:1] not in ("n", "s", "t"):
                    raise ValueError(path)
                entry = f'orders["{path}"]'
                bounds = [f"{entry} >= {self.value(low)}"] if low is not None else []
                bounds += [f"{entry} <= {self.value(high)}"] if high is not None else []
                return "(" + " and ".join(bounds) + ")"
            case Plain():
                return "array_length(facts) == 0"
            case Every(parts):
                return "(" + " and ".join(map(self._write, parts)) + ")"
            case Some(parts):
                return "(" + " or ".join(map(self._write, parts)) + ")"
            case Unless(part):
                return f"(not {self._write(part)})"


def inline(template: Template) -> str:
    """Return the expression with its values written out, for Milvus Lite, whose parser knows no templates.

    Every value is a number, or a hash or UUID that we made; anything else is refused.
    """
    return re.sub(r"\{(v[0-9]+)\}", lambda match: _literal(template.values[match[1]]), template.text)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, str) and _SAFE.fullmatch(value):
        return f'"{value}"'
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise ValueError(f"{value!r:.80} is no number, hash or UUID")
