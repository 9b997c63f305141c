"""Clients are never let go by a fork of the process that opened them.

A fork has a copy of every client, with the same connections and the same lock of a folder. When the copy goes, it would
tell the server, or unlock the folder, in the name of the process that still works with it.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_opened: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_in_forks(client: Any) -> None:
    """Have forks of this process hold on to a client for as long as they run, and not to close it at their exit."""
    _opened.add(client)


def _after_in_child() -> None:
    for client in list(_opened):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_in_child)
