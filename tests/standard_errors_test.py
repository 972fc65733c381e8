"""Standard errors from replicates and from quadratic forms, number by number."""

import numpy as np
import pytest

from ecjax import intervals, loss_moments, simultaneous
from ecjax.standard_errors import NestedErrors, RefitErrors


def replicates(rng, m=5, b=400):
    """(m, b) losses that share much, off the mean 1."""
    return 1.2 + 0.1 * (rng.normal(size=b) + 0.5 * rng.normal(size=(m, b)))


def test_refit_errors_are_deviations():
    losses = replicates(np.random.default_rng(0))
    errors = RefitErrors(losses, 11)
    fused, over = np.array([0, 1, 2]), np.array([3, 3, 4])
    expected = np.sqrt(11 / 10) * np.log(losses[fused] / losses[over]).std(axis=1, ddof=1)
    np.testing.assert_allclose(errors.of_ratios(fused, over), expected, rtol=1e-12)
    weights = np.array([[1, -1, 0, 0, 0], [0.5, 0, 0.5, 0, 0.0]])
    values = (weights @ losses / losses[4]).std(axis=1, ddof=1) * np.sqrt(11 / 10)
    np.testing.assert_allclose(errors.of_combinations(weights, 4), values, rtol=1e-12)
    assert errors.of_ratios(fused[:0], over[:0]).shape == (0,)


def test_replicates_without_a_value_are_left_out():
    losses = replicates(np.random.default_rng(1))
    some = losses.copy()
    some[0, :3] = np.nan, 0, np.inf
    fused, over = np.array([0, 1]), np.array([2, 2])
    found = RefitErrors(some, 50).of_ratios(fused, over)
    assert found[0] == RefitErrors(losses[:, 3:], 50).of_ratios(fused, over)[0]
    assert found[1] == RefitErrors(losses, 50).of_ratios(fused, over)[1]
    assert np.isnan(RefitErrors(some[:, 1:4], 50).of_ratios(fused, over)[0])
    assert np.isfinite(RefitErrors(some, 50).largest(fused, over)).all()


def test_simultaneous_intervals_hold_in_so_many_replicates():
    rng = np.random.default_rng(2)
    losses = replicates(rng, 7, 2000)
    fused, over = np.array([3, 4, 5, 6, 6, 6]), np.array([0, 1, 2, 0, 1, 2])
    rows = rng.chisquare(1, size=(300, 7))
    columns = np.column_stack([losses.T, np.ones((2000, 2))]).T
    moments = loss_moments.row_moments(rows, np.ones(300), 1.0)
    moments = moments._replace(errors=RefitErrors(columns, 300))
    pairs = intervals.compare(moments, fused, over, np.zeros(9, int))
    np.testing.assert_array_equal(pairs.below, moments.errors.of_ratios(fused, over))
    np.testing.assert_array_equal(pairs.above, pairs.below)
    plain = intervals.compare(moments._replace(errors=None), fused, over, np.zeros(9, int))
    np.testing.assert_array_equal(pairs.p_value(), plain.p_value())
    z = simultaneous.simultaneous_z([simultaneous.largest_errors(moments, pairs)], 0.95)
    assert z > intervals.z_of(0.95)
    ratios = np.log(losses[fused] / losses[over])
    off = np.abs(ratios - ratios.mean(1, keepdims=True))
    # The errors are those of 300 new units, which drawn ones lack.
    wide = z * pairs.below[:, None] * np.sqrt(299 / 300)
    assert (off <= wide).all(0).mean() == pytest.approx(0.95, abs=0.002)


@pytest.mark.parametrize(("times", "expected"), [(0.5, 1), (2.0, np.sqrt(1.5)), (1e3, 2), (-1, 1)])
def test_nested_errors_lie_between_the_naive_one_and_root_k_times_it(times, expected):
    rng = np.random.default_rng(3)
    mean = np.array([2.0, 3.0, 1.5])
    root = rng.normal(size=(3, 3))
    naive = root @ root.T
    errors = NestedErrors(mean, naive, times * naive, 4)
    fused, over = np.array([0, 1]), np.array([1, 2])
    own = np.eye(3)[fused] / mean[fused][:, None] - np.eye(3)[over] / mean[over][:, None]
    plain = np.sqrt(np.einsum("jm,mn,jn->j", own, naive, own))
    np.testing.assert_allclose(errors.of_ratios(fused, over), expected * plain, rtol=1e-12)
    weights = np.array([[1.0, -1.0, 0.0]])
    own = (weights - [[0, 0, -1 / 1.5]]) / 1.5
    plain = np.sqrt(np.einsum("jm,mn,jn->j", own, naive, own))
    np.testing.assert_allclose(errors.of_combinations(weights, 2), expected * plain, rtol=1e-12)
