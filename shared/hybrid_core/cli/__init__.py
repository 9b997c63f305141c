"""The command line: `bge-hybrid index | search | eval | import | export | demo` and the upkeep of an index.

This is an application on top of everything else, the adapters included; nothing imports it.
"""

from .app import main

__all__ = ["main"]
