"""What qdrant-client raises, in our words."""

from __future__ import annotations

import errno
import sqlite3
from types import TracebackType
from typing import Any

from ...errors import (
    BackendUnavailableError,
    HybridError,
    IndexLockedError,
    StorageError,
    StorageFullError,
    require,
)

_AWAY = (429, 502, 503, 504)


class Guard:
    """A context in which every error of the client becomes one of ours.

    Args:
        server: "Qdrant at ...", as messages name it.
        timeout: seconds, for the message.
    """

    def __init__(self, server: str, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        require("qdrant_client", "qdrant")

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (ours := self._translate(error)) is not None:
            raise ours from error

    def _translate(self, error: BaseException) -> HybridError | None:
        exceptions: Any = require("qdrant_client.http.exceptions", "qdrant")
        httpx: Any = require("httpx", "qdrant")
        source: object = error.source if isinstance(error, exceptions.ResponseHandlingException) else error
        if isinstance(error, HybridError):
            return None
        if isinstance(source, httpx.TimeoutException):
            return BackendUnavailableError(
                f"{self._server} did not answer within {self._timeout:g} s; check that the server is running, or pass a "
                "longer timeout"
            )
        if isinstance(source, httpx.TransportError):
            return BackendUnavailableError(
                f"{self._server} cannot be reached ({source}); check the address and that the server is running"
            )
        if isinstance(error, exceptions.UnexpectedResponse):
            return self._status(error.status_code, error.content.decode("utf-8", "replace")[:300])
        if isinstance(error, exceptions.ResponseHandlingException):
            return BackendUnavailableError(
                f"{self._server} gave an answer that is not Qdrant's; check the address"
            )
        if type(error).__name__ == "ResourceExhaustedResponse":
            return BackendUnavailableError(f"{self._server} is overloaded ({error}); try again later")
        return self._local(error)

    def _status(self, status: int | None, content: str) -> HybridError:
        if status in (401, 403):
            return BackendUnavailableError(f"{self._server} refuses access ({status}); check api_key=")
        if status in _AWAY:
            return BackendUnavailableError(f"{self._server} is not available ({status} {content}); try again later")
        if status == 507 or "no space left" in content.lower() or "disk full" in content.lower():
            return StorageFullError(f"{self._server} has no space left; nothing of this batch was written")
        if status == 413:
            return StorageError(f"{self._server} takes no request of this size; raise its max_request_size_mb")
        return StorageError(f"{self._server} refuses the request ({status} {content})")

    def _local(self, error: BaseException) -> HybridError | None:
        """What the local mode raises is named by its text alone."""
        text = str(error)
        if "already accessed" in text:
            return IndexLockedError(f"{self._server} is open in another process or another store; close that first")
        if isinstance(error, RuntimeError) and "closed" in text:
            return StorageError(f"{self._server} has been closed; open it again")
        if isinstance(error, OSError) and error.errno == errno.ENOSPC or "database or disk is full" in text:
            return StorageFullError(f"{self._server} has no space left")
        if isinstance(error, (OSError, sqlite3.Error)) or (isinstance(error, ValueError) and "not found" in text):
            return StorageError(f"{self._server}: {error}")
        return None
