"""Object stores for tests: moto's server in a process of its own, and servers that fail.

It starts without root and without a network, as `python -m moto.server -H 127.0.0.1 -p PORT`, from
`pip install 'moto[s3]' flask flask-cors`, and keeps everything in memory. The tests also run on a
store that is there: with its bucket in ECJAX_TEST_BUCKET, as in
`s3://bucket?endpoint_override=127.0.0.1:8333&scheme=http&region=us-east-1`, and credentials in the
environment.
"""

import contextlib
import dataclasses
import http.client
import http.server
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from pyarrow import fs

BUCKET = "ecjax-test"
SECONDS = 60  # for the server to start
WANTED = ("moto", "flask", "flask_cors")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",  # nothing is asked beyond this machine
}


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A bucket by the beginning of its URL and its options."""

    start: str
    options: str

    def url(self, path: str) -> str:
        return f"{self.start}/{path}?{self.options}"


@contextlib.contextmanager
def started():
    """A bucket of an object store that is there, or is started; skips where there is none."""
    given = os.environ.get("ECJAX_TEST_BUCKET")
    if given:
        yield Bucket(*given.split("?", 1))
        return
    missing = [name for name in WANTED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'ecjax[test]'")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        port = _free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
        )
        try:
            _wait_for(port, process)
            options = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http"}
            fs.S3FileSystem(**options, region="us-east-1", allow_bucket_creation=True).create_dir(
                BUCKET
            )
            options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            yield Bucket(f"s3://{BUCKET}", options)
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("moto's server did not start")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self._read_body()
        self.server.requests.append(f"{self.command} {self.path}")
        status = self.server.status
        if status is None:
            self.server.released.wait()
            self.close_connection = True
            return
        code = {403: "AccessDenied", 500: "InternalError"}[status]
        body = f"<Error><Code>{code}</Code><Message>the store says no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return
        size = None
        while size != 0:
            size = int(self.rfile.readline().split(b";")[0], 16)
            self.rfile.read(size + 2)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *arguments):
        """Says nothing."""


class _Between(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a store, as long as it is whole."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body, server = self._body(), self.server
        server.left -= 1
        if server.left < 0 and server.status is None:
            server.mended.wait()
            self.close_connection = True
            return
        if server.left < 0:
            self._give(server.status, {}, b"")
            return
        store = http.client.HTTPConnection(server.store, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        store.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
        found = store.getresponse()
        self._give(found.status, dict(found.getheaders()), found.read())

    def _give(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        own = {"content-length", "transfer-encoding", "connection"}
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() not in own:
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts, size = [], None
        while size != 0:
            size = int(self.rfile.readline().split(b";")[0], 16)
            parts.append(self.rfile.read(size))
            self.rfile.read(2)
        return b"".join(parts)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *arguments):
        """Says nothing."""


class Breakable:
    """A store that can be broken."""

    def __init__(self, server):
        self._server = server
        self.mend()

    def break_after(self, requests: int, status: int | None) -> None:
        """Answers so many requests, and then with a status, or never (None)."""
        self._server.mended.clear()
        self._server.status, self._server.left = status, requests

    def mend(self) -> None:
        self._server.left, self._server.status = float("inf"), None
        self._server.mended.set()

    @property
    def left(self) -> float:
        """Requests that are still answered."""
        return self._server.left


@contextlib.contextmanager
def breakable(bucket: Bucket):
    """The same bucket by way of a server that can be broken, and what breaks it."""
    options = dict(part.split("=", 1) for part in bucket.options.split("&"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Between)
    server.daemon_threads = True
    server.store, server.mended = options["endpoint_override"], threading.Event()
    between = Breakable(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options["endpoint_override"] = f"127.0.0.1:{server.server_port}"
    own = "&".join(f"{name}={value}" for name, value in options.items())
    try:
        yield dataclasses.replace(bucket, options=own), between
    finally:
        between.mend()
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def failing(status: int | None):
    """A bucket of a store that answers every request with a status, or never (None).

    Gives the bucket and the list of requests that come.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.status, server.requests, server.released = status, [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        try:
            yield Bucket("s3://user:pass%2Fword@bucket", options), server.requests
        finally:
            server.released.set()  # else the process would wait for the answers at its end
            server.shutdown()
            server.server_close()
