"""Tessera's vectors from made stores on the loopback, as they should be to the bit."""

import concurrent.futures
import importlib.util

import make_zarr
import numpy as np
import pytest
from tile_server import Fault, TileServer

from ecjax import addresses, tessera, web
from ecjax.errors import InputError
from ecjax.models import Places, Unavailable
from ecjax.tessera import OUTSIDE, UNWRITTEN, WATER, Tessera

SIZE = 48
YEARS = 2020, 2021


def holed(zone):
    """A zone with water, a hole of one pixel, a wide one, and a scale that cannot be."""
    scales = zone.scales.copy()
    scales[:, 4, 4] = np.nan
    scales[:, 10, 10] = np.inf
    scales[:, 20:26, 20:26] = np.inf
    scales[:, 30, 30] = 1e32
    return zone._replace(scales=scales)


@pytest.fixture(scope="module")
def zones():
    """By name: both hemispheres, the date line from both sides, and an edge between two zones."""
    return {
        "north": holed(make_zarr.zone(33, 52.0, 13.4, SIZE)),
        "south": make_zarr.zone(20, -10.0, -62.5, SIZE),
        "west": make_zarr.zone(60, -17.0, 180.0, SIZE),
        "east": make_zarr.zone(1, 66.0, -179.9, SIZE),
        "edge": make_zarr.zone(30, 40.0, 0.0, SIZE),
    }


@pytest.fixture(scope="module")
def files(zones):
    return make_zarr.store(zones.values(), YEARS, chunk=16)


@pytest.fixture
def server(files, monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.0)
    with TileServer(dict(files)) as server:
        yield server


def places(lat, lon, year=2021) -> Places:
    lat, lon = np.atleast_1d(lat).astype(float), np.atleast_1d(lon).astype(float)
    return Places(lat, lon, np.broadcast_to(np.int64(year), lat.shape))


def read(model, wanted):
    """All parts, put together."""
    values = np.full((len(wanted.lat), tessera.DIMS), np.nan, np.float32)
    columns = {
        name: np.full(len(wanted.lat), "?", object) for name in ("tile", "checksum", "reason")
    }
    for rows in model.parts(wanted):
        found = model.read(wanted.at(rows))
        values[rows] = found.values
        for name, column in columns.items():
            column[rows] = getattr(found, name)
    return values, columns


@pytest.mark.parametrize("name", ["south", "west", "east", "edge"])
def test_every_pixel_is_exact_at_its_centre(server, zones, name):
    rows, columns = np.repeat(np.arange(SIZE), SIZE), np.tile(np.arange(SIZE), SIZE)
    wanted = places(*zones[name].centres(rows, columns), np.resize(YEARS, SIZE**2))
    values, found = read(Tessera(server.url), wanted)
    assert set(found["reason"]) == {""}
    np.testing.assert_array_equal(values, zones[name].vectors(wanted.year - 2020, rows, columns))
    assert set(found["tile"]) <= {
        f"utm{zones[name].number:02d}/embeddings/c/{t}/0/{y}/{x}"
        for t in (0, 1) for y in (0, 1) for x in (0, 1)
    }  # fmt: skip


def test_a_place_is_in_the_nearest_pixel(server, zones):
    zone, rng = zones["south"], np.random.default_rng(4)
    lat, lon = zone.centres(rng.uniform(-0.4, SIZE - 0.6, 200), rng.uniform(-0.4, SIZE - 0.6, 200))
    east, north = make_zarr.project(lat, lon, zone.number)
    centres = np.arange(SIZE) * 10.0 + 5
    columns = np.abs(zone.west + centres - east[:, None]).argmin(1)
    rows = np.abs(zone.north - centres - north[:, None]).argmin(1)
    values, found = read(Tessera(server.url), places(lat, lon))
    np.testing.assert_array_equal(values, zone.vectors(1, rows, columns))


