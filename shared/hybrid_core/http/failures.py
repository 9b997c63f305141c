"""What a server's refusals mean, in our errors."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import BackendUnavailableError, HybridError, ModelError, ModelLoadError

_LONGEST = 300  # characters of a server's own words in our messages
_PASSING = (408, 425, 429)


class PassingError(Exception):
    """An attempt failed in a way that may pass; never leaves the client.

    Attributes:
        reason: what happened, to follow the server's name in a sentence.
        remedy: what to do if it stays so.
        wait: seconds the server asks to wait; None if it does not say.
    """

    def __init__(self, reason: str, remedy: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.wait = wait


def refusal(server: str, route: str, status: int, words: str, wait: float | None) -> HybridError | PassingError:
    """Return the error that an answer other than 200 means.

    Args:
        server: its address, without secrets.
        route: what was asked.
        status: of HTTP.
        words: the server's own, without secrets.
        wait: seconds the server asks to wait.

    Returns:
        PassingError for 408, 425, 429 and 5xx but 501. BackendUnavailableError for 401 and 403, without the server's
        words, which may quote the key. ModelLoadError for a route or model that is not there, and for redirections.
        ModelError for everything else: the input is too long, the batch too large, the model failed on it.
    """
    said = f"{status} {words}".strip()
    if status in (401, 403):
        return BackendUnavailableError(
            f"{server} refuses access to {route} ({status}); check api_key= and what the key may do"
        )
    if status in _PASSING or (status >= 500 and status != 501):
        busy = "it is overloaded or the rate limit is reached; try again later, or lower concurrency"
        return PassingError(f"answers {said}", busy if status == 429 else "see the server's log", wait)
    if 300 <= status < 400:
        return ModelLoadError(f"{server} redirects {route} ({status}) elsewhere; pass the address it redirects to")
    if status in (404, 405, 501):
        return ModelLoadError(f"{server} does not serve {route} ({said}); check url, api= and model=")
    remedy = "lower batch_size, or split long texts" if status == 413 else "the request will not be accepted as it is"
    return ModelError(f"{server} refuses {route} ({said}); {remedy}")


def words_of(content: bytes) -> str:
    """Return what an error's body says, on one line: the known entries of a JSON answer, else its beginning."""
    text = content[:20_000].decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text = _find_words(json.loads(text)) or text
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()[:_LONGEST]


def _find_words(value: Any) -> str:
    """Look where TEI ("error"), OpenAI and vLLM ("error.message"), Cohere ("message") and FastAPI ("detail") put them.

    FastAPI's lists of faults also hold the input, which is left out.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_find_words, value)))
    if isinstance(value, dict):
        for key in ("error", "message", "detail", "msg"):
            if value.get(key):
                return _find_words(value[key])
    return ""


def seconds_to_wait(header: str | None, now: float) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3); None if there is none to read.

    Args:
        header: its value.
        now: seconds since 1970.
    """
    if header is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", header.strip()):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
