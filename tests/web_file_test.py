from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tile_server import Fault, TileServer

from ecjax import web
from ecjax.models import Unavailable
from ecjax.ranges import Ranges
from ecjax.web_file import Changed, Missing, WebFile

CONTENT = bytes(range(256)) * 40
PATH = "2021/10N/a.tiff"


@pytest.fixture
def server():
    with TileServer({PATH: CONTENT}) as started:
        yield started


@pytest.fixture
def file(server):
    return WebFile(f"{server.url}/{PATH}")


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.0)


def test_parts_of_a_file_are_read(file, server):
    assert file.read(100, 300) == CONTENT[100:300]
    assert file.read(10_000, 20_000) == CONTENT[10_000:]
    assert (file.size, file.etag) == (len(CONTENT), server.etag(PATH))
    assert [request.nbytes for request in server.requests] == [200, 240]


def test_its_size_costs_one_byte(file, server):
    assert file.size == len(CONTENT) and server.nbytes == 1


def test_what_is_not_there_is_missing(server):
    with pytest.raises(Missing):
        WebFile(f"{server.url}/b.tiff").read(0, 5)
    assert len(server.requests) == 1


def test_a_file_that_changes_is_not_read_on(file, server):
    file.read(0, 5)
    server.files[PATH] = CONTENT[::-1]
    with pytest.raises(Changed, match=f"{PATH}: the file changed while it was read: first .*then"):
        file.read(0, 5)
    assert WebFile(file.url).read(0, 5) == CONTENT[:-6:-1]
    server.files[PATH] = CONTENT
    assert file.read(0, 5) == CONTENT[:5]


def test_an_etag_that_is_wrong_for_a_moment_is_looked_at_again(file, server):
    file.read(0, 5)
    server.misbehave(Fault(etag='"other"', body=lambda data: data[::-1]), times=2)
    assert file.read(0, 5) == CONTENT[:5]
    assert len(server.requests) == 4


def test_threads_share_a_file(file, server):
    server.misbehave(Fault(status=503), share=0.1, times=None)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: file.read(at, at + 7), range(0, 7000, 70)))
    assert found == [CONTENT[at : at + 7] for at in range(0, 7000, 70)]


def test_parquet_is_read_by_its_columns(server):
    table = pa.table({"a": range(1000), "b": ["x" * 1000 + str(i) for i in range(1000)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    server.files["t.parquet"] = sink.getvalue().to_pybytes()
    file = WebFile(f"{server.url}/t.parquet")
    with pq.ParquetFile(Ranges(file.size, file.read), pre_buffer=False) as parquet:
        assert parquet.read(["a"]).equals(table.select(["a"]))
    assert server.nbytes < len(server.files["t.parquet"]) / 10


def test_failures_reach_who_reads_through_parquet(server):
    file = WebFile(f"{server.url}/{PATH}")
    opened = Ranges(file.size, file.read)
    server.misbehave(Fault(status=403), times=None)
    with pytest.raises(Unavailable, match="answers 403"):
        pq.ParquetFile(opened, pre_buffer=False)
