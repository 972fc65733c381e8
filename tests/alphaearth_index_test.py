import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from make_geotiffs import Square, index, place_of
from tile_server import Fault, TileServer

from ecjax import alphaearth_index
from ecjax.alphaearth_index import find, read_index
from ecjax.http_range import Patience, Web
from ecjax.models import Places, Unavailable

SIDE = 8192
# On the equator in zone 31, next to each other and on both sides of it; over the border of zone
# 32; in the last zone, over the date line; of another year.
SQUARES = [
    Square("31N", 2021, 40_000, 0, SIDE),
    Square("31N", 2021, 40_000 + SIDE, 0, SIDE),
    Square("31S", 2021, 40_000, 1_000_000 - SIDE, SIDE),
    Square("32N", 2021, 16_000, 0, SIDE),
    Square("60S", 2021, 78_000, 800_000, SIDE),
    Square("31N", 2020, 40_000, 0, SIDE),
]


@pytest.fixture
def server():
    with TileServer({"aef_index.parquet": index(SQUARES)}) as started:
        yield started


def places_of(zone, east, north, year=2021):
    lat, lon = place_of(zone, np.array(east, float), np.array(north, float))
    return Places(lat, lon, np.full(len(lat), year))


@pytest.fixture
def known(server):
    return read_index(Web(), server.url, None)


def keys(known, found):
    return [known.keys[row] if row >= 0 else "" for row in found.file]


def test_only_the_columns_that_are_needed_are_read(server):
    more = [Square("50N", 2021, SIDE * i, SIDE * j, SIDE) for i in range(10) for j in range(10)]
    server.files["aef_index.parquet"] = index([*SQUARES, *more])
    known = read_index(Web(), server.url, None)
    assert sorted(known.keys) == sorted(square.key for square in [*SQUARES, *more])
    assert known.version == server.etag("aef_index.parquet")
    assert server.nbytes < len(server.files["aef_index.parquet"]) / 2


def test_a_place_is_in_the_file_of_its_zone(known):
    found = find(known, places_of("31N", [40_000.5, 48_191.5, 48_192.5, 60_000], [0.5, 9, 9, 9]))
    assert keys(known, found) == [SQUARES[0].key, SQUARES[0].key, SQUARES[1].key, ""]
    np.testing.assert_allclose(found.x[:3], [400_005, 481_915, 481_925], atol=1e-6)
    np.testing.assert_allclose(found.y[:3], [5, 90, 90], atol=1e-6)
    assert found.reason.tolist() == ["", "", "", "no file of 2021 holds this place"]


def test_an_edge_belongs_to_the_file_that_begins_there(known):
    def file(x, y):
        at = [np.array([value]) for value in (2021, 31, False, x, y)]
        return alphaearth_index._holding(known, *at)[0]

    def key(*at):
        return known.keys[file(*at)] if file(*at) >= 0 else ""

    assert key(400_000.0, 0.0) == SQUARES[0].key
    assert key(np.nextafter(481_920, 0), 81_919.9) == SQUARES[0].key
    assert key(481_920.0, 0.0) == SQUARES[1].key
    assert key(400_000.0, 81_920.0) == key(399_999.9, 0.0) == ""


def test_the_equator_belongs_to_the_north(known):
    lat, lon = np.array([0.0, -1e-9]), np.full(2, 2.5)
    found = find(known, Places(lat, lon, np.full(2, 2021)))
    assert keys(known, found) == [SQUARES[0].key, SQUARES[2].key]
    assert 1e7 - 1 < found.y[1] < 1e7


def test_a_neighbouring_zone_is_asked_where_the_own_has_no_file(known):
    inside = places_of("32N", [17_000], [5])  # a little east of 6° E: its own zone's
    assert inside.lon > 6 and keys(known, find(known, inside)) == [SQUARES[3].key]
    over = places_of("32N", [16_500], [5])
    assert 5.99 < over.lon < 6 and keys(known, find(known, over)) == [SQUARES[3].key]


def test_the_date_line_is_no_border(known):
    over = places_of("60S", [83_500], [805_000])
    assert over.lon < -179.8 and keys(known, find(known, over)) == [SQUARES[4].key]
    same = Places(*(np.repeat(column, 2) for column in over))
    same.lon[:] = [-180, 180]
    found = find(known, same)
    assert found.file[0] == found.file[1] and found.x[0] == found.x[1]


def test_what_has_no_file_says_why(known):
    lat, lon = np.array([84.1, -80.1, 90, 0, 50.0]), np.array([0, 0, 0, 2.5, 2.5])
    found = find(known, Places(lat, lon, np.array([2021, 2021, 2021, 1999, 2021])))
    assert (found.file == -1).all()
    assert found.reason.tolist() == [
        *[alphaearth_index.BEYOND] * 3,
        "no file of 1999 is in the index",
        "no file of 2021 holds this place",
    ]


def test_it_is_kept_and_not_asked_for_again(server, tmp_path):
    first = read_index(Web(), server.url, tmp_path)
    asked = len(server.requests)
    again = read_index(Web(), server.url, tmp_path)
    assert len(server.requests) == asked
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    with TileServer({"aef_index.parquet": index(SQUARES[:1])}) as other:
        assert len(read_index(Web(), other.url, tmp_path).keys) == 1


def served(server, frame):
    server.files["aef_index.parquet"] = frame.to_parquet()
    return read_index(Web(), server.url, None)


def test_paths_that_lead_elsewhere_are_none_of_ours(server):
    frame = pd.read_parquet(pa.BufferReader(index(SQUARES)))
    frame.loc[1:4, "path"] = ["gs://x/2021/31N/../../y.tiff", None, "http://evil/", "2021/31N/.."]
    assert len(served(server, frame).keys) == 2
    frame["path"] = "http://evil/a.tiff"
    with pytest.raises(Unavailable, match="names no file as YEAR/ZONE/NAME.tiff"):
        served(server, frame)


def test_what_is_no_index_is_unavailable(server):
    frame = pd.read_parquet(pa.BufferReader(index(SQUARES)))
    with pytest.raises(Unavailable, match='has no column "utm_west", "path"|"path", "utm_west"'):
        served(server, frame.drop(columns=["utm_west", "path"]))
    frame["utm_west"] = "west"
    with pytest.raises(Unavailable, match="is no index as AlphaEarth's"):
        served(server, frame)
    server.files["aef_index.parquet"] = b"PAR1 and nothing else PAR1"
    with pytest.raises(Unavailable, match="is no index as AlphaEarth's"):
        read_index(Web(), server.url, None)
    del server.files["aef_index.parquet"]
    with pytest.raises(Unavailable, match="there is no such file"):
        read_index(Web(), server.url, None)


def test_a_server_that_fails_is_said(server):
    server.misbehave(Fault(status=500), times=None)
    with pytest.raises(Unavailable, match="aef_index.parquet: answered 500"):
        read_index(Web(Patience(attempts=2), sleep=lambda _: None), server.url, None)
