"""What pymilvus and Milvus Lite raise, in our words."""

from __future__ import annotations

from typing import Any

from ...errors import HybridError, StorageError, require
from ..remote.guard import Guard

_NO_CONNECTION, _RATE_LIMIT = 2, 8  # Milvus' own codes
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")  # gRPC's


class MilvusGuard(Guard):
    """Knows pymilvus, gRPC and Milvus Lite."""

    def translate(self, error: Exception) -> HybridError | None:
        """Return our error, or None for one that is a mistake of this program."""
        grpc: Any = require("grpc", "milvus")
        exceptions: Any = require("pymilvus.exceptions", "milvus")
        if isinstance(error, grpc.FutureTimeoutError):
            return self.silent()
        if isinstance(error, grpc.RpcError):
            call: Any = error
            return self._failed(call.code().name, str(call.details()))
        if isinstance(error, exceptions.MilvusException):
            if error.code == _NO_CONNECTION and isinstance(error.__cause__, grpc.RpcError):
                return self.translate(error.__cause__)
            code: Any = error.code
            return self._failed(getattr(code, "name", code), str(error.message))
        if type(error).__name__ == "DataDirLockedError":
            return self.locked()
        if type(error).__module__.startswith("milvus_lite"):
            return StorageError(f"{self.server}: {error}")
        return super().translate(error)

    def _failed(self, code: object, details: str) -> HybridError:
        lower = details.lower()
        if code in _REFUSED or "auth check failure" in lower or "unauthenticated" in lower:
            return self.refused("token=")
        if code in ("UNAVAILABLE", _NO_CONNECTION):
            return self.unreachable(details[:300])
        if code == _RATE_LIMIT or "rate limit" in lower:  # pymilvus has tried again until the timeout
            return self.overloaded(details[:300])
        if code in ("DEADLINE_EXCEEDED", "CANCELLED") or "timeout" in lower or "deadline exceeded" in lower:
            return self.silent()
        if "disk quota" in lower or "no space left" in lower:
            return self.full()
        return StorageError(f"{self.server} refuses the request ({code}: {details[:300]})")
