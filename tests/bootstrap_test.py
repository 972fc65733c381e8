"""Replicates draw by draw, BCa ends against SciPy's, and both in the tables."""

import numpy as np
import pytest
from make_studies import with_members
from quick import quickly_compiled
from scipy import stats

import ecjax
from ecjax import bootstrap, intervals, loss_moments, simultaneous

N, B = 150, 700


def tables_of(rng, units, columns):
    return [rng.chisquare(1, size=(g, m)) for g, m in zip(units, columns, strict=True)]


def test_replicates_are_means_over_the_units_drawn():
    losses = tables_of(np.random.default_rng(0), (30, 12, 30), (4, 2, 3))
    found = bootstrap.mean_losses(losses, 150, seed=5)
    for table, means in zip(losses, found, strict=True):
        g = len(table)
        assert means.shape == (table.shape[1], 150)
        for b in (0, 63, 64, 149):
            drawn = bootstrap.counts(g, b // bootstrap.CHUNK, 5)[b % bootstrap.CHUNK]
            assert drawn.sum() == g
            rows = np.repeat(np.arange(g), drawn)
            np.testing.assert_allclose(means[:, b], table[rows].mean(0), rtol=1e-12)


def test_units_are_drawn_alike_and_apart():
    drawn = np.concatenate([bootstrap.counts(40, chunk, 0) for chunk in range(60)]).astype(float)
    n = len(drawn)
    assert np.abs(drawn.mean(0) - 1).max() < 5 * np.sqrt(39 / 40 / n)
    covariance = np.cov(drawn.T)
    assert np.abs(np.diag(covariance) - 39 / 40).max() < 0.25
    off = covariance[~np.eye(40, dtype=bool)]
    assert np.abs(off + 1 / 40).max() < 5 / np.sqrt(n)
    assert not (bootstrap.counts(40, 0, 0) == bootstrap.counts(40, 0, 1)).all()


@pytest.mark.parametrize("tile", [1, 3, 100])
def test_neither_tiles_nor_company_nor_number_change_a_replicate(tile):
    losses = tables_of(np.random.default_rng(1), (50, 20, 50), (3, 2, 5))
    expected = bootstrap.mean_losses(losses, 300, seed=1)
    found = bootstrap.mean_losses(losses, 300, seed=1, tile=tile)
    alone = bootstrap.mean_losses(losses[2:], 100, seed=1, tile=tile)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    np.testing.assert_allclose(alone[0], expected[2][:, :100], rtol=1e-13)


@pytest.mark.parametrize("skewed", [True, False])
def test_bca_ends_of_a_mean_are_scipys(skewed):
    rng = np.random.default_rng(2)
    x = rng.chisquare(1, size=60) if skewed else rng.normal(size=60)
    theirs = stats.bootstrap((x,), np.mean, n_resamples=4000, method="BCa", random_state=rng)
    drawn = theirs.bootstrap_distribution
    influence = (x - x.mean())[:, None]
    found = bootstrap.bca_ends(drawn[None], np.array([x.mean()]), influence, 1.959964)
    low, high = theirs.confidence_interval
    # SciPy's quantiles stand between other neighbours.
    assert found[:, 0] == pytest.approx([low, high], abs=0.01 * (high - low))
    plain = np.quantile(drawn, [0.025, 0.975])
    assert skewed == (found[0, 0] > plain[0] + 0.02 * (high - low))


def test_where_bca_is_undefined_quantiles_stand():
    drawn = np.random.default_rng(3).normal(size=(3, 999))
    estimate = np.array([99.0, 0.0, -99.0])  # beyond all replicates, and one without influence
    influence = np.random.default_rng(4).normal(size=(20, 3)) * [1, 0, 1]
    found = bootstrap.bca_ends(drawn, estimate, influence, stats.norm.ppf(0.9))
    expected = np.sort(drawn, axis=1)[:, [99, 899]].T
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_ties_count_half():
    """Of losses that are errors: rounding does not decide on which side a replicate is."""
    drawn = np.array([[0.1, 0.2, 0.3, 0.3 + 1e-16, 0.3 - 1e-16, 0.3, 0.4, 0.5]])
    influence = np.array([[1.0], [-1.0]])
    found = bootstrap.bca_ends(drawn, np.array([0.3]), influence, 0.5)
    plain = np.sort(drawn[0])
    level = stats.norm.cdf([-0.5, 0.5])  # as many below as above: nothing to correct
    expected = np.interp(level * 9 - 1, np.arange(8), plain)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Nothing here asks what the fits themselves are."""
    with quickly_compiled():
        yield


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    x = {c: rng.normal(size=(N, w)) for c, w in zip("abc", (3, 4, 2), strict=True)}
    group = rng.integers(0, 30, size=N).astype(str).astype(object)
    y = x["a"][:, :2] + x["b"][:, :2] + 1.5 * rng.normal(size=(N, 2))
    labels = np.where(y[:, 0] > 0.8, "high", np.where(y[:, 0] < -0.8, "low", "middle"))
    tasks = {"y": ecjax.Task(y, group=group), "labels": ecjax.Task(labels, group=group)}
    return x, tasks, group


def errors_of(result):
    """(n, s) squared errors in standard deviations, over both targets, and what they lie about."""
    rows = result.predictions[result.predictions["task"] == "y"].copy()
    scale = rows["target"].map(rows.groupby("target")["y"].var(ddof=0))
    rows["squared_error"] /= scale
    rows["spread"] = (rows["y"] - rows.groupby("target")["y"].transform("mean")) ** 2 / scale
    errors = rows.groupby(["id", "subset"])["squared_error"].sum().unstack()
    return errors, rows[rows["subset"] == "a"].groupby("id")["spread"].sum().to_numpy()


@pytest.mark.parametrize("unit", ["row", "group"])
def test_intervals_of_the_tables_one_replicate_at_a_time(made, unit):
    x, tasks, group = made
    how = {"protocol": "paper", "folds": 5, "seed": 3}  # whose losses are those of the predictions
    found = ecjax.evaluate(x, tasks, bootstraps=B, bootstrap_unit=unit, predictions=True, **how)
    errors, spread = errors_of(found)
    of_row = np.arange(N) if unit == "row" else np.unique(group, return_inverse=True)[1]
    g = of_row.max() + 1
    drawn = np.concatenate([bootstrap.counts(g, c, 3) for c in range(11)])[:B][:, of_row]
    z = stats.norm.ppf(0.975)
    quantile = z if unit == "row" else stats.t.ppf(0.975, g - 1)

    def ends(drawn, now, influence, columns):
        influence = np.bincount(of_row, influence)[:, None]
        low, high = bootstrap.bca_ends(drawn[None], np.array([now]), influence, z)[:, 0]
        return low, high, quantile / z * np.sqrt(N / (N - columns) * g / (g - 1))

    gains = found.gains.query("task == 'y' and metric == 'r2' and target.isna()")
    widths = {c: x[c].shape[1] for c in "abc"}
    assert len(gains) == 12
    for row in gains.itertuples():
        fused, over = errors[row.subset].to_numpy(), errors[row.over].to_numpy()
        p = sum(widths[c] for c in row.subset.split("+"))
        now = fused.mean() / over.mean()
        low, high, wide = ends(
            drawn @ fused / (drawn @ over), now, fused / fused.mean() - over / over.mean(), p
        )
        r = np.log(now)
        assert row.eci_high == pytest.approx(1 - np.exp(r + wide * (np.log(low) - r)), abs=1e-9)
        assert row.eci_low == pytest.approx(1 - np.exp(r + wide * (np.log(high) - r)), abs=1e-9)
    score = found.scores.query("task == 'y' and metric == 'r2' and subset == 'a+c'").iloc[0]
    fused = errors["a+c"].to_numpy()
    now = fused.sum() / spread.sum()
    influence = (fused - now * spread) / spread.mean()
    low, high, wide = ends(drawn @ fused / (drawn @ spread), now, influence, 5)
    assert score["score_low"] == pytest.approx(1 - now - wide * (high - now), abs=1e-9)
    assert score["score_high"] == pytest.approx(1 - now + wide * (now - low), abs=1e-9)


def test_simultaneous_intervals_hold_in_so_many_replicates():
    rng = np.random.default_rng(6)
    losses = rng.chisquare(1, size=(N, 1)) * rng.uniform(0.5, 1.5, size=(N, 7))
    columns = np.zeros(7, int)
    moments = loss_moments.row_moments(losses, np.ones(N), 1.0, keep=True)
    means = bootstrap.mean_losses([moments.losses], 4000, 0)[0]
    moments = moments._replace(replicates=bootstrap.Replicates(means, intervals.z_of(0.95)))
    members = [[0, 1], [0, 2], [1, 2], [0, 1, 2]]
    pairs = with_members(moments, members, [3, 4, 5, 6], columns)
    largest = simultaneous.largest_errors(moments, pairs, columns)
    z = simultaneous.simultaneous_z([largest], 0.95)
    assert z > intervals.z_of(0.95)
    drawn = 1 - means[pairs.fused] / means[pairs.over]
    # The ends are moved away by g/(g − 1) too, which replicates lack.
    back = np.sqrt((N - 1) / N)
    held = (drawn >= pairs.gain(z * back)[:, None]) & (drawn <= pairs.gain(-z * back)[:, None])
    assert held.all(0).mean() == pytest.approx(0.95, abs=0.01)
    alone = (drawn >= pairs.gain(1.96)[:, None]) & (drawn <= pairs.gain(-1.96)[:, None])
    assert alone.mean(1) == pytest.approx(0.95, abs=0.02)


def test_tables_with_replicates(made):
    x, tasks, _ = made
    plain = ecjax.evaluate(x, tasks, folds=5)
    found = ecjax.evaluate(x, tasks, folds=5, bootstraps=2000)
    assert found.manifest["arguments"]["interval"] == "bootstrap"
    assert "Intervals of 95 % by bootstrap (2,000 replicates); taken" in str(found)
    assert found.index["p_better"].equals(plain.index["p_better"])
    assert found.index["eci_pooled"].equals(plain.index["eci_pooled"])
    for name, ends in (
        ("index", ("eci_low", "eci_high")),
        ("index", ("eci_low_simultaneous", "eci_high_simultaneous")),
        ("gains", ("eci_low", "eci_high")),
        ("scores", ("score_low", "score_high")),
        ("targets", ("score_low", "score_high")),
        ("shapley", ("low", "high")),
    ):
        by_ratio, drawn = (one.tables[name][list(ends)].to_numpy() for one in (plain, found))
        assert not np.isnan(drawn).any() and (drawn != by_ratio).any()
        widths = np.diff(by_ratio, axis=1)
        assert np.abs(drawn - by_ratio).max() < 0.25 * widths.max()
    low, wide = found.index["eci_low"], found.index["eci_low_simultaneous"]
    assert (wide <= low).all()
    again = ecjax.evaluate(x, tasks, folds=5, bootstraps=2000, interval="bootstrap")
    assert again.index.equals(found.index) and again.gains.equals(found.gains)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"interval": "bootstrap"}, "give their number"),
        ({"interval": "bootstrap", "bootstraps": 0}, "give their number"),
        ({"interval": "ratio", "bootstraps": 10}, "has no replicates"),
        ({"bootstraps": -1}, "bootstraps=-1: give a whole number of at least 0"),
        ({"bootstraps": 2.5}, "bootstraps=2.5"),
    ],
)
def test_replicates_and_kinds_that_do_not_go_together(made, arguments, says):
    x, tasks, _ = made
    with pytest.raises(ecjax.UsageError, match=says):
        ecjax.evaluate(x, tasks, **arguments)
