"""Regions from a layer of polygons: a GeoJSON file that a study names.

Reading it takes shapely, the extra `geo`. Coordinates are degrees, longitude first, as GeoJSON has
them (RFC 7946).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecjax import keys, parts
from ecjax.errors import InputError, quote
from ecjax.remote import RemotePath

KINDS = ("Polygon", "MultiPolygon")
MOST_BYTES = 200 * 2**20


@dataclasses.dataclass(frozen=True)
class RegionSource:
    """A layer of polygons: a GeoJSON file, and the property that names each of them."""

    path: Path | RemotePath
    name: str


def source_of(given: Any, folder: Path | RemotePath, where: str) -> RegionSource | None:
    """The table `[regions]` of a study; None where there is none.

    Raises:
      InputError: a key is unknown or missing, or the file does not exist.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InputError(f"{where} must be a table, not {keys.type_name(given)}")
    keys.check_keys(given, ("path", "name"), (), where)
    text = keys.required(keys.text(given, "path", where), "path", '"countries.geojson"', where)
    name = keys.required(keys.text(given, "name", where), "name", '"ADMIN"', where)
    path = parts.path_of(text, folder, f"{where}: path")
    try:
        there = path.is_file()
    except OSError as error:
        raise InputError(f"{where}: path {path}: cannot be looked up ({error.strerror})") from None
    if not there:
        shown = path if isinstance(path, RemotePath) else text
        raise InputError(f"{where}: path {quote(shown)}: no such file; check the path")
    return RegionSource(path, name)


class Layer(NamedTuple):
    """Polygons and their names; several polygons may share one."""

    names: Sequence[str]
    polygons: Sequence[Any]

    def regions_of(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """(n,) object: the name of the first polygon that holds or touches each place, or None."""
        import shapely

        found = np.full(len(lat), None, object)
        tree = shapely.STRtree(self.polygons)
        place, polygon = tree.query(shapely.points(lon, lat), predicate="intersects")
        order = np.lexsort((polygon, place))[::-1]  # the first polygon of a place is set last
        found[place[order]] = np.array(self.names, object)[polygon[order]]
        return found


def read_layer(source: RegionSource) -> Layer:
    """Reads the polygons of a GeoJSON file.

    Raises:
      InputError: it is no GeoJSON of polygons, one of them has no name, or shapely is missing.
    """
    where = f"regions {source.path}"
    try:
        import shapely
    except ImportError:
        raise InputError(
            f"{where}: polygons need shapely; install it with pip install 'ecjax[geo]', or give "
            "the task a column of regions as its group"
        ) from None
    names, shapes = [], []
    for number, feature in enumerate(_features(source, where), start=1):
        here = f"{where}: feature {number:,}"
        names.append(_name(feature, source.name, here))
        geometry = feature.get("geometry")
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if kind not in KINDS:
            raise InputError(f"{here} is {quote(kind)}, not one of {', '.join(KINDS)}; remove it")
        try:
            shapes.append(shapely.from_geojson(json.dumps(geometry)))
        except (shapely.errors.ShapelyError, ValueError, TypeError) as error:
            raise InputError(f"{here} cannot be read ({error}); mend or remove it") from None
        west, south, east, north = shapes[-1].bounds
        if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
            raise InputError(
                f"{here} reaches from {west:g}, {south:g} to {east:g}, {north:g}, which are no "
                "degrees (longitude first); give the layer in longitudes and latitudes (EPSG:4326)"
            )
        if not shapely.is_valid(shapes[-1]):
            reason = shapely.is_valid_reason(shapes[-1])
            raise InputError(f"{here} is no valid polygon ({reason}); mend or remove it")
    return Layer(names, shapes)


def _features(source: RegionSource, where: str) -> list[dict]:
    try:
        if source.path.stat().st_size > MOST_BYTES:
            raise InputError(f"{where}: larger than {MOST_BYTES >> 20} MiB; simplify the polygons")
        data = json.loads(source.path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); give a GeoJSON file") from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    features = data.get("features") if isinstance(data, dict) else None
    listed = isinstance(features, list) and all(isinstance(f, dict) for f in features)
    if not listed or not features:
        raise InputError(f"{where}: no GeoJSON FeatureCollection with features; give one")
    return features


def _name(feature: dict, key: str, here: str) -> str:
    properties = feature.get("properties")
    value = properties.get(key) if isinstance(properties, dict) else None
    if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
        raise InputError(
            f"{here} has no text or whole number in property {quote(key)}; name another one with "
            "name, or remove the feature"
        )
    return str(value)
