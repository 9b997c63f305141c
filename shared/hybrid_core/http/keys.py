"""Keys that only the request sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from ..errors import InvalidInputError


@runtime_checkable
class SecretLike(Protocol):
    """A secret that shows itself only when asked to, such as pydantic's SecretStr."""

    def get_secret_value(self) -> str:
        """Return the secret."""
        ...


KeySource: TypeAlias = str | SecretLike | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Secret:
    """A key that no repr, log or error shows; a function that gives one is asked anew for each request."""

    _source: str | Callable[[], str] = field(repr=False)

    def __str__(self) -> str:
        return "**********"

    def get_secret_value(self) -> str:
        """Return the key.

        Raises:
            InvalidInputError: the function gave something that cannot be sent; the message does not show it.
        """
        return self._source if isinstance(self._source, str) else _sendable(self._source(), "what api_key() returned")


def check_key(key: KeySource | None, name: str = "api_key") -> Secret | None:
    """Wrap a key.

    Raises:
        InvalidInputError: it cannot be sent in a header; the message does not show it.
    """
    if key is None or key == "":
        return None
    if isinstance(key, SecretLike):
        return Secret(_sendable(key.get_secret_value(), name))
    return Secret(key if callable(key) else _sendable(key, name))


def check_headers(headers: Mapping[str, str] | None, *, signed: bool) -> dict[str, Secret]:
    """Wrap the values of headers, which are often keys too.

    Args:
        headers: what to send with each request.
        signed: a key or a password is sent beside them.

    Raises:
        InvalidInputError: naming the header that cannot be sent, without its value.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidInputError(f"headers is a {type(headers).__name__}; a mapping of names to values is needed")
    checked: dict[str, Secret] = {}
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise InvalidInputError(f"headers: {name!r:.80} is no name of a header")
        if not isinstance(value, str) or not re.fullmatch(r"[!-~]+( +[!-~]+)*", value):
            raise InvalidInputError(f"headers: the value of {name!r} is not a string of printable ASCII characters")
        if signed and name.lower() == "authorization":
            raise InvalidInputError(
                "headers: Authorization is set by api_key=, or by the password in the url; give one"
            )
        checked[name] = Secret(value)
    return checked


def _sendable(value: object, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):  # a client's error would quote it
        raise InvalidInputError(f"{name} is not a string of printable ASCII characters without spaces")
    return value
