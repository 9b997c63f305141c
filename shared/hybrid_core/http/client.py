"""JSON over HTTP with timeouts, a deadline and bounded retries."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, TypeVar

from ..checks import check_count
from ..errors import BackendUnavailableError, EmbeddingError, HybridError, InvalidInputError, ModelError, require
from .address import Address
from .failures import PassingError, refusal, seconds_to_wait, words_of
from .keys import KeySource, Secret, check_headers, check_key
from .lanes import Lanes

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_SECRET = 8  # characters from which on the value of a header may be a key, and is kept out of messages
_KEPT = 16  # keys remembered, to keep them out of messages
_CONNECT = 10.0  # seconds to wait for a connection, where the timeout is longer
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 20.0  # seconds: the window of the first retry, doubled each time, and its end
_LARGEST = 1 << 29  # bytes of an answer; a batch of 2,048 vectors of 4,096 numbers has about a third of that


class JsonClient:
    """Asks one server. Any number of threads may use it; at most `concurrency` requests are under way.

    Args:
        address: where the server is.
        api_key: sent as "Authorization: Bearer ..."; never shown.
        headers: sent with each request; the values are never shown.
        timeout: seconds to wait for a connection (10 at most) and for each part of an answer.
        deadline: seconds a request may take, its retries and the waiting between them included.
        max_retries: how often a request is repeated that met a refused or broken connection, a timeout, 408, 425, 429
            or 5xx. The wait is random, below 0.5 s at first, doubled each time up to 20 s; or what Retry-After says,
            if that ends before the deadline.
        concurrency: requests under way at a time.

    Raises:
        InvalidInputError: an argument is out of range.
        MissingDependencyError: httpx or tenacity is not installed.
    """

    def __init__(
        self,
        address: Address,
        *,
        api_key: KeySource | None,
        headers: Mapping[str, str] | None,
        timeout: float,
        deadline: float,
        max_retries: int,
        concurrency: int,
    ) -> None:
        self.address = address
        self._key = check_key(api_key)
        if self._key and address.login:
            raise InvalidInputError(f"api_key= and the password in the url of {address} exclude each other; give one")
        self._headers = check_headers(headers, signed=bool(self._key or address.login))
        self._timeout = check_seconds(timeout, "timeout")
        self._deadline = check_seconds(deadline, "deadline")
        self._retries = check_count(max_retries, "max_retries")
        width = check_count(concurrency, "concurrency", least=1)
        self._httpx = require("httpx", "remote")
        self._tenacity = require("tenacity", "remote")
        try:
            self._httpx.URL(str(address))
        except self._httpx.InvalidURL as error:
            raise InvalidInputError(f"url={str(address)!r:.80} is no address: {error}") from error
        self._client: Any = self._httpx.Client(
            limits=self._httpx.Limits(max_connections=width, max_keepalive_connections=width), auth=self._sign
        )
        self._lanes = Lanes(width)
        self._slots = threading.BoundedSemaphore(width)  # waiting for a connection counts against the deadline
        self._sent: tuple[Secret, ...] = ()
        self._closed = False

    def get(self, route: str) -> Any:
        """Return the JSON value of a GET; errors as in `post`."""
        return self._ask("GET", route, None, threading.Event())

    def post(self, route: str, body: Mapping[str, Any], unwanted: threading.Event | None = None) -> Any:
        """Return the JSON value that the server answers.

        Args:
            route: path of the request.
            body: of the request.
            unwanted: no further attempt is made once it is set.

        Raises:
            BackendUnavailableError: no answer in time, after the retries; or the key is refused.
            ModelLoadError: the server has no such route or model.
            ModelError: the server refuses the request; or `close` has been called.
            EmbeddingError: the answer is not JSON.
        """
        content = json.dumps(body, ensure_ascii=False).encode()
        return self._ask("POST", route, content, unwanted or threading.Event())

    def each(self, call: Callable[[T, threading.Event], R], items: Sequence[T]) -> Generator[R, None, None]:
        """Yield `call(item, unwanted)` of each item, in order, a few at a time; the first error ends all."""
        self._check_open()
        try:
            yield from self._lanes.each(call, items)
        except (CancelledError, RuntimeError):  # what the threads raise when `close` comes in between
            self._check_open()
            raise

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Keep the secrets out of errors that quote an answer: what a server echoes may hold them."""
        try:
            yield
        except HybridError as error:
            told = self._hide(str(error))
            if told == str(error):
                raise
            raise type(error)(told) from None

    def close(self) -> None:
        """Let go of the connections; may be called twice."""
        self._closed = True
        self._lanes.close()
        self._client.close()

    def _ask(self, method: str, route: str, content: bytes | None, unwanted: threading.Event) -> Any:
        retry, end = self._tenacity, time.monotonic() + self._deadline
        attempts = retry.Retrying(
            retry=retry.retry_if_exception_type(PassingError),
            stop=retry.stop_any(
                retry.stop_after_attempt(self._retries + 1),
                retry.stop_before_delay(self._deadline),
                retry.stop_when_event_set(unwanted),
            ),
            wait=self._pause,
            sleep=retry.sleep_using_event(unwanted),
            before_sleep=self._note,
            reraise=True,
        )
        try:
            answer: bytes = attempts(self._attempt, method, route, content, unwanted, end)
        except PassingError as error:
            tries = attempts.statistics.get("attempt_number", 1)
            often = "" if tries == 1 else f", at attempt {tries}"
            wait = f", and asks to wait {error.wait:g} s" if error.wait else ""
            raise BackendUnavailableError(
                f"{self.address} {self._hide(error.reason)}{wait} (asked for {route}{often}); {error.remedy}"
            ) from error
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            start = self._hide(words_of(answer))
            raise EmbeddingError(
                f"{self.address} answers {route} with what is not JSON: {start!r:.80}; check url and api="
            ) from error

    def _attempt(self, method: str, route: str, content: bytes | None, unwanted: threading.Event, end: float) -> bytes:
        """Make one request; returns the body of a 200."""
        self._check_open()
        left = end - time.monotonic()
        if unwanted.is_set() or left <= 0:
            raise PassingError(f"did not answer within {self._deadline:g} s", "pass a longer deadline=")
        if not self._slots.acquire(timeout=left):
            raise PassingError(f"was too busy with our own requests for {left:.3g} s", "raise concurrency")
        try:
            status, headers, body = self._send(method, route, content, end)
        finally:
            self._slots.release()
        if status == 200:
            return body
        wait = seconds_to_wait(headers.get("retry-after"), time.time())
        raise refusal(str(self.address), route, status, self._hide(words_of(body)), wait)

    def _send(self, method: str, route: str, content: bytes | None, end: float) -> tuple[int, Any, bytes]:
        """Make one request; returns status, headers and body."""
        httpx, patience = self._httpx, max(1e-3, min(self._timeout, end - time.monotonic()))
        try:
            with self._client.stream(
                method,
                self.address.route(route),
                content=content,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                timeout=httpx.Timeout(patience, connect=min(patience, _CONNECT)),
            ) as response:
                return response.status_code, response.headers, self._read(response, end)
        except httpx.TimeoutException as error:
            remedy = "check that the server is running, lower batch_size, or pass a longer timeout"
            raise PassingError(f"did not answer within {patience:.3g} s", remedy) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            what = "cannot be reached" if isinstance(error, httpx.ConnectError) else "broke off"
            remedy = "check the address and that the server is running"
            raise PassingError(f"{what} ({self._hide(str(error))})", remedy) from error
        except RuntimeError:
            self._check_open()  # a client closed in between
            raise

    def _read(self, response: Any, end: float) -> bytes:
        """Read an answer; one that trickles in would outlast any timeout between two parts."""
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > _LARGEST:
                raise EmbeddingError(f"{self.address} answers with more than {_LARGEST >> 20} MiB; check url and api=")
            if time.monotonic() > end:
                raise PassingError(f"did not answer within {self._deadline:g} s", "pass a longer deadline=")
        return b"".join(parts)

    def _sign(self, request: Any) -> Any:
        """Add the secrets, as late as can be, so that nothing else holds them."""
        for name, value in self._headers.items():
            request.headers[name] = value.get_secret_value()
        if self._key:
            key = Secret(self._key.get_secret_value())
            if key not in self._sent:  # a function gives other keys in time, and each may be echoed
                self._sent = (*self._sent[1 - _KEPT :], key)
            request.headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        elif self.address.login:
            request.headers["Authorization"] = self.address.login.get_secret_value()
        return request

    def _hide(self, text: str) -> str:
        """Return a text without the secrets, which some servers and clients quote."""
        sent = (*self._sent, self.address.login, self.address.password)
        values = [secret.get_secret_value() for secret in sent if secret]
        values += [value for value in (s.get_secret_value() for s in self._headers.values()) if len(value) >= _SECRET]
        for value in sorted(filter(None, values), key=len, reverse=True):
            text = text.replace(value, "**********")
        return text

    def _pause(self, state: Any) -> float:
        """Return the seconds before the next attempt."""
        asked: float | None = state.outcome.exception().wait
        if asked is not None:  # clients told the same second should not all come in the same millisecond
            return asked + float(self._tenacity.wait_random(0, 0.25)(state))
        return float(self._tenacity.wait_random_exponential(_FIRST_WAIT, _LONGEST_WAIT)(state))

    def _note(self, state: Any) -> None:
        logger.warning(
            "%s %s; attempt %d of %d failed, the next in %.1f s",
            self.address, self._hide(state.outcome.exception().reason),
            state.attempt_number, self._retries + 1, state.upcoming_sleep,
        )  # fmt: skip

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError(f"the client of {self.address} has been closed; make a new one")


def check_seconds(value: float, name: str) -> float:
    """Return a number of seconds above 0, or raise InvalidInputError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidInputError(f"{name}={value!r} must be a number of seconds above 0")
    return float(value)
