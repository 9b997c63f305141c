"""A connection to a server that can be told to fall silent, to swallow answers or to break."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

Mode = Literal["open", "silent", "deaf", "closed"]


class FlakyProxy:
    """Passes bytes on between a port of its own and a server on 127.0.0.1.

    In mode "silent" connections are taken and nothing is passed on; in "deaf" requests reach the server and its answers
    are lost; in "closed" nobody listens. A change of mode ends the connections that there are, except that going silent
    or deaf leaves them open, as a network does that stops delivering.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._mode: Mode = "open"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept, self._listening)

    def set(self, mode: Mode) -> None:
        """Change what becomes of requests and answers."""
        was, self._mode = self._mode, mode
        if mode in ("open", "closed"):
            self._hang_up()
        if mode == "closed":
            _end(self._listening)
        elif was == "closed":
            self._listening = socket.create_server(("127.0.0.1", self.port))
            self._start(self._accept, self._listening)

    def stop(self) -> None:
        """End everything."""
        self.set("closed")
        for thread in self._threads:
            thread.join()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            self._open.append(client)
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _end(client)
                continue
            self._open.append(server)
            self._start(self._pass_on, client, server, ("silent",))
            self._start(self._pass_on, server, client, ("silent", "deaf"))

    def _pass_on(self, source: socket.socket, target: socket.socket, lost: tuple[Mode, ...]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self._mode not in lost:
                    target.sendall(data)
        _end(source)
        _end(target)

    def _hang_up(self) -> None:
        while self._open:
            _end(self._open.pop())


def _end(connection: socket.socket) -> None:
    """Close a socket, and wake the thread that waits for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
