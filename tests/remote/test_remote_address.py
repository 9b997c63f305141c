"""Addresses of servers."""

from __future__ import annotations

import pytest

from hybrid_core import InvalidInputError
from hybrid_core.http.address import check_url


@pytest.mark.parametrize(
    ("url", "route", "expected"),
    [
        ("http://host:8080", "/embed", "http://host:8080/embed"),
        ("http://host:8080/", "/embed", "http://host:8080/embed"),
        (" https://host/base/ ", "/v1/embeddings", "https://host/base/v1/embeddings"),
        ("https://host/v1", "/v1/embeddings", "https://host/v1/embeddings"),
        ("https://host/openai/v1/", "/v1/models", "https://host/openai/v1/models"),
        ("https://host/v2", "/v1/rerank", "https://host/v2/v1/rerank"),
        ("https://host/v1", "/embeddings", "https://host/v1/embeddings"),
        ("https://host/xv1", "/v1/rerank", "https://host/xv1/v1/rerank"),
        ("http://[::1]:8080", "/rerank", "http://[::1]:8080/rerank"),
        ("http://user:pass@host:1/a", "/rerank", "http://host:1/a/rerank"),
    ],
)
def test_routes_follow_the_address(url: str, route: str, expected: str) -> None:
    assert check_url(url).route(route) == expected


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("http://user:pass@host", "Basic dXNlcjpwYXNz"),
        ("http://user@host", "Basic dXNlcjo="),
        ("http://us%3Aer:p%40ss@host", "Basic dXM6ZXI6cEBzcw=="),
        ("http://host", None),
    ],
)
def test_user_and_password_become_basic_authorization(url: str, login: str | None) -> None:
    """As RFC 7617 has it: base64 of user:password."""
    found = check_url(url).login
    assert (found and found.get_secret_value()) == login


@pytest.mark.parametrize("url", ["", "host", "/path", "http:host", "file:///x", "http://[::1", "http://a b/", 7, None])
def test_what_is_no_address_is_named(url: object) -> None:
    with pytest.raises(InvalidInputError, match=r"sparse_url=.* is no address; pass one such as"):
        check_url(url, "sparse_url")
