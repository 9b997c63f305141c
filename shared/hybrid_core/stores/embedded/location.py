"""Where an index is kept, checked before anything is made there."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import InvalidInputError


def check_folder(folder: object, name: str) -> Path:
    """Return a path, or raise InvalidInputError; an empty one would be the folder that the process happens to be in."""
    text = os.fspath(folder) if isinstance(folder, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInputError(f"{name}={folder!r:.80} is no path of a folder; for this very folder write '.'")
    return Path(text)
