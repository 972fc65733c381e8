"""Tiles of rows add up to what all rows give at once."""

import numpy as np
import pytest

from ecjax import products

X = np.random.default_rng(0).normal(size=(53, 4)).astype(np.float32)
GROUPS = [np.arange(20), np.arange(20, 53)]


@pytest.mark.parametrize("tile", [1, 7, 20, 1000])
def test_moments_of_groups(tile):
    found = products.moments_of([X, X[:, :2]], GROUPS, lambda x: [x[0] - 1, x[1]], tile)
    x = X.astype(float)
    for rows, part in zip(GROUPS, found, strict=True):
        own = np.concatenate([x[rows] - 1, x[rows, :2]], axis=1)
        assert part.count == len(rows)
        np.testing.assert_allclose(part.sums, own.sum(0), rtol=1e-12)
        np.testing.assert_allclose(part.products, own.T @ own, rtol=1e-12)
    total = products.total_of(found)
    own = np.concatenate([x - 1, x[:, :2]], axis=1)
    np.testing.assert_allclose(total.centred, 53 * np.cov(own.T, ddof=0), rtol=1e-12, atol=1e-12)


def test_unit_rows():
    x = np.array([[1.0, 2, 6], [0.1, 0.1, 0.1], [3e9, 3e9 + 1, 3e9 - 1]])
    z, constant = products.unit_rows(x)
    assert constant.tolist() == [False, True, False]
    np.testing.assert_allclose(z[0], np.array([-2, -1, 3]) / np.sqrt(14), rtol=1e-14)
    assert not z[1].any()
    np.testing.assert_allclose(z[2], np.array([0, 1, -1]) / np.sqrt(2), atol=1e-9)


def test_centres_count_constant_rows():
    x = np.array([[1.0, 3], [2, 2], [5, 0]])
    mean, unit, constant = products.centres(x, 2)
    assert constant == 1
    np.testing.assert_allclose(mean, [8 / 3, 5 / 3])
    np.testing.assert_allclose(unit, [0, 0], atol=1e-15)


def test_constant_columns_are_left_out():
    x = np.column_stack([np.full(53, 0.1), X[:, 0], np.full(53, 1e6)])
    mean = x.mean(0)
    (part,) = products.moments_of([x], [np.arange(53)], lambda own: [own[0] - mean], 8)
    constant = products.constant_columns(part, mean)
    assert constant.tolist() == [True, False, True]
    kept = products.without(part, constant)
    assert not kept.products[[0, 2]].any() and not kept.products[:, [0, 2]].any()
    assert kept.products[1, 1] == part.products[1, 1] > 0
