"""Where a server is, and how that may be shown."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import InvalidInputError
from .keys import Secret


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server.

    Attributes:
        base: scheme, host, port and path, without a slash at the end; `str()` gives this.
        user: that the url held.
        password: that the url held; None where it held neither.
    """

    base: str
    user: str = field(default="", repr=False)
    password: Secret | None = None

    @property
    def login(self) -> Secret | None:
        """The Authorization header of user and password."""
        if self.password is None:
            return None
        pair = f"{self.user}:{self.password.get_secret_value()}"
        return Secret("Basic " + base64.b64encode(pair.encode()).decode())

    def __str__(self) -> str:
        return self.base

    def route(self, path: str) -> str:
        """Return the url of a route; an address that ends in the route's first part ("/v1") does not get it twice."""
        first, slash, rest = path[1:].partition("/")
        return f"{self.base}/{rest}" if slash and self.base.endswith(f"/{first}") else self.base + path


def check_url(url: object, name: str = "url") -> Address:
    """Read a url; user and password in it become the Authorization header.

    Raises:
        InvalidInputError: it is no http address, or has a query, where keys would end up in logs.
    """
    if not isinstance(url, str):
        raise InvalidInputError(f"{name}={url!r:.80} is no address; pass one such as 'http://127.0.0.1:8080'")
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = SplitResult("", "", "", "", ""), None
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() or ord(c) < 32 for c in url.strip()):
        shown = url.rpartition("@")[2].partition("?")[0]
        raise InvalidInputError(f"{name}={shown!r:.80} is no address; pass one such as 'http://127.0.0.1:8080'")
    base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    if parts.query or parts.fragment:
        raise InvalidInputError(f"{name}={base!r} has a query or a fragment; give keys as api_key= or headers=")
    if parts.username is None and parts.password is None:
        return Address(base)
    return Address(base, unquote(parts.username or ""), Secret(unquote(parts.password or "")))
