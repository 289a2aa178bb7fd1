"""A web server on this machine with files in memory, which fails as it is told to."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    """What was asked for."""

    path: str
    range: str | None
    authorization: str | None


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are what is tested."""


class FaultServer:
    """Serves `files`. The next requests are answered by `faults`, in turn, as long as there are any."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[Request] = []
        self.ranges = True
        self.latency_s = 0.0
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def next_fault(self, request: Request) -> Fault | None:
        """Notes a request; what to do about it."""
        with self._lock:
            self.requests.append(request)
            return self.faults.popleft() if self.faults else None

    def close(self) -> None:
        """Ends stalls and the server."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 5
    disable_nagle_algorithm = True
    server_of: FaultServer

    def do_GET(self) -> None:
        """Answers, or fails."""
        path = self.path.partition("?")[0]
        fault = self.server_of.next_fault(Request(self.path, self.headers["Range"], self.headers["Authorization"]))
        if self.server_of.latency_s:
            self.server_of.ended.wait(self.server_of.latency_s)
        content = self.server_of.files.get(path)
        if fault is not None:
            fault(self, content or b"")
        elif content is None:
            self.answer(404, b"not here")
        else:
            self.serve(content)

    def serve(self, content: bytes) -> None:
        """As a good server does."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if asked is None or not self.server_of.ranges:
            return self.answer(200, content)
        start, end = int(asked[1]), min(int(asked[2] or len(content)) + 1, len(content))
        if start >= len(content):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        self.answer(206, content[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"})

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        """Sends it all; `length` where the header shall lie."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """Breaks the connection."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Silence."""


Fault = Callable[[Handler, bytes], None]


def _handler_of(server: FaultServer) -> type[Handler]:
    return type("HandlerOfServer", (Handler,), {"server_of": server})


# Faults


def fine(handler: Handler, content: bytes) -> None:
    """None at all."""
    handler.serve(content)


def refuse_connection(handler: Handler, _: bytes) -> None:
    """Hangs up without an answer."""
    handler.hang_up()


def _send_half(handler: Handler, content: bytes) -> None:
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"] or "")
    asked = asked if handler.server_of.ranges else None
    start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(content))
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"} if asked else {}
    part = content[start:end]
    handler.answer(206 if asked else 200, part[: len(part) // 2], headers, length=len(part))


def drop_in_the_middle(handler: Handler, content: bytes) -> None:
    """Promises all, sends half of it."""
    _send_half(handler, content)
    handler.hang_up()


def stall(handler: Handler, content: bytes) -> None:
    """Sends half of it, then nothing for longer than anyone waits."""
    _send_half(handler, content)
    handler.server_of.ended.wait(5)
    handler.close_connection = True


def status(code: int, **headers: str) -> Fault:
    """Answers with an error page."""
    return lambda handler, _: handler.answer(code, b"<h1>no</h1>", {k.replace("_", "-"): v for k, v in headers.items()})


def shifted_range(handler: Handler, content: bytes) -> None:
    """The right number of bytes from a wrong place."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"])
    assert asked is not None
    start, end = int(asked[1]) + 1, int(asked[2]) + 2
    handler.answer(206, content[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"})


def short_range(handler: Handler, content: bytes) -> None:
    """Names the range asked for, sends and announces less."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"])
    assert asked is not None
    start, end = int(asked[1]), int(asked[2]) + 1
    handler.answer(206, content[start : end - 7], {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"})


def no_content_range(handler: Handler, content: bytes) -> None:
    """206 without saying of what."""
    handler.answer(206, content[:10])


def redirect(to: str, code: int = 302) -> Fault:
    """Elsewhere."""
    return lambda handler, _: handler.answer(code, b"moved", {"Location": to})
