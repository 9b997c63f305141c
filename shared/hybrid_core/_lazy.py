"""Attributes that are imported when they are first used (PEP 562), so that importing a package stays cheap."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from .errors import require


def lazy_exports(
    package: str, exports: Mapping[str, str], *, needs: str | None = None, extra: str = ""
) -> tuple[Callable[[str], Any], list[str]]:
    """Return the module-level `__getattr__` and the sorted `__all__` of a package.

    Args:
        package: `__name__` of the package.
        exports: public name -> module that defines it, relative to the package (".errors").
        needs: a module without which no export works, and
        extra: the extra of bge-hybrid that brings it.
    """

    def getattr_(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if needs:
            require(needs, extra)
        return getattr(importlib.import_module(exports[name], package), name)

    return getattr_, sorted(exports)
