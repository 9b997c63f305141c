"""Every error this project raises on purpose.

    HybridError(Exception)
    ├── InvalidInputError(HybridError, ValueError)
    │   ├── InvalidTextError            a text that is no string, or holds a lone surrogate
    │   ├── MetadataError               metadata that would not come back as it went in
    │   ├── FilterError                 a filter that cannot be read
    │   └── DuplicateIdError            one id, two different passages in one call
    ├── ModelError(HybridError, RuntimeError)
    │   ├── ModelLoadError              no such model, a part missing, a file that cannot be read
    │   └── EmbeddingError              the model's output is not a number
    ├── ModelMismatchError(HybridError, ValueError)         the index was built with another model
    ├── StorageError(HybridError, OSError)
    │   ├── StorageFullError            the disk is full
    │   ├── IndexLockedError            another writer holds the index
    │   └── IndexCorruptError           the file that is the truth cannot be read
    ├── BackendUnavailableError(HybridError, ConnectionError)
    └── MissingDependencyError(HybridError, ImportError)    an extra is not installed

Each also inherits the builtin class that callers already catch. A message names the offending value and the remedy.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class HybridError(Exception):
    """Base class of all errors raised by bge-hybrid."""


class InvalidInputError(HybridError, ValueError):
    """An argument is out of range or of the wrong kind."""


class InvalidTextError(InvalidInputError):
    """A text is not a string, or cannot be written as UTF-8."""


class MetadataError(InvalidInputError):
    """A metadata value would not survive the round trip through storage."""


class FilterError(InvalidInputError):
    """A filter expression is malformed."""


class DuplicateIdError(InvalidInputError):
    """One call holds the same id with two different passages."""


class ModelError(HybridError, RuntimeError):
    """A model could not do its work."""


class ModelLoadError(ModelError):
    """A checkpoint is missing, incomplete or of the wrong architecture."""


class EmbeddingError(ModelError):
    """A model's answer is not what it should be: NaN, infinity, a wrong count or length."""


class ModelMismatchError(HybridError, ValueError):
    """An index is opened with a model other than the one it was built with."""


class StorageError(HybridError, OSError):
    """The index could not be read or written."""


class StorageFullError(StorageError):
    """The disk is full; nothing of the call is visible."""


class IndexLockedError(StorageError):
    """Another process or object is writing to this index."""


class IndexCorruptError(StorageError):
    """The file that holds the truth of the index is damaged."""


class BackendUnavailableError(HybridError, ConnectionError):
    """A server did not answer, or refuses the key."""


class MissingDependencyError(HybridError, ImportError):
    """An optional dependency is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say how to install it.

    Args:
        module: dotted module name.
        extra: the extra of `bge-hybrid` that brings it.

    Raises:
        MissingDependencyError: with the pip line, when the module's package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the package is there, something it needs is not: that error says more than ours
        raise MissingDependencyError(
            f'{top} is not installed. Run: pip install "bge-hybrid[{extra}]"', name=error.name
        ) from error
