"""An HTTP server on this machine that delivers files, or fails in all the ways that servers do."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each path by the server's script: the replies in order, the last one from then on."""

    server: Server

    def do_GET(self) -> None:
        asked = self.server.asked[self.path]
        self.server.asked[self.path] += 1
        script = self.server.script.get(self.path, [])
        with contextlib.suppress(OSError):  # the client has hung up
            if self.path in self.server.files and asked >= len(script):
                good(self, self.server.files[self.path])
            elif script:
                script[min(asked, len(script) - 1)](self, self.server.files.get(self.path, b""))
            else:
                self.send_error(404)
        self.close_connection = True

    def head(self, code: int = 200, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class Server(ThreadingHTTPServer):
    """`files`: what each path should deliver; `script`: what happens instead, first; `asked`: requests of each path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.script: dict[str, list[Reply]] = {}
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Broken connections are part of the game."""


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


# Replies


def good(handler: Handler, body: bytes) -> None:
    handler.head(Content_Length=len(body))
    handler.wfile.write(body)


def truncated(handler: Handler, body: bytes) -> None:
    handler.head(Content_Length=len(body))
    handler.wfile.write(body[: len(body) // 2])


def corrupted(handler: Handler, body: bytes) -> None:
    middle = len(body) // 2
    good(handler, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])


def longer(handler: Handler, body: bytes) -> None:
    good(handler, body + b"more")


def empty(handler: Handler, body: bytes) -> None:
    good(handler, b"")


def login_page(handler: Handler, body: bytes) -> None:
    good(handler, b"<html><body>Please sign in to this network.</body></html>")


def stalled(handler: Handler, body: bytes) -> None:
    handler.head(Content_Length=len(body))
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.server.over.wait(60)


def silent(handler: Handler, body: bytes) -> None:
    handler.server.over.wait(60)


def dripping(handler: Handler, body: bytes) -> None:
    handler.head(Content_Length=len(body))
    for byte in body:
        handler.wfile.write(bytes([byte]))
        if handler.server.over.wait(0.05):
            return


def hung_up(handler: Handler, body: bytes) -> None:
    handler.connection.close()


def nonsense(handler: Handler, body: bytes) -> None:
    handler.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")


def endless(handler: Handler, body: bytes) -> None:
    handler.head()
    _pour(handler, lambda piece: piece)


def endless_chunks(handler: Handler, body: bytes) -> None:
    handler.head(Transfer_Encoding="chunked")
    _pour(handler, lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece))


def _pour(handler: Handler, packed: Callable[[bytes], bytes]) -> None:
    piece = bytes(1 << 16)
    until = time.monotonic() + 60
    while time.monotonic() < until and not handler.server.over.is_set():
        handler.wfile.write(packed(piece))
        handler.server.sent += len(piece)


def huge(handler: Handler, body: bytes) -> None:
    handler.head(Content_Length=10**15)
    _pour(handler, lambda piece: piece)


def status(code: int) -> Reply:
    return lambda handler, body: handler.send_error(code)


def redirect(target: str, code: int = 302) -> Reply:
    return lambda handler, body: handler.head(code, Location=target.format(url=handler.server.url))


def in_a_circle(handler: Handler, body: bytes) -> None:
    handler.head(302, Location=handler.path)
