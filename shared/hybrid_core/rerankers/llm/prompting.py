"""What the prompts of several models have in common."""

from __future__ import annotations

from typing import Any


def shorten(tokenizer: Any, text: str, tokens: int) -> str:
    """Return a text's beginning of at most that many tokens; a query must leave room for the passage."""
    found = tokenizer.encode(text, add_special_tokens=False)
    return text if len(found.ids) <= tokens else text[: found.offsets[tokens - 1][1]]
