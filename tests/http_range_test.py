import email.utils
import re
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tile_server import Fault, TileServer

from ecjax import http_range
from ecjax.errors import InputError
from ecjax.http_range import Missing, Opened, Patience, Web
from ecjax.models import Unavailable

CONTENT = bytes(range(256)) * 40
PATH = "2021/10N/a.tiff"


@pytest.fixture
def server():
    with TileServer({PATH: CONTENT}) as started:
        yield started


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def web(pauses):
    return Web(Patience(silence=5), sleep=pauses.append)


@pytest.fixture
def file(web, server):
    return web.file(f"{server.url}/{PATH}")


def test_parts_of_a_file_are_read(file, server):
    assert file.read(100, 300) == CONTENT[100:300]
    assert file.read(10_000, 20_000) == CONTENT[10_000:]
    assert (file.size, file.etag) == (len(CONTENT), server.etag(PATH))
    assert [request.nbytes for request in server.requests] == [200, 240]


def test_its_size_costs_one_byte(file, server):
    assert file.size == len(CONTENT) and server.nbytes == 1


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(status=status) for status in http_range.PASSING),
        Fault(cut=0.5),
        Fault(short=0.5),
        Fault(drop=True),
        Fault(whole=True),
        Fault(etag='"other"'),
        Fault(headers={"Content-Range": "bytes 7-206/10240"}),
        Fault(headers={"Content-Range": "nonsense"}),
    ],
    ids=str,
)
def test_what_passes_is_asked_for_again(fault, file, server, pauses):
    file.read(0, 1)
    server.misbehave(fault, times=2)
    assert file.read(100, 300) == CONTENT[100:300]
    first, *second = pauses
    if fault.drop:  # the first is taken for a connection that was kept for too long
        assert 0.5 <= first <= 1 and not second
    else:
        assert 0.5 <= first <= 1 <= second[0] <= 2
    assert len(server.requests) == 4


@pytest.mark.parametrize("date", [False, True])
def test_a_server_that_says_when_is_asked_then(date, file, server, pauses):
    told = email.utils.formatdate(time.time() + 90) if date else "90"
    server.misbehave(Fault(status=429, headers={"Retry-After": told}))
    assert file.read(0, 5) == CONTENT[:5]
    assert pauses == [pytest.approx(90, abs=2)]


def test_a_server_that_says_too_late_is_left_alone(file, server, pauses):
    server.misbehave(Fault(status=503, headers={"Retry-After": "3600"}), times=None)
    with pytest.raises(Unavailable, match="answered 503 .*left alone for 3,600 s .attempt 1,"):
        file.read(0, 5)
    assert len(server.requests) == 1 and not pauses


def test_attempts_end(file, server, pauses):
    server.misbehave(Fault(status=500), times=None)
    with pytest.raises(Unavailable, match=re.escape(f"{PATH}: answered 500")):
        file.read(0, 5)
    assert len(server.requests) == 6 and len(pauses) == 5
    assert all(0.5 * 2**i <= pause <= 2**i for i, pause in enumerate(pauses))


@pytest.mark.parametrize("status", [400, 401, 403, 416])
def test_a_refusal_is_not_argued_with(status, file, server):
    server.misbehave(Fault(status=status), times=None)
    with pytest.raises(Unavailable, match=f"answered {status}"):
        file.read(0, 5)
    assert len(server.requests) == 1


def test_no_redirection_is_followed(file, server):
    elsewhere = {"Location": "https://user:secret@elsewhere.example/x?token=secret"}
    server.misbehave(Fault(status=302, headers=elsewhere))
    with pytest.raises(Unavailable, match="names https://elsewhere.example/x, which") as caught:
        file.read(0, 5)
    assert "secret" not in str(caught.value)


def test_what_is_not_there_is_missing(web, server):
    with pytest.raises(Missing):
        web.file(f"{server.url}/b.tiff").read(0, 5)
    assert len(server.requests) == 1


def test_silence_counts_as_failing(server):
    server.misbehave(Fault(delay=30), times=None)
    file = Web(Patience(attempts=2, silence=0.2), sleep=lambda _: None).file(f"{server.url}/{PATH}")
    with pytest.raises(Unavailable, match="does not answer .attempt 2"):
        file.read(0, 5)


def test_a_trickle_counts_as_failing():
    response = SimpleNamespace(read1=lambda size: b"1", length=5)
    with pytest.raises(http_range._Passing, match="too slow"):
        http_range._body(response, 100, time.monotonic() - 1)


def test_a_file_that_changes_is_not_read_on(file, server):
    file.read(0, 5)
    server.files[PATH] = CONTENT[::-1] + b"1"
    with pytest.raises(Unavailable, match="changed while it was read: first 10,240.*10,241"):
        file.read(0, 5)


def test_a_server_nobody_runs_is_unavailable(web):
    with pytest.raises(Unavailable, match="refused"):
        web.file("http://127.0.0.1:9/a").read(0, 5)


def test_secrets_are_not_shown(server):
    server.misbehave(Fault(status=403))
    host = server.url.removeprefix("http://")
    with pytest.raises(Unavailable) as caught:
        Web().file(f"http://user:secret@{host}/{PATH}?token=secret").read(0, 5)
    assert "secret" not in str(caught.value) and host in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "https:///x", "a/b"])
def test_other_addresses_are_refused(url):
    with pytest.raises(InputError, match="is not an address"):
        Web().file(url)


def test_a_connection_is_kept_and_made_anew(file, server, pauses):
    file.read(0, 5)
    server.misbehave(Fault(drop=True))  # as if the server had closed it meanwhile
    assert file.read(0, 5) == CONTENT[:5] and not pauses


def test_a_proxy_of_the_environment_is_asked(server, web, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert web.file(f"http://store.example/{PATH}").read(0, 5) == CONTENT[:5]


def test_threads_share_a_file(file, server):
    server.misbehave(Fault(status=503), share=0.1, times=None)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: file.read(at, at + 7), range(0, 7000, 70)))
    assert found == [CONTENT[at : at + 7] for at in range(0, 7000, 70)]


def test_parquet_is_read_by_its_columns(web, server):
    table = pa.table({"a": range(1000), "b": ["x" * 1000 + str(i) for i in range(1000)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    server.files["t.parquet"] = sink.getvalue().to_pybytes()
    opened = Opened(web.file(f"{server.url}/t.parquet"))
    with pq.ParquetFile(opened, pre_buffer=False) as parquet:
        assert parquet.read(["a"]).equals(table.select(["a"]))
    assert server.nbytes < len(server.files["t.parquet"]) / 10


def test_failures_reach_who_reads_through_parquet(web, server):
    server.misbehave(Fault(status=403), times=None)
    with pytest.raises(Unavailable, match="answered 403"):
        pq.ParquetFile(Opened(web.file(f"{server.url}/{PATH}")), pre_buffer=False)