def test_what_there_is_none_of_has_a_reason(server, zones):
    zone, model = zones["north"], Tessera(server.url)
    lat, lon = zone.centres([4, 22, 30, -40, 5], [4, 22, 30, 5, SIZE + 40])
    lat, lon = np.append(lat, [47.0, 89.99, -90.0]), np.append(lon, [8.5, 13.4, 0.0])
    values, found = read(model, places(lat, lon))
    assert np.isnan(values).all()
    assert found["reason"].tolist() == [
        WATER, UNWRITTEN, tessera.DAMAGED, *[OUTSIDE] * 5
    ]  # fmt: skip
    assert set(found["tile"]) == set(found["checksum"]) == {""}
    _, found = read(model, places(*zone.centres([5], [5]), 2019))
    assert found["reason"].tolist() == ["no year 2019 in this store (2020 to 2021)"]


def test_beside_one_that_was_never_written_is_the_nearest(server, zones):
    zone = zones["north"]
    values, found = read(Tessera(server.url), places(*zone.centres([10, 20, 21], [10, 20, 25])))
    np.testing.assert_array_equal(values, zone.vectors(1, [9, 19, 21], [10, 20, 26]))


def test_beyond_a_zones_edge_its_tiles_are_found(server, zones):
    """The grid of zone 30 reaches across 0°, where zone 31 has none; and 180° is -180°."""
    zone = zones["edge"]
    lat, lon = zone.centres([24, 24], [2, SIZE - 2])
    assert lon[0] < 0 < lon[1]
    values, _ = read(Tessera(server.url), places(lat, lon))
    np.testing.assert_array_equal(values, zone.vectors(1, [24, 24], [2, SIZE - 2]))
    values, found = read(Tessera(server.url), places([-17.0, -17.0], [180.0, -180.0]))
    assert found["reason"].tolist() == ["", ""]
    np.testing.assert_array_equal(values[0], values[1])


def test_parts_are_of_one_shard_and_the_same_again(server, zones):
    rng, two = np.random.default_rng(5), (zones["north"], zones["south"])
    lats, lons = zip(*(z.centres(*rng.integers(0, SIZE, (2, 1000))) for z in two), strict=True)
    order = rng.permutation(2000)
    wanted = places(np.concatenate(lats)[order], np.concatenate(lons)[order])
    parts = Tessera(server.url).parts(wanted)
    again = Tessera(server.url).parts(wanted)
    assert [part.tolist() for part in parts] == [part.tolist() for part in again]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(2000))
    assert max(map(len, parts)) <= tessera.PART
    model = Tessera(server.url)
    assert all(len(set(model.read(wanted.at(part)).tile) - {""}) <= 1 for part in parts)


def test_an_estimate_asks_for_metadata_alone(server, zones):
    wanted = places(*zones["south"].centres([1, 2, 40], [1, 2, 40]))
    estimate = Tessera(server.url).estimate(wanted)
    assert estimate.nbytes == 2 * tessera.CHUNK_BYTES and estimate.requests == 2 * (2 * 2 + 2)
    assert {request.path for request in server.requests} == {"zarr.json", "utm20/time/c/0"}


def test_an_estimate_names_who_is_asked(server, zones, monkeypatch):
    wanted = places(*zones["south"].centres([1], [1]))
    assert Tessera(server.url).estimate(wanted).cost == f"as {server.url} charges"
    monkeypatch.setitem(tessera.addresses.TESSERA, "v1", server.url)
    assert "Source Cooperative" in Tessera().estimate(wanted).cost


def test_little_more_is_read_than_the_chunks(server, zones, files):
    zone, model = zones["south"], Tessera(server.url)
    rows, columns = np.random.default_rng(6).integers(0, SIZE, (2, 500))
    wanted = places(*zone.centres(rows, columns))
    parts = model.parts(wanted)
    before = server.nbytes
    for part in parts:
        model.read(wanted.at(part))
    whole = sum(
        len(content) for path, content in files.items() if "utm20/" in path and "c/1/" in path
    )
    assert 0.9 * whole < server.nbytes - before < 1.2 * whole


def test_threads_read_the_same(server, zones):
    zone, model = zones["south"], Tessera(server.url)
    rows, columns = np.random.default_rng(7).integers(0, SIZE, (2, 400))
    wanted = places(*zone.centres(rows, columns))
    parts = [np.arange(start, start + 20) for start in range(0, 400, 20)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda part: model.read(wanted.at(part)).values, parts))
    np.testing.assert_array_equal(np.concatenate(found), zone.vectors(1, rows, columns))
    assert [r.path for r in server.requests].count("zarr.json") == 1


