"""What qdrant-client raises, in our words."""

from __future__ import annotations

import sqlite3
from typing import Any

from ...errors import BackendUnavailableError, HybridError, StorageError, require
from ..remote.guard import Guard

_AWAY = (408, 429, 502, 503, 504)  # 408: the server gave up on its own work


class QdrantGuard(Guard):
    """Knows qdrant-client, on a server and in its local mode."""

    def translate(self, error: Exception) -> HybridError | None:
        """Return our error, or None for one that is a mistake of this program."""
        exceptions: Any = require("qdrant_client.http.exceptions", "qdrant")
        httpx: Any = require("httpx", "qdrant")
        source = error.source if isinstance(error, exceptions.ResponseHandlingException) else error
        if isinstance(source, httpx.TimeoutException):
            return self.silent()
        if isinstance(source, httpx.TransportError):
            return self.unreachable(source)
        if isinstance(error, exceptions.UnexpectedResponse):
            return self._status(error.status_code, error.content.decode("utf-8", "replace")[:300])
        if isinstance(error, exceptions.ResponseHandlingException):
            return BackendUnavailableError(f"{self.server} gave an answer that is not Qdrant's; check the address")
        if type(error).__module__ == "qdrant_client.common.client_exceptions":  # of a status 429 that says how long
            return self.overloaded(error)
        return self._local(error)

    def _status(self, status: int | None, content: str) -> HybridError:
        if status in (401, 403):
            return self.refused("api_key=")
        if status in _AWAY:
            return BackendUnavailableError(f"{self.server} is not available ({status} {content}); try again later")
        if status == 507 or "no space left" in content.lower() or "disk full" in content.lower():
            return self.full()
        if status == 413:
            return StorageError(f"{self.server} takes no request of this size; raise its max_request_size_mb")
        if "index required" in content.lower():  # Qdrant's strict mode, the rule in its cloud
            return StorageError(f"{self.server} compares only keys that are indexed; name them in indexed= ({content})")
        return StorageError(f"{self.server} refuses the request ({status} {content})")

    def _local(self, error: Exception) -> HybridError | None:
        """What the local mode raises is named by its text alone."""
        text = str(error)
        if isinstance(error, RuntimeError) and "already accessed" in text:
            return self.locked()
        if isinstance(error, sqlite3.Error) and "full" in text:
            return self.full()
        if isinstance(error, sqlite3.Error) or (isinstance(error, ValueError) and "not found" in text):
            return StorageError(f"{self.server}: {error}")
        return super().translate(error)
