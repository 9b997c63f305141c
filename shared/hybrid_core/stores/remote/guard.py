"""The seam where a client's errors become ours."""

from __future__ import annotations

import errno
from types import TracebackType

from ...errors import BackendUnavailableError, HybridError, IndexLockedError, StorageError, StorageFullError


class Guard:
    """A context in which every error of a database's client becomes one of ours; `translate` knows the client.

    Args:
        server: "Qdrant at ...", as messages name it.
        timeout: seconds, for the message.
    """

    def __init__(self, server: str, timeout: float) -> None:
        self.server = server
        self._timeout = timeout
        self._over = False

    def __enter__(self) -> None:
        if self._over:
            raise self.closed()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, HybridError):
            return
        if self._over:  # by another thread, in the middle of this call
            raise self.closed() from error
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        ours = self.full() if full else self.translate(error)
        if ours is not None:
            raise ours from error

    def translate(self, error: Exception) -> HybridError | None:
        """Return our error, or None for one that is a mistake of this program."""
        return StorageError(f"{self.server}: {error}") if isinstance(error, OSError) else None

    def silent(self) -> BackendUnavailableError:
        """Return the error of a server that gives no answer."""
        return BackendUnavailableError(
            f"{self.server} did not answer within {self._timeout:g} s; check the address and that the server is "
            "running, or pass a longer timeout"
        )

    def unreachable(self, reason: object) -> BackendUnavailableError:
        """Return the error of an address where no server is."""
        return BackendUnavailableError(
            f"{self.server} cannot be reached ({reason}); check the address and that the server is running"
        )

    def refused(self, option: str) -> BackendUnavailableError:
        """Return the error of a server that wants another key."""
        return BackendUnavailableError(f"{self.server} refuses access; check {option}")

    def full(self) -> StorageFullError:
        """Return the error of a full disk."""
        return StorageFullError(f"{self.server} has no space left; nothing of this batch was written")

    def locked(self) -> IndexLockedError:
        """Return the error of a folder that is in use."""
        return IndexLockedError(f"{self.server} is open in another process or another store; close that first")

    def overloaded(self, reason: object) -> BackendUnavailableError:
        """Return the error of a server that takes no more for now."""
        return BackendUnavailableError(f"{self.server} is overloaded ({reason}); try again later")

    def closed(self) -> StorageError:
        """Return the error of a store that is used after `close`."""
        return StorageError(f"{self.server} has been closed; open it again")

    def end(self) -> bool:
        """Refuse to be entered from now on, as a store is that was closed; return whether that is new."""
        was, self._over = self._over, True
        return not was
