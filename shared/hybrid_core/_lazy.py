"""Attributes that are imported when they are first used (PEP 562), so that importing a package stays cheap."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """Return the module-level `__getattr__` and the sorted `__all__` of a package.

    Args:
        package: `__name__` of the package.
        exports: public name -> module that defines it, relative to the package (".errors").
    """

    def getattr_(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(exports[name], package), name)

    return getattr_, sorted(exports)
