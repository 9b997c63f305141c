"""Checks of what callers hand in, made before anything is encoded or written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from .errors import DuplicateIdError, InvalidInputError, InvalidTextError, MetadataError
from .types import Metadata, Mode, Passage

_DEEPEST = 100  # levels of nesting in metadata
_LONGEST_INT = 13_280  # bits: about 4,000 digits, below what Python refuses to print


def check_text(text: object, what: str) -> str:
    """Return the text, or raise InvalidTextError naming `what` it was meant to be."""
    if not isinstance(text, str):
        raise InvalidTextError(f"{what} is {text!r:.80} ({type(text).__name__}); a str is needed")
    position = _lone_surrogate(text)
    if position is not None:
        raise InvalidTextError(
            f"{what} has a lone surrogate {text[position]!a} at character {position}, which UTF-8 cannot hold; "
            'clean it with text.encode("utf-8", "replace").decode()'
        )
    return text


def check_texts(texts: Sequence[object], what: str = "text") -> list[str]:
    """Check a sequence of texts; the error names the position."""
    if isinstance(texts, (str, bytes)):
        raise InvalidInputError(f"a list of texts is needed, got one {type(texts).__name__}: wrap it in a list")
    if not isinstance(texts, Iterable):
        raise InvalidInputError(f"a list of texts is needed, got {texts!r:.80}")
    return [check_text(text, f"{what} {i}") for i, text in enumerate(texts)]


def check_count(value: object, name: str, least: int = 0) -> int:
    """Return an int >= least, or raise InvalidInputError (a ValueError)."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidInputError(f"{name}={value!r} must be an integer >= {least}")
    number: int = value.__index__()
    if number < least:
        raise InvalidInputError(f"{name}={number} must be an integer >= {least}")
    return number


def check_mode(value: object) -> Mode:
    """Return a search mode, or raise InvalidInputError naming those there are."""
    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        if value == mode:
            return mode
    raise InvalidInputError(f"mode={value!r} must be one of {', '.join(map(repr, modes))}")


def encode_metadata(metadata: Metadata, owner: str) -> str:
    """Return metadata as JSON that decodes to an equal value.

    Raises:
        MetadataError: naming the passage and the key whose value JSON cannot hold exactly.
    """
    if not isinstance(metadata, dict):
        try:
            metadata = dict(metadata)
        except (TypeError, ValueError):
            raise MetadataError(f"metadata of {owner} is {metadata!r:.80}; a mapping is needed") from None
    _check_value(metadata, owner, "")
    return json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def check_passages(passages: Iterable[Passage]) -> list[tuple[Passage, str]]:
    """Return each passage with its metadata as JSON; identical repeats of an id collapse to the first.

    Raises:
        InvalidInputError, InvalidTextError, MetadataError: naming the passage.
        DuplicateIdError: an id with two different passages.
    """
    checked: dict[str, tuple[Passage, str]] = {}
    for position, passage in enumerate(passages):
        if not isinstance(passage, Passage):
            raise InvalidInputError(f"item {position} is {passage!r:.80}; a Passage is needed")
        check_id(passage.id, f"id of passage {position}")
        owner = f"passage {position} (id {passage.id!r:.80})"
        check_text(passage.text, f"text of {owner}")
        item = (passage, encode_metadata(passage.metadata, owner))
        seen = checked.setdefault(passage.id, item)
        if seen is not item and (seen[0].text != passage.text or _sorted_json(seen[1]) != _sorted_json(item[1])):
            raise DuplicateIdError(
                f"id {passage.id!r:.80} occurs twice in this call with different text or metadata; "
                "give each passage an id of its own"
            )
    return list(checked.values())


def make_passage(text: object, id: str | None, metadata: Metadata | None, what: str = "text") -> Passage:
    """Return a Passage; without an id it gets one derived from text and metadata, so that the same is the same.

    Raises:
        InvalidTextError, MetadataError: naming `what` it was meant to be.
    """
    text = check_text(text, what)
    metadata = {} if metadata is None else metadata
    if id is not None:
        return Passage(id, text, metadata)
    content = encode_metadata(metadata, what) + "\0" + text
    return Passage(hashlib.blake2b(content.encode("utf-8"), digest_size=16).hexdigest(), text, metadata)


def check_id(id: object, what: str = "id") -> str:
    """Return the id: any string that is not empty and that UTF-8 can hold."""
    text = check_text(id, what)
    if not text:
        raise InvalidInputError(f"{what} is an empty string; give it a name, or leave ids out")
    return text


def _sorted_json(metadata: str) -> str:
    """Return what is equal for metadata that differs in the order of its keys only; 1, 1.0 and True do differ."""
    return json.dumps(json.loads(metadata), sort_keys=True)


def _lone_surrogate(text: str) -> int | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _check_value(value: Any, owner: str, key: str, depth: int = 0) -> None:
    """Raise MetadataError unless JSON gives the value back as it is."""
    if value is None or isinstance(value, bool):
        return
    if depth > _DEEPEST:
        raise MetadataError(f"metadata of {owner}: {key[:80]!r} is nested over {_DEEPEST} deep, or contains itself")
    if isinstance(value, int):
        if value.bit_length() > _LONGEST_INT:
            raise MetadataError(f"metadata of {owner}: {key!r} is an int of over 4,000 digits; store it as a string")
    elif isinstance(value, str):
        if _lone_surrogate(value) is not None:
            raise MetadataError(f"metadata of {owner}: {key!r} has a lone surrogate, which UTF-8 cannot hold")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise MetadataError(f"metadata of {owner}: {key!r} is {value}; use None for a missing number")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_value(item, owner, f"{key}[{i}]", depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            path = f"{key}.{name}" if key else str(name)
            if not isinstance(name, str):
                raise MetadataError(f"metadata of {owner}: the key {name!r} at {path!r} is not a string")
            _check_value(name, owner, path)
            _check_value(item, owner, path, depth + 1)
    else:
        raise MetadataError(
            f"metadata of {owner}: {key!r} is a {type(value).__name__} ({value!r:.60}), which would not come back as "
            "it is; use str, int, float, bool, None, or lists and dicts of them"
        )
