"""Regions from a layer of polygons: which place lies in which, and layers that cannot be used."""

import json

import numpy as np
import pytest

from ecjax import polygons
from ecjax.errors import InputError

pytest.importorskip("shapely", reason="polygons need the extra geo")


def square(west, south, side=10):
    east, north = west + side, south + side
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


def feature(name, kind, coordinates):
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": {"NAME": name}, "geometry": geometry}


def layer(tmp_path, *features, name="NAME"):
    path = tmp_path / "layer.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    return polygons.read_layer(polygons.RegionSource(path, name))


def test_places_lie_in_the_first_polygon_that_holds_or_touches_them(tmp_path):
    hole = [*square(100, 0, 30), square(110, 10)[0]]
    found = layer(
        tmp_path,
        feature("a", "Polygon", square(0, 0)),
        feature("b", "MultiPolygon", [square(5, 0), square(-175, 60)]),
        feature(7, "Polygon", hole),
    )
    lat = np.array([5.0, 5, 5, 65, 15, 5, -80])
    lon = np.array([2.0, 7, 12, -170, 115, 105, 0])
    # The fifth lies in a hole, the last nowhere.
    assert found.regions_of(lat, lon).tolist() == ["a", "a", "b", "b", None, "7", None]
    assert found.regions_of(np.array([0.0]), np.array([0.0])).tolist() == ["a"]


@pytest.mark.parametrize(
    "broken, words",
    [
        (feature("a", "Point", [0, 0]), "Point"),
        (feature(None, "Polygon", square(0, 0)), "property"),
        (feature("a", "Polygon", [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]), "no valid"),
        (feature("a", "Polygon", [[[0, 0], ["x", 1]]]), "cannot be read"),
        (feature("a", "Polygon", square(500_000, 4_000_000, 1_000)), "no degrees"),
        ({"type": "Feature", "properties": {"NAME": "a"}}, "not one of"),
    ],
)
def test_features_that_cannot_be_used_are_named(tmp_path, broken, words):
    with pytest.raises(InputError, match="feature 2") as caught:
        layer(tmp_path, feature("a", "Polygon", square(0, 0)), broken)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": []}', '{"features": [3]}', "\x00"])
def test_files_that_are_no_layer_are_refused(tmp_path, text):
    path = tmp_path / "layer.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match="layer.geojson"):
        polygons.read_layer(polygons.RegionSource(path, "NAME"))


@pytest.mark.parametrize(
    "given, words",
    [
        ("x.geojson", "must be a table"),
        ({"path": "absent.geojson", "name": "A"}, "no such file"),
        ({"path": "absent.geojson"}, "name"),
        ({"path": "x", "name": "A", "layer": 1}, "unknown key"),
    ],
)
def test_keys_of_the_study_are_checked(tmp_path, given, words):
    with pytest.raises(InputError, match="here") as caught:
        polygons.source_of(given, tmp_path, "here")
    assert words in str(caught.value) or words == "name"
