"""A publisher on this machine: files by name, with ranges, and with faults on demand."""

import email.utils
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Publisher(ThreadingHTTPServer):
    """Serves ``files`` from memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        """Whether it honours Range."""
        self.tags = True
        """Whether it names the version of a file."""
        self.breaks: list[int] = []
        """Close the connection after so many bytes of the body, once each."""
        self.asked: list[tuple[str, str]] = []
        """Path and Range of every request."""
        self.sent = 0
        """Bytes of bodies, all together."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.asked.append((self.path, wanted))
        data = server.files.get(self.path.lstrip("/"))
        if data is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        same = self.headers.get("If-Range", tag) == tag
        first = re.fullmatch(r"bytes=(\d+)-", wanted)
        start = int(first[1]) if first and server.ranges and same else 0
        if start >= len(data) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if server.tags:
            self.send_header("ETag", tag)
        self.send_header("Date", email.utils.formatdate(usegmt=True))
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if server.breaks:
            body = body[: server.breaks.pop(0)]
            self.close_connection = True
        server.sent += len(body)  # before the client has it and asks how much was sent
        self.wfile.write(body)


@contextmanager
def publisher() -> Iterator[Publisher]:
    """A running server."""
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
