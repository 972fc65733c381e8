"""The index of parts of the rows, against each part looked at alone."""

import numpy as np
import pytest
import reference
from scipy import stats

from ecjax import regions
from ecjax.loss_moments import RowLosses

SUBSETS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
WIDTHS = np.array([3, 5, 2, 8, 5, 7, 10])
MEMBERS = {3: (0, 1), 4: (0, 2), 5: (1, 2), 6: (0, 1, 2)}
PARTS = 4


def losses(n=240, seed=0, single=(0, 2, 8, 9)):
    """Of seven sets, the empty one and two composites; losses of one row are alike."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(2, size=(n, 1))
    own = common * rng.uniform(0.6, 1.4, 7) + 0.4 * rng.gamma(2, size=(n, 7))
    empty = 3 * rng.gamma(2, size=(n, 1))
    halves = np.arange(n) % 2 == 0
    composites = [np.where(halves, own[:, a], own[:, b]) for a, b in ((0, 1), (1, 2))]
    columns = np.column_stack([own, empty, *composites])
    return RowLosses(columns, empty[:, 0], 1.0, None if single is None else np.array(single))


def codes(n=240, seed=3):
    """Parts 0 … 3 and rows in none; part 2 has eight rows, one fewer than an interval takes."""
    rng = np.random.default_rng(seed)
    found = rng.choice([-1, 0, 1, 3], n, p=[0.1, 0.3, 0.2, 0.4])
    found[rng.choice(n, regions.FEWEST - 1, replace=False)] = 2
    return found


def found(one, part, units=None, widths=WIDTHS):
    return regions.indices(one, part, PARTS, units, SUBSETS, widths, 0.95)


@pytest.mark.parametrize("single", [(0, 2, 8, 9), None])
def test_each_part_is_what_its_rows_alone_say(single):
    one, part = losses(single=single), codes()
    result = found(one, part)
    if single is None:
        total = one.columns.sum(0)
        single = [min(own, key=lambda m: total[m]) for own in MEMBERS.values()]
        composites = False
    else:
        composites = True
    for c in (0, 1, 3):
        rows = np.flatnonzero(part == c)
        own = one.columns[rows].T
        n = len(rows)
        assert result.rows[c] == result.units[c] == n
        z = stats.t.ppf(0.975, n - 1)
        share = n / len(part)  # of the columns, as all rows share the fits
        for i, (f, members) in enumerate(MEMBERS.items()):
            best = single[i]
            assert result.eci[c, i] == pytest.approx(1 - own[f].sum() / own[best].sum(), abs=1e-12)
            ends, p_values = [], []
            for m in members:
                error = reference.ratio_error(own[f], own[m], WIDTHS[f] * share)
                r = np.log(own[f].mean() / own[m].mean())
                ends.append(1 - np.exp(r + z * error))
                p_values.append(stats.t.cdf(r / error, n - 1))
            assert result.low[c, i] == pytest.approx(min(*ends, result.eci[c, i]), abs=1e-10)
            assert result.p_better[c, i] == pytest.approx(max(p_values), abs=1e-10)
            highs = reference.ends_over_the_best(own, f, members, WIDTHS * share, z, z)
            error = reference.ratio_error(own[f], own[best], WIDTHS[f] * share)
            if composites:
                highs.append(1 - own[f].mean() / own[best].mean() * np.exp(-z * error))
            high = max(*highs, result.eci[c, i])
            assert result.high[c, i] == pytest.approx(high, abs=1e-10)


def test_parts_weighted_by_their_share_of_loss_add_up_to_the_whole():
    one = losses()
    part = np.where(codes() < 0, 0, codes())
    result = found(one, part)
    best = one.columns[:, one.single]
    weight = np.stack([best[part == c].sum(0) for c in range(PARTS)]) / best.sum(0)
    whole = 1 - one.columns[:, 3:7].sum(0) / best.sum(0)
    np.testing.assert_allclose((weight * result.eci).sum(0), whole, atol=1e-12)


def test_few_units_have_an_index_and_no_interval():
    result = found(losses(), codes())
    assert np.isfinite(result.eci[2]).all()
    for field in (result.low, result.high, result.p_better, result.p_worse):
        assert np.isnan(field[2]).all() and np.isfinite(field[[0, 1, 3]]).all()
    reasons = result.reasons("row")
    assert set(reasons[2]) == {f"no interval: fewer than {regions.FEWEST} rows"}
    assert set(reasons[[0, 1, 3]].ravel()) == {None}


def test_an_empty_part_and_one_without_loss():
    one = losses()
    one.columns[:20, 0] = 0
    part = np.where(np.arange(240) < 20, 0, 1)
    result = found(one, part)
    assert result.rows.tolist() == [20, 220, 0, 0]
    assert np.isnan(result.eci[0, 0]) and result.reasons("row")[0, 0] == regions.NO_LOSS
    assert np.isnan(result.eci[2:]).all()


def test_units_are_added_up_before_they_are_compared():
    """Every row twice says no more than once where both are one unit, and otherwise does."""
    one, part = losses(), codes()
    twice = RowLosses(np.repeat(one.columns, 2, 0), np.repeat(one.spread, 2), 1.0, one.single)
    once = found(one, part)
    units = found(twice, np.repeat(part, 2), np.repeat(np.arange(240) * 7, 2), 2 * WIDTHS)
    rows = found(twice, np.repeat(part, 2), widths=2 * WIDTHS)
    np.testing.assert_allclose(units.low[[0, 1, 3]], once.low[[0, 1, 3]], rtol=1e-9)
    assert (units.units == once.units).all() and (units.rows == 2 * once.rows).all()
    assert (rows.low > once.low)[[0, 1, 3]].all()


def test_worse_is_said_where_the_interval_lies_below_zero():
    one = losses(n=2_000)
    one.columns[:, 6] *= 1.5
    part = codes(2_000)
    result = found(one, part)
    sure = ~np.isnan(result.high)
    below = result.high[sure] < 0
    assert below.any() and not below.all()
    np.testing.assert_array_equal(below, result.p_worse[sure] < 0.025)
    above = result.low[sure] > 0
    np.testing.assert_array_equal(above, result.p_better[sure] < 0.025)


def test_separation_by_the_formulas():
    rng = np.random.default_rng(5)
    r, s = rng.normal(-0.1, 0.05, 6), rng.uniform(0.01, 0.04, 6)
    s[4] = np.nan
    known = [0, 1, 2, 3, 5]
    w = s[known] ** -2
    mean = (w * r[known]).sum() / w.sum()
    q = (w * (r[known] - mean) ** 2).sum()
    between = max(0, (q - 4) / (w.sum() - (w**2).sum() / w.sum()))
    eci = 1 - np.exp(r)
    one = regions.separation(eci, r, s)
    assert one.parts == 5 and one.least == known[np.argmin(eci[known])]
    assert one.most == known[np.argmax(eci[known])]
    assert one.spread == pytest.approx(np.exp(mean) * np.sqrt(between))
    assert one.p_value == pytest.approx(stats.chi2.sf(q, 4))


def test_alike_parts_have_uniform_p_and_no_spread_to_speak_of():
    rng = np.random.default_rng(6)
    s = np.full(8, 0.03)
    drawn = [regions.separation(np.zeros(8), r, s) for r in rng.normal(-0.2, 0.03, (2_000, 8))]
    p = np.array([one.p_value for one in drawn])
    assert stats.kstest(p, "uniform").pvalue > 0.001
    far = regions.separation(np.zeros(8), rng.normal(-0.2, 0.2, 8), s)
    assert far.p_value < 1e-6 and far.spread > 0.08


def test_one_part_alone_separates_nothing():
    one = regions.separation(np.zeros(3), np.zeros(3), np.array([0.1, np.nan, np.nan]))
    assert one.parts == 1 and np.isnan(one.spread) and np.isnan(one.p_value)
