"""Intervals from moments against the formulas row by row, and how often they hold."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from make_studies import with_members
from scipy import stats

from ecjax import intervals, loss_moments, simultaneous


def losses_of(rng, n, s):
    """Row losses (n, s) that share much, as those of nested sets do."""
    return rng.chisquare(1, size=(n, 1)) * rng.uniform(0.5, 1.5, size=(n, s))


def moments_of(losses, constant=1.0, unit=None):
    n = len(losses)
    with_empty = np.column_stack([losses, np.full(n, 2.0)])
    return loss_moments.row_moments(with_empty, np.arange(n) + 1.0, constant, unit_of_row=unit)


def plain_standard_error(fused, member, columns):
    """The formula, row by row."""
    n = len(fused)
    mean_fused, mean_member = sum(fused) / n, sum(member) / n
    shares = [f / mean_fused - m / mean_member for f, m in zip(fused, member, strict=True)]
    mean = sum(shares) / n
    spread = math.sqrt(sum((share - mean) ** 2 for share in shares) / (n - 1))
    return spread / math.sqrt(n) * math.sqrt(n / max(n - columns, n / 4))


@pytest.mark.parametrize("columns", [3, 60, 150, 500])  # n/4 takes over from 150 on
def test_comparisons_are_the_formula(columns):
    losses = losses_of(np.random.default_rng(2), 200, 3)
    of_sets = np.array([1, 2, columns])
    found = intervals.compare(moments_of(losses), [2, 2], [0, 1], of_sets)
    for j, member in enumerate((0, 1)):
        expected = plain_standard_error(losses[:, 2], losses[:, member], columns)
        assert found.standard_error[j] == pytest.approx(expected, rel=1e-10)
        ratio = losses[:, 2].sum() / losses[:, member].sum()
        assert found.log_ratio[j] == pytest.approx(math.log(ratio), rel=1e-12)
        z = 1.7
        assert found.gain(z)[j] == pytest.approx(1 - ratio * math.exp(z * expected), rel=1e-10)
        p = stats.norm.cdf(math.log(ratio) / expected)
        assert found.p_value()[j] == pytest.approx(p, rel=1e-6)


def test_comparisons_of_units_are_the_formula_over_clusters():
    rng = np.random.default_rng(9)
    unit = rng.integers(0, 12, size=200)
    losses = losses_of(rng, 200, 3) * (1 + unit[:, None] % 3)
    moments = moments_of(losses, unit=unit)
    assert (moments.rows, moments.units, moments.degrees) == (200, 12, 11)
    found = intervals.compare(moments, [2, 2], [0, 1], np.array([1, 2, 60]))
    for j, member in enumerate((0, 1)):
        fused, other = losses[:, 2], losses[:, member]
        shares = fused / fused.mean() - other / other.mean()
        squares = sum(shares[unit == u].sum() ** 2 for u in range(12))
        expected = math.sqrt(12 / 11 * squares) / 200 * math.sqrt(200 / (200 - 60))
        assert found.standard_error[j] == pytest.approx(expected, rel=1e-10)
        ratio = fused.sum() / other.sum()
        assert found.log_ratio[j] == pytest.approx(math.log(ratio), rel=1e-12)
        p = stats.t.cdf(math.log(ratio) / expected, 11)
        assert found.p_value(moments.degrees)[j] == pytest.approx(p, rel=1e-6)
    assert intervals.as_t(intervals.z_of(0.95), 11) == pytest.approx(stats.t.ppf(0.975, 11))
    assert intervals.as_t(1.7, np.inf) == 1.7


def test_rows_that_are_their_own_units_change_nothing():
    losses = losses_of(np.random.default_rng(10), 60, 3)
    plain, alone = moments_of(losses), moments_of(losses, unit=np.arange(60)[::-1])
    np.testing.assert_allclose(alone.cross, plain.cross, rtol=1e-12)
    np.testing.assert_allclose(alone.mean, plain.mean, rtol=1e-12)


def test_one_unit_has_a_gain_and_no_interval():
    losses = losses_of(np.random.default_rng(11), 60, 3)
    moments = moments_of(losses, unit=np.zeros(60, int))
    pairs = intervals.compare(moments, [2, 2], [0, 1], np.ones(3))
    np.testing.assert_allclose(pairs.gain(), 1 - losses[:, 2].sum() / losses[:, :2].sum(0))
    z = intervals.as_t(1.96, moments.degrees)
    pooled = pairs.gain()[:1]
    found = intervals.index_intervals(moments, pairs, None, pooled, np.ones(3), z, z)
    assert np.isnan([*pairs.gain(z), *pairs.p_value(0), *found.low, *found.high]).all()
    weights = np.eye(1, 6)
    assert np.isnan(intervals.standard_error(moments, weights, -1, np.ones(1))).all()


def test_comparisons_of_misses():
    rng = np.random.default_rng(3)
    misses = (rng.random(size=(200, 2)) < [0.3, 0.4]).astype(float)
    found = intervals.compare(moments_of(misses), [0], [1], np.array([5, 5]))
    expected = plain_standard_error(*misses.T, 5)
    assert found.standard_error[0] == pytest.approx(expected, rel=1e-10)


def test_the_standard_error_is_the_spread_of_the_log_ratio():
    rng = np.random.default_rng(3)
    shared, own = rng.chisquare(1, size=(2, 4000, 100))
    fused, member = shared, 0.5 * shared + 0.5 * own
    spread = np.log(fused.mean(1) / member.mean(1)).std()
    found = [
        intervals.compare(moments_of(np.stack(pair, axis=1)), [0], [1], np.zeros(2)).standard_error
        for pair in zip(fused[:400], member[:400], strict=True)
    ]
    assert np.median(found) == pytest.approx(spread, rel=0.1)


def test_a_set_without_losses_has_no_interval():
    losses = np.stack([np.zeros(8), np.arange(8.0)], axis=1)
    for pair in ((0, 1), (1, 0)):
        found = intervals.compare(moments_of(losses), [pair[0]], [pair[1]], np.array([2, 2]))
        assert np.isnan([found.standard_error[0], found.gain()[0], found.p_value()[0]]).all()


def test_a_set_with_the_losses_of_its_member_is_no_better():
    losses = losses_of(np.random.default_rng(0), 50, 1)[:, [0, 0]]
    found = intervals.compare(moments_of(losses), [0], [1], np.array([2, 2]))
    assert found.gain(2.0)[0] == 0 and found.p_value()[0] == 1


@pytest.mark.parametrize("unit", [-1, -2])
def test_the_standard_error_of_a_combination_is_the_delta_methods(unit):
    rng = np.random.default_rng(4)
    losses = losses_of(rng, 120, 3)
    moments = moments_of(losses, constant=2.5)
    weights = np.zeros((1, 6))
    weights[0, :4] = 0.5, -1.2, 0.3, 0.4  # three sets and the empty one
    found = intervals.standard_error(moments, weights, unit, np.array([30]))
    units = np.arange(120) + 1.0 if unit == -2 else np.full(120, 2.5)
    combined = losses @ weights[0, :3] + 0.4 * 2.0
    shares = (combined - combined.mean() / units.mean() * units) / units.mean()
    expected = shares.std(ddof=1) / math.sqrt(120 - 30)
    assert found[0] == pytest.approx(expected, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), tied=st.booleans())
def test_intervals_of_the_index_one_set_at_a_time(seed, tied):
    rng = np.random.default_rng(seed)
    losses = losses_of(rng, 60, 7)
    if tied:
        losses[:, 1] = losses[:, 0] * rng.uniform(0.99, 1.01, size=60)
    columns = rng.integers(1, 40, size=7)
    members = [[0, 1], [0, 2], [1, 2], [0, 1, 2]]
    moments = moments_of(losses)
    pairs = with_members(moments, members, [3, 4, 5, 6], columns)
    z, z_tie = 2.5, 1.96
    best = [min(own, key=lambda m: losses[:, m].sum()) for own in members]
    index = 1 - losses[:, 3:].sum(0) / losses[:, best].sum(0)
    found = intervals.index_intervals(moments, pairs, None, index, columns, z, z_tie)
    for i, own in enumerate(members):
        lows, p_values = [], []
        highs = reference.ends_over_the_best(losses.T, 3 + i, own, columns, z, z_tie)
        for m in own:
            r = math.log(losses[:, 3 + i].sum() / losses[:, m].sum())
            s = plain_standard_error(
                losses[:, 3 + i], losses[:, m], max(columns[3 + i], columns[m])
            )
            lows.append(1 - math.exp(r + z * s))
            p_values.append(stats.norm.cdf(r / s))
        assert found.low[i] == pytest.approx(min(lows), rel=1e-8)
        assert found.high[i] == pytest.approx(max(highs), rel=1e-8)
        assert found.p_better[i] == pytest.approx(max(p_values), rel=1e-6, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), seeds=st.integers(1, 3), lucky=st.booleans())
def test_intervals_against_the_single_of_each_fold(seed, seeds, lucky):
    rng = np.random.default_rng(seed)
    n, members = 60, [[0, 1], [0, 2], [1, 2], [0, 1, 2]]
    losses = losses_of(rng, n, 7)
    fold_of_row = rng.integers(0, 3, size=(seeds, n))
    by_fold = np.array([rng.choice(own, size=(seeds, 3)) for own in members])
    by_fold[0] = 1  # one single everywhere
    if lucky:  # the best of each row's own fold, which loses less than every member
        for i, own in enumerate(members):
            for r, k in np.ndindex(seeds, 3):
                inside = losses[fold_of_row[r] == k]
                by_fold[i, r, k] = min(own, key=lambda m: inside[:, m].sum())  # noqa: B023
    found, single = loss_moments.composites(losses, by_fold, fold_of_row)
    assert lucky or single[0] == 1
    empty = np.full(n, 2.0)
    moments = loss_moments.row_moments(
        np.column_stack([losses, empty, found]), np.arange(n) + 1.0, 1.0, single
    )
    plain = np.array([
        [np.mean([losses[i, own[r, fold_of_row[r, i]]] for r in range(seeds)]) for i in range(n)]
        for own in by_fold
    ])  # fmt: skip
    columns = np.r_[rng.integers(1, 20, size=3), rng.integers(20, 40, size=4), 0]
    columns = np.pad(columns, (0, len(moments.mean) - 8))
    np.testing.assert_allclose(moments.mean[single], plain.mean(1), rtol=1e-12)
    index = 1 - losses[:, 3:].sum(0) / plain.sum(1)
    pairs = with_members(moments, members, [3, 4, 5, 6], columns)
    singles = intervals.against_singles(moments, [3, 4, 5, 6], index, columns)
    found = intervals.index_intervals(moments, pairs, singles, index, columns, 2.5, 1.96)
    for i, own in enumerate(members):
        fused, p = losses[:, 3 + i], columns[3 + i]
        lows = [
            1 - fused.sum() / losses[:, m].sum()
            * math.exp(2.5 * plain_standard_error(fused, losses[:, m], p))
            for m in own
        ]  # fmt: skip
        assert found.low[i] == pytest.approx(min(*lows, index[i]), rel=1e-8)
        error = plain_standard_error(fused, plain[i], p)
        high = 1 - fused.sum() / plain[i].sum() * math.exp(-2.5 * error)
        over_members = reference.ends_over_the_best(losses.T, 3 + i, own, columns, 2.5, 1.96)
        assert found.high[i] == pytest.approx(max(high, *over_members), rel=1e-8)
    assert (found.low <= index).all() and (index <= found.high).all()


def test_the_index_is_an_end_where_the_chosen_singles_together_beat_every_member():
    """Each single is nearly without loss on half of the rows, and is chosen there."""
    fold = np.arange(40) % 2
    noise = np.random.default_rng(9).uniform(0.9, 1.1, size=(40, 3))
    losses = noise * np.column_stack([np.where(fold, 10, 0.1), np.where(fold, 0.1, 10), fold + 1])
    composite, single = loss_moments.composites(losses, np.array([[[0, 1]]]), fold[None])
    columns = np.column_stack([losses, np.ones(40), composite])
    moments = loss_moments.row_moments(columns, np.ones(40), 1.0, single)
    index = 1 - losses[:, 2].sum() / composite.sum(0)
    assert index < -10 and single.tolist() == [4]
    none = np.zeros(7)
    pairs = with_members(moments, [[0, 1]], [2], none)
    singles = intervals.against_singles(moments, [2], index, none)
    found = intervals.index_intervals(moments, pairs, singles, index, none, 2.0, 2.0)
    assert found.low[0] == index[0] < found.high[0] and found.p_better[0] < 0.01


def test_one_comparison_needs_no_wider_interval():
    losses = losses_of(np.random.default_rng(5), 300, 2)
    moments = moments_of(losses)
    pairs = intervals.compare(moments, [1], [0], np.array([3, 6]))
    z = simultaneous.simultaneous_z([simultaneous.largest_errors(moments, pairs)], 0.95)
    assert z == pytest.approx(intervals.z_of(0.95), rel=0.03)


def test_independent_comparisons_widen_as_sidak_says():
    """Sets with losses of their own; and several tables of one comparison each."""
    rng = np.random.default_rng(6)
    singles = [2 * i for i in range(6)]
    losses = rng.chisquare(1, size=(4000, 12))
    moments = moments_of(losses)
    pairs = intervals.compare(moments, [i + 1 for i in singles], singles, np.ones(12))
    expected = stats.norm.ppf(0.5 + 0.95 ** (1 / 6) / 2)
    together = simultaneous.largest_errors(moments, pairs)
    assert simultaneous.simultaneous_z([together], 0.95) == pytest.approx(expected, rel=0.03)
    apart = [simultaneous.largest_errors(moments, pairs.take(np.array([i]))) for i in range(6)]
    assert simultaneous.simultaneous_z(apart, 0.95) == pytest.approx(expected, rel=0.03)


def test_equal_comparisons_widen_nothing():
    losses = losses_of(np.random.default_rng(7), 300, 2)
    moments = moments_of(losses)
    pairs = intervals.compare(moments, [1] * 9, [0] * 9, np.array([3, 6]))
    z = simultaneous.simultaneous_z([simultaneous.largest_errors(moments, pairs)], 0.95)
    assert z == pytest.approx(intervals.z_of(0.95), rel=0.03)


@pytest.mark.parametrize("units", [None, 10, 40])
def test_all_intervals_hold_at_once_as_often_as_they_say(units):
    """Sets that are as good as their members, drawn 400 times; in units, rows are alike."""
    rng = np.random.default_rng(8)
    held, unit = 0, None if units is None else np.repeat(np.arange(units), 200 // units)
    for _ in range(400):
        losses = rng.gamma(5, size=(200, 1)) * rng.uniform(0.5, 1.5, size=(200, 7))
        if unit is not None:
            losses = losses[: len(unit)] + rng.gamma(5, size=(units, 7))[unit]
        moments = moments_of(losses, unit=unit)
        members = [[0, 1], [0, 2], [1, 2], [0, 1, 2]]
        pairs = with_members(moments, members, [3, 4, 5, 6], np.zeros(7))
        z = simultaneous.simultaneous_z([simultaneous.largest_errors(moments, pairs)], 0.95)
        t = intervals.as_t(z, moments.degrees)
        held += bool((np.abs(pairs.log_ratio) <= t * pairs.standard_error).all())
    assert 0.925 <= held / 400 <= 0.98
