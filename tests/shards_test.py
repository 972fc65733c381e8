"""Pixels of sharded Zarr arrays that the zarr package wrote, from a server on the loopback."""

import json
import re

import numcodecs
import numpy as np
import pytest
import zarr
from tile_server import Fault, TileServer
from zarr.codecs import BloscCodec

from ecjax import shards, web
from ecjax.errors import InputError
from ecjax.models import Unavailable

SIZE, SHARD, CHUNK = 200, 128, 4  # 1,024 chunks to a shard: an index of 16 KiB
SMALL = 32  # pixels of a shard whose index is read whole


@pytest.fixture(scope="module")
def truth():
    """(2, 200, 200) float32, of which only a corner is filled, and one chunk elsewhere."""
    values = np.full((2, SIZE, SIZE), np.inf, np.float32)
    values[:, :24, :24] = np.random.default_rng(0).uniform(size=(2, 24, 24))
    values[0, 140:144, 8:12] = 0.5
    return values


@pytest.fixture(scope="module")
def files(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    for name, shard in (("large", SHARD), ("small", SMALL)):
        array = zarr.create_array(
            folder / name,
            shape=truth.shape,
            chunks=(1, CHUNK, CHUNK),
            shards=(1, shard, shard),
            dtype=np.float32,
            fill_value=np.float32("inf"),
            compressors=BloscCodec(cname="zstd"),
        )
        array[:, :24, :24] = truth[:, :24, :24]
        array[0, 140:144, 8:12] = 0.5
    times = zarr.create_array(
        folder / "time", shape=(5,), chunks=(3,), dtype=np.int32, compressors=BloscCodec()
    )
    times[:] = np.arange(2017, 2022)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def server(files, monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.0)
    with TileServer(dict(files)) as server:
        yield server


def array(server, name="large") -> shards.Array:
    metadata = json.loads(server.files[f"{name}/zarr.json"])
    return shards.Array(f"{server.url}/{name}", metadata, "made")


@pytest.mark.parametrize("name", ["large", "small"])
@pytest.mark.parametrize("time", [0, 1])
def test_values_are_those_that_were_written(server, truth, name, time):
    rng = np.random.default_rng(1)
    rows = np.append(rng.integers(0, SIZE, 300), rng.integers(0, 24, 50))
    columns = np.append(rng.integers(0, SIZE, 300), rng.integers(0, 24, 50))
    rows[0], columns[0] = 141, 9
    found = array(server, name).pixels(time, rows, columns)
    np.testing.assert_array_equal(found.values, truth[time, rows, columns])
    filled = np.isfinite(found.values)
    assert filled.sum() > 50 and (found.checksums[filled] != "").all()
    shard = SHARD if name == "large" else SMALL
    assert found.shards[0] == f"c/{time}/{141 // shard}/{9 // shard}"


def test_little_more_is_read_than_the_chunks(server, truth):
    rows, columns = np.repeat(np.arange(24), 24), np.tile(np.arange(24), 24)
    array(server).pixels(0, rows, columns)
    index = SHARD**2 // CHUNK**2 * 16 + 4
    chunks = len(server.files["large/c/0/0/0"]) - index
    assert chunks <= server.nbytes <= chunks + 24 / CHUNK * 24 * 16 + shards.GAP
    assert len(server.requests) <= 4  # the end, entries, chunks


def test_what_lies_far_apart_is_asked_for_apart(server, monkeypatch):
    whole = len(server.files["large/c/0/0/0"]) - (SHARD**2 // CHUNK**2 * 16 + 4)
    monkeypatch.setattr(shards, "GAP", 64)
    array(server).pixels(0, np.array([0, 23]), np.array([0, 23]))
    assert server.nbytes < whole / 4 and len(server.requests) == 5
    monkeypatch.setattr(shards, "GAP", 1 << 20)
    monkeypatch.setattr(shards, "LONGEST", 64)
    array(server).pixels(0, np.array([0, 23]), np.array([0, 23]))
    assert len(server.requests) == 8 and server.nbytes > whole


def test_a_pixel_takes_its_chunk_and_no_index(server):
    array(server).pixels(0, np.array([141]), np.array([9]))
    assert server.nbytes < 4 + 16 + 200


def test_equal_chunks_have_equal_checksums_and_others_other_ones(server):
    found = array(server).pixels(0, np.array([0, 3, 4]), np.array([0, 3, 0]))
    assert found.checksums[0] == found.checksums[1] != found.checksums[2]
    assert re.fullmatch("[0-9a-f]{16}", found.checksums[0])


def test_what_changes_while_it_is_read_is_read_anew(server, truth):
    server.misbehave(Fault(etag='"other"'), path="c/0/0/0", after=1)
    found = array(server).pixels(0, np.array([5]), np.array([5]))
    assert found.values[0] == truth[0, 5, 5]
    server.misbehave(Fault(etag='"other"'), path="c/0/0/0", after=1, times=1)
    server.misbehave(Fault(etag='"other"'), path="c/0/0/0", times=None, share=0.5, seed=3)
    with pytest.raises(Unavailable, match="large/c/0/0/0: changes while it is read, read 3"):
        for _ in range(20):
            array(server).pixels(0, np.array([5]), np.array([5]))


def test_damage_is_noticed(server, truth):
    one = np.array([5]), np.array([5])
    server.misbehave(Fault(body=lambda body: b"\x07" * len(body)), path="c/0/0/0", after=2)
    assert array(server).pixels(0, *one).values[0] == truth[0, 5, 5]
    server.behave()
    server.misbehave(Fault(body=lambda body: b"\x07" * len(body)), path="c/0/0/0", times=None)
    with pytest.raises(Unavailable, match="index that leads beyond it"):
        array(server).pixels(0, *one)
    server.behave()
    server.files["large/c/0/0/0"] = b"too little"
    with pytest.raises(Unavailable, match="too few for its index"):
        array(server).pixels(0, *one)


def test_nothing_swells():
    bomb = bytearray(numcodecs.Blosc().encode(b"\0" * 64))
    bomb[4:8] = (2**31 - 1).to_bytes(4, "little")
    with pytest.raises(shards._Broken, match="another length"):
        shards.decompressed(bytes(bomb), 64)
    with pytest.raises(shards._Broken, match="another length"):
        shards.decompressed(b"short", 64)
    broken = bytearray(numcodecs.Blosc("zstd").encode(b"\0" * 2560))
    broken[16:] = b"\xff" * (len(broken) - 16)
    with pytest.raises(shards._Broken, match="cannot be decompressed"):
        shards.decompressed(bytes(broken), 2560)


def test_a_line_is_read_whole(server):
    metadata = json.loads(server.files["time/zarr.json"])
    url = f"{server.url}/time"
    assert shards.line(url, metadata, "time").tolist() == [2017, 2018, 2019, 2020, 2021]
    del server.files["time/c/1"]
    assert shards.line(url, metadata, "time").tolist() == [2017, 2018, 2019, 0, 0]
    server.files["time/c/1"] = b"damaged, and long enough"
    with pytest.raises(Unavailable, match="another length"):
        shards.line(url, metadata, "time")
    with pytest.raises(InputError, match="does not read"):
        shards.line(url, metadata | {"codecs": [{"name": "bytes"}]}, "time")


@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "bytes"}]},
        {"chunk_grid": {"name": "rectilinear", "configuration": {"chunk_shape": [1, 128, 128]}}},
        {"chunk_key_encoding": {"name": "v2"}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 128, 128]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 130, 128]}}},
        {"data_type": "quaternion"},
        {"shape": "wide"},
        {"fill_value": "much"},
    ],
)
def test_another_layout_is_refused(server, change):
    metadata = json.loads(server.files["large/zarr.json"])
    with pytest.raises(InputError, match="made: is stored in a way that ecjax does not read"):
        shards.Array("http://127.0.0.1", metadata | change, "made")


def test_groups_are_of_equal_keys():
    keys = np.array([2, 1, 2, 1, 1]), np.array([0, 5, 0, 5, 4])
    assert [group.tolist() for group in shards.groups(*keys)] == [[4], [1, 3], [0, 2]]
    assert list(shards.groups(np.array([], int))) == []


def test_a_small_index_has_a_checksum_which_is_compared(server):
    assert shards.crc32c(b"123456789") == 0xE3069283  # the check value that its catalogues give
    key = "small/c/0/0/0"
    content = bytearray(server.files[key])
    content[-20] ^= 1  # where the last chunk starts
    server.files[key] = bytes(content)
    with pytest.raises(Unavailable, match="an index whose checksum does not agree"):
        array(server, "small").pixels(0, np.array([0]), np.array([0]))
