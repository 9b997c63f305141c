"""The lock of the one writer."""

from __future__ import annotations

import os

from filelock import FileLock


class WriterLock(FileLock):
    """A lock that only the process it was made in lets go.

    A fork has the same hold on the file as its parent, and earlier releases of filelock end it for both when the fork
    forgets its copy.
    """

    process = 0  # that it was made in; 0 until it is known

    def release(self, force: bool = False) -> None:
        """Let the next writer in."""
        if self.process in (0, os.getpid()):
            super().release(force)
