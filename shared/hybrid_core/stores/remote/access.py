"""How a server is named, reached and kept apart from other models' collections."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import InvalidInputError, StorageError
from ...types import Fingerprint

FORMAT = 1
INFO = "bge_hybrid"  # the entry of a collection's own metadata that holds format and fingerprint


def check_timeout(timeout: float) -> float:
    """Return a number of seconds above 0, or raise InvalidInputError."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise InvalidInputError(f"timeout={timeout!r} must be a number of seconds above 0")
    return float(timeout)


def check_collection(name: str, pattern: str) -> str:
    """Return the name of a collection, or raise InvalidInputError."""
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise InvalidInputError(f"collection={name!r:.80} must match {pattern}")
    return name


def check_location(location: object) -> str:
    """Return an address or a path as a string, or raise InvalidInputError."""
    text = str(location) if isinstance(location, (str, Path)) else ""
    if not text or "\0" in text:
        raise InvalidInputError(f"location={location!r:.80} is no address and no path")
    if is_url(text):
        _check_url(text)
    elif re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}/?", text):
        raise InvalidInputError(
            f"location={text!r:.80} could be a server or a folder; write 'http://{text:.80}' or './...'"
        )
    return text


def _check_url(url: str) -> None:
    """Refuse what a client would misread: Milvus' takes its own port where it finds none that it can use."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or any(char.isspace() or ord(char) < 32 for char in url):
        without_keys = url.rpartition("@")[2].partition("?")[0]
        raise InvalidInputError(
            f"location={without_keys!r:.80} is no address; pass one such as 'http://127.0.0.1:6333', or a folder"
        )


def check_indexed(keys: Sequence[str]) -> list[str]:
    """Return metadata keys as a list, or raise InvalidInputError."""
    if isinstance(keys, str) or not isinstance(keys, Sequence) or not all(isinstance(key, str) for key in keys):
        raise InvalidInputError(f"indexed={keys!r:.80} must be a list of metadata keys")
    return list(keys)


def is_url(location: str) -> bool:
    """Say whether a location is a server's address rather than a path."""
    return "://" in location


def shown(location: str) -> str:
    """Return an address as messages may show it: without user, password and query."""
    if not is_url(location):
        return location
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def write_info(fingerprint: Fingerprint, **more: Any) -> str:
    """Return what is kept with a collection, as JSON."""
    return json.dumps({"format": FORMAT, "fingerprint": fingerprint.as_dict(), **more})


def read_info(text: object, where: str) -> dict[str, Any] | None:
    """Return what `write_info` wrote; None if there is nothing of ours.

    Raises:
        StorageError: a later release wrote it.
    """
    try:
        info = json.loads(text) if isinstance(text, str) else None
        if not isinstance(info, Mapping) or "fingerprint" not in info:
            return None
        if info["format"] <= FORMAT:
            return {**info, "fingerprint": Fingerprint(**info["fingerprint"])}
    except (ValueError, TypeError, KeyError):
        return None
    raise StorageError(f"{where} has format {info['format']}, this release reads {FORMAT}; upgrade bge-hybrid")