def test_faults_that_pass_change_nothing(server, zones):
    zone = zones["south"]
    rows, columns = np.random.default_rng(8).integers(0, SIZE, (2, 60))
    for seed, fault in enumerate(
        (Fault(status=429, headers={"Retry-After": "0"}), Fault(status=500), Fault(cut=0.3),
         Fault(drop=True), Fault(etag='"other"'))
    ):  # fmt: skip
        server.misbehave(fault, times=6, share=0.2, seed=seed)
    values, _ = read(Tessera(server.url), places(*zone.centres(rows, columns)))
    np.testing.assert_array_equal(values, zone.vectors(1, rows, columns))


def test_a_store_that_fails_is_unavailable(server, zones):
    wanted, model = places(*zones["south"].centres([3], [3])), Tessera(server.url)
    (part,) = model.parts(wanted)
    server.misbehave(Fault(status=500), path="embeddings", times=None)
    with pytest.raises(Unavailable, match="utm20/embeddings/c/1/0/0/0: the server answers 500"):
        model.read(wanted.at(part))
    server.behave()
    assert model.read(wanted.at(part)).reason.tolist() == [""]


def test_a_shard_that_is_absent_was_never_written(server, zones):
    wanted, model = places(*zones["south"].centres([3, 40], [3, 40])), Tessera(server.url)
    del server.files["utm20/scales/c/1/0/0"]
    _, found = read(model, wanted)
    assert found["reason"].tolist() == [UNWRITTEN, ""]


def test_versions_are_never_mixed(server, zones):
    assert Tessera().version == "v1 (vultr)" and Tessera("v1.1").version == "v1.1 (dclimate)"
    assert Tessera(server.url).version == f"v1 ({server.url})"
    with pytest.raises(InputError, match='holds vectors of model "1.0".*but v1.1 .* was asked for'):
        Tessera(f"v1.1@{server.url}").parts(places(0, 0))
    other = make_zarr.store([zones["south"]], YEARS, model="1.1", chunk=16)
    with TileServer(other) as newer:
        with pytest.raises(InputError, match='holds vectors of model "1.1".*v1 .*VERSION@URL'):
            Tessera(newer.url).parts(places(0, 0))
        model = Tessera(f"v1.1@{newer.url}/")
        assert model.version == f"v1.1 ({newer.url})"
        assert model.parts(places(0, 0))


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (None, Unavailable, "there is no Zarr store"),
        (b"<html>", InputError, "is no Zarr store of Tessera"),
        (b"[]", InputError, "is no Zarr store of Tessera"),
        (b'{"attributes": {"geoemb:model": 1}}', InputError, "is no Zarr store of Tessera"),
    ],
)
def test_what_is_no_store_is_refused(content, error, match):
    with TileServer({} if content is None else {"zarr.json": content}) as server:
        with pytest.raises(error, match=match):
            Tessera(server.url).parts(places(0, 0))


def test_another_grid_is_refused(server):
    root = server.files["zarr.json"]
    for old, new in ((b"EPSG:32633", b"EPSG:32733"), (b"spatial:transform", b"spatial:transfer")):
        server.files["zarr.json"] = root.replace(old, new)
        with pytest.raises(InputError, match="utm33: (has a grid|lacks what)"):
            Tessera(server.url).parts(places(52.0, 13.4))


def test_sources_are_versions_or_addresses(monkeypatch):
    assert Tessera().url == Tessera("v1").url == addresses.TESSERA["v1"]
    assert Tessera("v1.1").url == addresses.TESSERA["v1.1"]
    assert Tessera("https://me:key@mirror.example/t/").url == "https://me:key@mirror.example/t"
    assert Tessera("v1.1@https://mirror.example/t").asked == "v1.1"
    for wrong in ("v3", "v1@", "/data/tessera", "v1@/data/tessera"):
        with pytest.raises(InputError, match="is no version"):
            Tessera(wrong)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install 'ecjax\\[sources\\]'"):
        Tessera()
