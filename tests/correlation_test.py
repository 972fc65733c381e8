"""The range of the residuals' correlation: against plain sums over pairs, and in made-up fields."""

import numpy as np
import pytest
from reference import great_circle_km

from ecjax import correlation, sphere

SIDE_KM = 2_000


def places_of(rng, n, side_km=SIDE_KM):
    half = side_km / 2 / 111.2
    return rng.uniform(-half, half, n), rng.uniform(-half, half, n)


def distances(lat, lon):
    return great_circle_km(lat[:, None], lon[:, None], lat, lon)


def field(rng, distance, range_km):
    """Draws of Gaussian residuals (n, 2), correlated by exp(−h/range)."""
    if not range_km:
        return rng.normal(size=(len(distance), 2))
    root = np.linalg.cholesky(np.exp(-distance / range_km) + 1e-9 * np.eye(len(distance)))
    return root @ rng.normal(size=(len(distance), 2))


def differences(fields):
    """Of squared errors in units of their means, of a set and of a single of larger error."""
    errors = np.stack([fields[:, 0], fields[:, 0] + 0.4 * fields[:, 1]]) ** 2
    fused, single = errors / errors.mean(1, keepdims=True)
    return fused - single


def by_pairs(lat, lon, values, edges):
    """One pair after the other."""
    found = np.zeros((2, len(edges) - 1))
    distance = distances(lat, lon)
    for i in range(len(lat)):
        for j in range(i):
            place = np.searchsorted(edges, distance[i, j]) - 1
            if place < len(edges) - 1:
                found[:, max(place, 0)] += 1, values[i] * values[j]
    return found


def test_pairs_are_counted_once_also_at_one_place_and_across_the_date_line():
    rng = np.random.default_rng(0)
    lat, lon = places_of(rng, 120)
    lon = (lon + 360) % 360 - 180  # about the date line
    lat[:5], lon[:5] = lat[5:10], lon[5:10]
    values, places = rng.normal(size=120), sphere.unit_vectors(lat, lon)
    edges = correlation.bin_edges(places)
    found = correlation._pairs(places, values, edges)
    np.testing.assert_allclose(found, by_pairs(lat, lon, values, edges), atol=1e-9)
    assert found[0].sum() > 120 * 119 / 4 and found[0, 0] == 5
    # Half of the side of a square map and a bit: twice the variance of two uniform coordinates.
    assert edges[-1] == pytest.approx(SIDE_KM / np.sqrt(3), rel=0.1)


def test_of_many_rows_near_pairs_are_all_counted_and_far_ones_are_drawn():
    rng = np.random.default_rng(1)
    n = 3 * correlation.SAMPLE
    lat, lon = places_of(rng, n)
    values, places = rng.normal(size=n), sphere.unit_vectors(lat, lon)
    edges = correlation.bin_edges(places)
    found, whole = (
        correlation._pairs(places, values, edges),
        correlation._binned(places, values, edges),
    )
    same = np.flatnonzero((found == whole).all(0))
    assert whole[0, same[-1]] > 1e5 and (np.diff(same) == 1).all()
    share = found[0, same[-1] + 1 :] / whole[0, same[-1] + 1 :]
    np.testing.assert_allclose(share, 1 / 9, rtol=0.1)
    assert found[0].sum() < correlation.SAMPLE**2


def test_the_curve_is_the_nearest_by_least_squares_over_pairs():
    rng = np.random.default_rng(2)
    lat, lon = places_of(rng, 300)
    values = differences(field(rng, distances(lat, lon), 300.0))
    roots = np.sign(values) * np.abs(values) ** 0.5
    roots = (roots - roots.mean()) / roots.std()
    edges = correlation.bin_edges(sphere.unit_vectors(lat, lon))
    count, products = by_pairs(lat, lon, roots, edges)
    middle, some = (edges[1:] + edges[:-1]) / 2, count > 0
    losses = {}
    for km in np.geomspace(10, edges[-1] / 4, 300):
        for height in np.linspace(0, 1, 101):
            off = products[some] / count[some] - height * np.exp(-middle[some] / km)
            losses[km, height] = (count[some] * off**2).sum()
    (km, _), found = min(losses, key=losses.get), correlation.estimate(lat, lon, values)
    assert found.range_km == pytest.approx(2 * km, rel=0.1)  # of a grid of half that
    nearest = distances(lat, lon) + np.where(np.eye(300), np.inf, 0)
    assert found.neighbour_km == pytest.approx(np.median(nearest.min(1)), rel=1e-6)


@pytest.mark.parametrize(
    ("n", "range_km", "worlds"), [(800, 50, 12), (800, 200, 12), (3_000, 20, 3), (3_000, 100, 3)]
)
def test_the_range_of_gaussian_fields_is_found(n, range_km, worlds):
    found = []
    for world in range(worlds):
        rng = np.random.default_rng([world, n, range_km])
        lat, lon = places_of(rng, n)
        fields = field(rng, distances(lat, lon), range_km)
        of_losses = correlation.estimate(lat, lon, fields[:, 0] ** 2).range_km
        found.append([correlation.estimate(lat, lon, differences(fields)).range_km, of_losses])
    factor = np.exp(np.abs(np.log(np.array(found) / range_km)))
    assert ((factor < 1.6).mean(0) > 0.7).all(), found
    assert (np.abs(np.log(np.median(found, 0) / range_km)) < np.log(1.3)).all()


@pytest.mark.parametrize("clustered", [False, True])
def test_independent_rows_have_no_range(clustered):
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        lat, lon = places_of(rng, 500)
        if clustered:
            lat, lon = (np.repeat(v[:25], 20) + rng.normal(size=500) / 10 for v in (lat, lon))
        values = differences(rng.normal(size=(500, 2)) * rng.standard_t(4, size=(500, 1)))
        found.append(correlation.estimate(lat, lon, values).range_km)
    assert np.mean(np.array(found) == 0) >= 0.9


def test_what_is_undefined_has_a_reason():
    rng = np.random.default_rng(4)
    lat, lon = places_of(rng, 100)
    values = rng.normal(size=100)
    few, alike, unknown, one_place = (
        correlation.estimate(*arguments)
        for arguments in (
            (lat[:49], lon[:49], values[:49]),
            (lat, lon, np.full(100, 0.3)),
            (lat, lon, np.where(values > 1, np.nan, values)),
            (np.full(100, 10.0), np.full(100, 20.0), values),
        )
    )
    assert few.reason == correlation.TOO_FEW
    assert alike.reason == unknown.reason == correlation.ALL_ALIKE
    assert one_place.reason == correlation.ONE_PLACE
    for found in (few, alike, unknown, one_place):
        assert np.isnan(found.range_km) and np.isnan(found.neighbour_km)
