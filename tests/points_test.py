"""Points as well-known binary, and which CRS are degrees."""

import json
import struct

import numpy as np
import pyarrow as pa
import pytest

from ecjax.errors import InputError
from ecjax.points import check_crs, coordinates, is_points

IDS = np.arange(100, 110)


def point(order, kind, *numbers, srid=None):
    head = struct.pack(order + "BI", {"<": 1, ">": 0}[order], kind)
    return head + b"".join(struct.pack(order + "d", x) for x in numbers)


def ewkb(srid):
    return struct.pack("<BII2d", 1, 0x20000001, srid, 3.0, -4.0)


def of(values, kind=None):
    return coordinates(pa.chunked_array([pa.array(values, kind or pa.binary())]), "g", IDS, "t")


def test_points_of_all_kinds():
    values = [
        point("<", 1, 3.0, -4.0),
        point(">", 1, 3.0, -4.0),
        point("<", 1001, 3.0, -4.0, 9.0),
        point("<", 0x80000001, 3.0, -4.0, 9.0),
        point(">", 3001, 3.0, -4.0, 9.0, 9.0),
        ewkb(4326),
    ]
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        assert is_points(kind)
        x, y = of(values, kind)
        assert (x == 3).all() and (y == -4).all()
    assert not is_points(pa.string())


def test_no_point_is_nan():
    x, y = of([None, point("<", 1, np.nan, np.nan), point("<", 1, 1.0, 2.0)])
    assert np.isnan(x[:2]).all() and (x[2], y[2]) == (1, 2)


@pytest.mark.parametrize(
    "value",
    [b"", b"\x01", b"\x02" * 21, point("<", 1, 3.0), point("<", 3, 3.0, 4.0), ewkb(3857), ewkb(0)],
)
def test_what_is_no_point(value):
    with pytest.raises(InputError, match=r't: column "g" has 1 value that is no point .* id "101"'):
        of([point("<", 1, 3.0, -4.0), value])


def schema(about=None, field=None):
    metadata = None if about is None else {"geo": about}
    return pa.schema([pa.field("g", pa.binary(), metadata=field)], metadata)


def geo(**about):
    return json.dumps({"columns": {"g": about}})


PROJJSON = {"type": "GeographicCRS", "name": "WGS 84", "id": {"authority": "EPSG", "code": 4326}}
WKT = 'GEOGCRS["WGS 84",DATUM["World Geodetic System 1984"],ID["EPSG",{}]]'


@pytest.mark.parametrize(
    "about",
    [
        schema(),
        schema(geo()),
        schema(geo(crs=PROJJSON)),
        schema(geo(crs=json.dumps(PROJJSON))),
        schema(geo(crs=WKT.format(4326))),
        schema(geo(crs="EPSG:4326", encoding="WKB")),
        schema(geo(crs={"id": {"authority": "OGC", "code": "CRS84"}})),
        schema(field={"ARROW:extension:metadata": '{"crs": "OGC:CRS84"}'}),
    ],
)
def test_degrees(about):
    check_crs(about, "g", "t")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (schema(geo(crs=None)), 'the CRS "unknown"'),
        (schema(geo(crs=WKT.format(3857))), 'the CRS "EPSG:3857"'),
        (schema(geo(crs={"name": "a\x1b[0m"})), r'the CRS "a\\x1b\[0m"'),
        (schema(geo(crs=5)), 'the CRS "5"'),
        (schema(geo(crs="{")), 'the CRS "{"'),
        (schema(field={"ARROW:extension:metadata": '{"crs": "EPSG:32633"}'}), "EPSG:32633"),
        (schema(geo(encoding="point")), 'encoded as "point"; write it as WKB'),
        (schema("{"), "damaged"),
        (schema("[" * 100_000), "damaged"),
        (schema("[]"), "damaged"),
        (schema('{"columns": {"g": 5}}'), "damaged"),
    ],
)
def test_what_is_not_in_degrees(about, words):
    with pytest.raises(InputError, match=words) as caught:
        check_crs(about, "g", "t")
    assert (
        str(caught.value).startswith("t: ") and '"g"' in str(caught.value) or "of column" in words
    )
