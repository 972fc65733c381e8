"""Pairs of near places: every one once, whatever the blocks, also at poles and the date line."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import great_circle_km

from ecjax import pairs, sphere

PLACES = st.lists(
    st.tuples(
        st.sampled_from([90.0, -90.0, 0.0]) | st.floats(-90, 90) | st.floats(85, 90),
        st.sampled_from([180.0, -180.0]) | st.floats(-180, 180) | st.floats(175, 180),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(PLACES, st.integers(1, 9), st.floats(1, 12_000))
def test_every_near_pair_comes_once(places, block, km):
    lat, lon = np.array(places).reshape(-1, 2).T
    found = list(pairs.near_pairs(sphere.unit_vectors(lat, lon), km, block))
    distance = great_circle_km(lat[:, None], lon[:, None], lat, lon)
    i = np.concatenate([np.empty(0, int), *(part.first for part in found)])
    j = np.concatenate([np.empty(0, int), *(part.second for part in found)])
    far = np.concatenate([np.empty(0), *(part.distance_km for part in found)])
    met = np.zeros(distance.shape, int)
    np.add.at(met, (np.minimum(i, j), np.maximum(i, j)), 1)
    clear = np.abs(distance - km) > 1e-5
    assert (met == np.triu(distance < km, 1))[clear].all()
    np.testing.assert_allclose(far, distance[i, j], rtol=1e-7, atol=1e-5)


def test_near_pairs_are_told_apart_by_metres():
    lat, lon = np.array([50.0, 50.00001, 50.0]), np.array([180.0, -180.0, 180.0])
    (found,) = pairs.near_pairs(sphere.unit_vectors(lat, lon), 1e-3)
    assert [*found.first, *found.second] == [0, 2]  # the two that are one place
    far = np.concatenate(
        [part.distance_km for part in pairs.near_pairs(sphere.unit_vectors(lat, lon), 1)]
    )
    metres = np.radians(1e-5) * sphere.EARTH_RADIUS_KM
    np.testing.assert_allclose(np.sort(far), [0, metres, metres], rtol=1e-6)


def test_blocks_bound_what_is_looked_at_at_a_time():
    lat, lon = np.random.default_rng(0).uniform(-5, 5, (2, 500))
    found = list(pairs.near_pairs(sphere.unit_vectors(lat, lon), 20_000, block=50))
    assert sum(len(part.first) for part in found) == 500 * 499 / 2
    assert max(len(part.first) for part in found) <= 50**2


def test_blocks_far_apart_are_skipped(monkeypatch):
    lat, lon = np.random.default_rng(0).uniform(-5, 5, (2, 400))
    lon[200:] += 90
    looked = []
    monkeypatch.setattr(
        pairs, "_pairs", lambda *args, real=pairs._pairs: looked.append(1) or real(*args)
    )
    list(pairs.near_pairs(sphere.unit_vectors(lat, lon), 100, block=200))
    assert len(looked) == 2  # of three


def test_the_settled_order_is_of_places_and_values():
    rng = np.random.default_rng(0)
    lat, lon, y = np.repeat(rng.normal(size=(3, 20)), 2, axis=1)
    lat[:], y = 7.0, np.stack([y, rng.normal(size=40)], axis=1)
    order = pairs.settled_order(lat, lon, y)
    mixed = rng.permutation(40)
    again = mixed[pairs.settled_order(lat[mixed], lon[mixed], y[mixed])]
    assert (order == again).all()
