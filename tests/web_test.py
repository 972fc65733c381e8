"""Files and parts of files from a server on the loopback that misbehaves."""

import socket
import threading

import pytest
from tile_server import Fault, TileServer

from ecjax import web
from ecjax.errors import InputError
from ecjax.models import Unavailable

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def server():
    with TileServer({"a.bin": CONTENT, "b.bin": b"elsewhere"}) as server:
        yield server


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.0)


def test_the_whole_a_part_and_the_end(server):
    url = f"{server.url}/a.bin"
    assert web.get(url) == (CONTENT, server.etag("a.bin"), 1024)
    assert web.get(url, (10, 20)) == (CONTENT[10:20], server.etag("a.bin"), 1024)
    assert web.get(url, (1020, 4096)).content == CONTENT[1020:]
    assert web.get(url, (-4, None)).content == CONTENT[-4:]
    assert web.get(url, (-4096, None)).content == CONTENT
    assert web.get(f"{server.url}/absent.bin", (0, 5)) is None
    assert [request.nbytes for request in server.requests][:2] == [1024, 10]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=500),
        Fault(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Fault(cut=0.5),
        Fault(short=0.5),
        Fault(whole=True),
        Fault(drop=True),
        Fault(headers={"Content-Range": "bytes 0-9/1024"}),
        Fault(headers={"Content-Range": "nonsense"}),
    ],
)
def test_what_may_mend_is_asked_for_again(server, fault):
    server.misbehave(fault, times=3)
    assert web.get(f"{server.url}/a.bin", (100, 200)).content == CONTENT[100:200]
    assert len(server.requests) >= 4


def test_a_file_that_is_cut_short_is_asked_for_again(server):
    server.misbehave(Fault(cut=0.5), times=2)
    assert web.get(f"{server.url}/a.bin").content == CONTENT


def test_attempts_end(server):
    server.misbehave(Fault(status=500), times=None)
    with pytest.raises(Unavailable, match=r"127.0.0.1:\d+/a.bin: the server answers 500, and 6"):
        web.get(f"{server.url}/a.bin?signature=secret")
    assert len(server.requests) == web.ATTEMPTS


def test_a_silent_server_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(web, "SILENCE", 0.05)
    monkeypatch.setattr(web, "ATTEMPTS", 2)
    server.misbehave(Fault(delay=5.0), times=None)
    with pytest.raises(Unavailable, match="timed out"):
        web.get(f"{server.url}/a.bin")


def test_a_server_that_drips_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(web, "PATIENCE", 0.05)
    monkeypatch.setattr(web, "ATTEMPTS", 1)
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        peer, _ = listener.accept()
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not ended.wait(0.02):
            try:
                peer.sendall(b".")
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    with pytest.raises(Unavailable, match=r"gave \d+ bytes in"):
        web.get(f"http://127.0.0.1:{listener.getsockname()[1]}/a.bin")
    ended.set()
    listener.close()


def test_the_pause_is_what_the_server_asks_for(server, monkeypatch):
    slept = []
    monkeypatch.setattr(web, "PAUSE", 1.0)
    monkeypatch.setattr(web.time, "sleep", slept.append)
    server.misbehave(Fault(status=429, headers={"Retry-After": "7"}), times=2)
    server.misbehave(Fault(status=500), times=2)
    assert web.get(f"{server.url}/a.bin").content == CONTENT
    assert slept == [7, 7, 4, 8]
    server.misbehave(Fault(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(Unavailable, match="asks to come back in 3,600 s"):
        web.get(f"{server.url}/a.bin")


def test_refusals_are_final(server):
    server.misbehave(Fault(status=403), times=None)
    with pytest.raises(Unavailable, match="answers 403"):
        web.get(f"{server.url}/a.bin")
    assert len(server.requests) == 1


def test_it_is_followed_elsewhere_but_not_everywhere(server):
    server.misbehave(Fault(status=302, headers={"Location": "/b.bin?signature=secret"}))
    assert web.get(f"{server.url}/a.bin").content == b"elsewhere"
    server.misbehave(Fault(status=302, headers={"Location": "file:///etc/hostname"}))
    with pytest.raises(Unavailable, match="is not https"):
        web.get(f"{server.url}/a.bin")
    server.misbehave(Fault(status=302, headers={"Location": "/a.bin"}), times=None)
    with pytest.raises(Unavailable, match="5 times"):
        web.get(f"{server.url}/a.bin")
    with pytest.raises(InputError, match="https://"):
        web.get("file:///etc/hostname")


def test_too_much_is_not_read(server):
    with pytest.raises(Unavailable, match="has 1,024 bytes, and at most 100 are read"):
        web.get(f"{server.url}/a.bin", most=100)


def test_a_connection_is_kept_and_a_closed_one_replaced(server, monkeypatch):
    monkeypatch.setattr(web, "ATTEMPTS", 1)
    url = f"{server.url}/a.bin"
    web.get(url)
    (kept,) = [c for c in web._kept.connections.values() if c.port == int(url[17:].split("/")[0])]
    sock = kept.sock
    web.get(url, (0, 4))
    assert kept.sock is sock
    sock.shutdown(socket.SHUT_RDWR)  # as when the other end has closed it
    assert web.get(url, (0, 4)).content == CONTENT[:4]
    assert kept.sock is not sock


def test_a_proxy_is_used_for_https(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:p%40ss@127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    tunnel = web._connection("https", "outside.example")
    assert (tunnel.host, tunnel.port, tunnel._tunnel_host) == ("127.0.0.1", 3128, "outside.example")
    assert tunnel._tunnel_headers["Proxy-Authorization"] == "Basic bWU6cEBzcw=="
    assert web._connection("https", "inside.example").host == "inside.example"
