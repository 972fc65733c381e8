"""A web server on the loopback that serves made files as a store does, and misbehaves on order.

    with TileServer({"2021/10N/a.tiff": content}) as server:
        server.misbehave(Fault(status=429, headers={"Retry-After": "1"}), path="a.tiff", times=2)
        read(server.url + "/2021/10N/a.tiff")
    assert server.nbytes < 1000 and server.requests[0].status == 429

It answers GET and HEAD, whole files and single ranges, with ETags, and keeps connections open.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np


class Fault(NamedTuple):
    """How an answer differs from the right one.

    Attributes:
      status: instead of 200 or 206, with no file in the body.
      headers: added, or in the place of those of the same name.
      etag: another one than the file's.
      cut: so much of the body is missing, of 1; the header still announces all of it.
      short: as `cut`, but the header announces what is sent.
      whole: all of the file, where a range was asked for.
      body: changes the content before it is sent.
      delay: seconds before the first byte.
      drop: the connection is closed without an answer.
    """

    status: int | None = None
    headers: Mapping[str, str] = {}
    etag: str | None = None
    cut: float = 0.0
    short: float = 0.0
    whole: bool = False
    body: Callable[[bytes], bytes] | None = None
    delay: float = 0.0
    drop: bool = False


class Request(NamedTuple):
    """One request as it was answered at a time of `time.monotonic`: [start, stop) of the file; of
    the body, nbytes were sent."""

    method: str
    path: str
    start: int
    stop: int
    status: int
    nbytes: int
    at: float


class TileServer:
    """Serves `files`, path → content; entries may be added, changed and removed while it runs.

    Attributes:
      url: "http://127.0.0.1:PORT", without a slash at the end.
      requests: every request so far, in the order of their answers.
    """

    def __init__(self, files: Mapping[str, bytes]):
        self.files = files
        self.requests: list[Request] = []
        self._orders: list[_Order] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._etags: dict[str, tuple[bytes, str]] = {}
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> TileServer:
        return self

    def __exit__(self, *_) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def nbytes(self) -> int:
        """Bytes of bodies sent so far."""
        return sum(request.nbytes for request in self.requests)

    def misbehave(
        self,
        fault: Fault,
        path: str = "",
        times: int | None = 1,
        after: int = 0,
        share: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Answers requests whose path contains `path` with a fault.

        Args:
            times: so many of them, None: all from now on.
            after: so many are answered rightly first.
            share: each of them with this chance, drawn from `seed`.
        """
        rng = np.random.default_rng(seed)
        self._orders.append(_Order(fault, path, times, after, share, rng))

    def behave(self) -> None:
        """Forgets all orders to misbehave."""
        self._orders.clear()

    def etag(self, path: str) -> str:
        """The ETag of a file as it is served."""
        content = self.files[path]
        known, etag = self._etags.get(path, (None, ""))
        if known is not content:
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            self._etags[path] = content, etag
        return etag

    def _fault(self, path: str) -> Fault:
        with self._lock:
            for order in self._orders:
                if order.holds(path):
                    return order.fault
        return Fault()


class _Http(ThreadingHTTPServer):
    request_queue_size = 128  # some clients open a connection for each of 64 bands

    def handle_error(self, *_) -> None:
        """Clients hang up; that is no news."""


class _Order:
    def __init__(self, fault, path, times, after, share, rng):
        self.fault, self.path, self.times, self.after = fault, path, times, after
        self.share, self.rng = share, rng

    def holds(self, path: str) -> bool:
        if self.path not in path or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        if self.share < 1 and self.rng.random() >= self.share:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of: TileServer

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = self.server_of
        path = unquote(urlsplit(self.path).path).lstrip("/")
        fault = server._fault(path)
        if fault.delay and server._closing.wait(fault.delay):
            fault = fault._replace(drop=True)
        content = None if fault.status else server.files.get(path)
        if fault.drop:
            self._answered(path, 0, 0, 0, 0)
            self.close_connection = True
        elif content is None:
            self._refuse(path, fault)
        else:
            self._serve(path, content, fault)

    def _refuse(self, path: str, fault: Fault) -> None:
        status, text = fault.status or 404, b"" if self.command == "HEAD" else b"no such luck\n"
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **fault.headers}.items():
            self.send_header(name, value)
        self._answered(path, 0, 0, status, len(text))
        self.end_headers()
        self.wfile.write(text)

    def _serve(self, path: str, content: bytes, fault: Fault) -> None:
        start, stop, ranged = 0, len(content), self.headers.get("Range")
        if ranged and not fault.whole:
            first, last = ranged.removeprefix("bytes=").split("-")
            start = int(first) if first else max(0, len(content) - int(last))
            stop = min(len(content), int(last) + 1) if first and last else len(content)
        status = 206 if ranged and not fault.whole else 200
        if start >= stop:
            return self._refuse(path, fault._replace(status=416))
        etag = fault.etag or self.server_of.etag(path)
        body = content[start:stop]
        body = fault.body(body) if fault.body else body
        announced = body[: round(len(body) * (1 - fault.short))]
        headers = {"ETag": etag, "Content-Length": str(len(announced)), "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self.send_response(status)
        for name, value in {**headers, **fault.headers}.items():
            self.send_header(name, value)
        sent = announced[: round(len(announced) * (1 - fault.cut))]
        sent = b"" if self.command == "HEAD" else sent
        self._answered(path, start, stop, status, len(sent))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = self.close_connection or fault.cut > 0

    def _answered(self, path: str, start: int, stop: int, status: int, nbytes: int) -> None:
        """Noted before it is sent, so that who has read an answer finds it noted."""
        found = Request(self.command, path, start, stop, status, nbytes, time.monotonic())
        with self.server_of._lock:
            self.server_of.requests.append(found)
