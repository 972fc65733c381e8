"""Rows, blocks and groups as units of intervals, and what the tables make of them."""

import numpy as np
import pytest
from scipy import stats

import ecjax
from ecjax import sphere
from ecjax.arrays import align_arrays
from ecjax.settings import Settings, from_arguments
from ecjax.units import units_of

N = 120


@pytest.fixture(scope="module")
def places():
    """Embeddings, and a task with coordinates and groups; both make rows alike."""
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(N, 3)), "b": rng.normal(size=(N, 2))}
    lat, lon = rng.uniform(40, 44, size=N), rng.uniform(0, 6, size=N)
    group = np.array([f"g{i}" for i in rng.integers(0, 12, size=N)], object)
    y = x["a"][:, :2] + x["b"] + rng.normal(size=(N, 2))
    return x, ecjax.Task(y, lat=lat, lon=lon, group=group)


def aligned(places):
    x, task = places
    return align_arrays(x, {"y": task})[0]


def test_auto_follows_the_split():
    of_split = {"spatial": "block", "group": "group"}
    for split in ("random", "stratified", "group", "spatial", "hash", "column"):
        assert Settings(split=split).unit == of_split.get(split, "row")
        for unit in ("row", "block", "group"):
            assert Settings(split=split, bootstrap_unit=unit).unit == unit


def test_units_are_cells_groups_or_rows(places):
    task = aligned(places)
    rows = units_of(task, Settings())
    assert (rows.kind, rows.count, rows.of_row) == ("row", N, None)
    assert rows.at(np.arange(7)).count == 7
    blocks = units_of(task, Settings(bootstrap_unit="block", block_km=80.0))
    cells = sphere.equal_area_cells(task.lat, task.lon, 80.0)
    assert (blocks.kind, blocks.count) == ("block", len(set(cells)))
    same = cells[:, None] == cells
    assert ((blocks.of_row[:, None] == blocks.of_row) == same).all()
    groups = units_of(task, Settings(bootstrap_unit="group"))
    assert groups.count == 12
    few = groups.at(np.flatnonzero((task.group == "g3") | (task.group == "g7")))
    assert few.count == 2 and set(few.of_row) == {0, 1} and not few.lacking
    assert "one group" in groups.at(np.flatnonzero(task.group == "g3")).lacking


@pytest.mark.parametrize("unit", ["block", "group"])
def test_intervals_rest_on_the_losses_summed_over_units(places, unit):
    x, task = places
    found = ecjax.evaluate(
        x, {"y": task}, protocol="paper", folds=4, bootstrap_unit=unit, predictions=True,
        **({"block_km": 150} if unit == "block" else {}),
    )  # fmt: skip
    rows = found.predictions.copy()
    rows["squared_error"] /= rows["target"].map(rows.groupby("target")["y"].var(ddof=0))
    errors = rows.groupby(["id", "subset"])["squared_error"].sum().unstack()
    of_task = aligned(places)
    codes = units_of(of_task, Settings(bootstrap_unit=unit, block_km=150.0)).of_row
    g, p = codes.max() + 1, 5
    # Members and the pooled score, in closed form over clusters.
    fused, member = errors["a+b"].to_numpy(), errors["a"].to_numpy()
    shares = fused / fused.mean() - member / member.mean()
    error = np.sqrt(g / (g - 1) * (np.bincount(codes, shares) ** 2).sum()) / N
    t = stats.t.ppf(0.975, g - 1) * np.sqrt(N / (N - p))
    ends = 1 - fused.mean() / member.mean() * np.exp(np.array([1, -1]) * t * error)
    gain = found.gains.query("over == 'a' and metric == 'r2' and target.isna()").iloc[0]
    assert gain[["eci_low", "eci_high"]].tolist() == pytest.approx(ends, abs=1e-9)
    shares = fused - fused.mean()
    error = np.sqrt(g / (g - 1) * (np.bincount(codes, shares) ** 2).sum()) / N / 2  # two targets
    score = found.scores.query("subset == 'a+b' and metric == 'mse'").iloc[0]
    assert score["score_high"] - score["pooled"] == pytest.approx(t * error, abs=1e-9)
    index = found.index.query("metric == 'r2' and target.isna()").iloc[0]
    lows = found.gains.query("metric == 'r2' and target.isna()")["eci_low"]
    assert index["eci_low"] == pytest.approx(lows.min(), abs=1e-12)
    assert index["eci_low_simultaneous"] <= index["eci_low"]
    assert found.manifest["tasks"]["y"]["unit"] == unit
    assert found.manifest["tasks"]["y"]["units"] == g
    assert f"taken to be independent: {g} {unit}s of each task" in " ".join(str(found).split())


def test_left_out_groups_are_the_units(places):
    x, task = places
    found = ecjax.evaluate(x, {"y": task}, protocol="paper", split="group", folds=0)
    assert found.manifest["tasks"]["y"]["unit"] == "group"
    assert found.manifest["tasks"]["y"]["units"] == 12


def test_one_unit_has_no_interval_and_says_so(places):
    x, task = places
    found = ecjax.evaluate(
        x, {"y": task}, protocol="paper", folds=4, bootstrap_unit="block", block_km=20_000
    )
    reason = "no interval: all rows are of one block"
    for name, low in (("scores", "score_low"), ("index", "eci_low"), ("gains", "eci_low"),
                      ("shapley", "low")):  # fmt: skip
        table = found.tables[name]
        assert table[low].isna().all() and (table["reason"] == reason).all(), name
    for name in ("p_better", "eci_low_simultaneous", "eci_high_simultaneous"):
        assert found.index[name].isna().all()
    assert found.index["eci_pooled"].notna().all() and found.gains["eci_pooled"].notna().all()
    assert not found.undefined
    assert "intervals rest on few units: 1" in str(found)


def test_what_lacks_coordinates_or_groups_is_refused(places):
    x, _ = places
    y = np.random.default_rng(1).normal(size=N)
    with pytest.raises(ecjax.InputError, match="bootstrap_unit=block needs coordinates"):
        ecjax.evaluate(x, {"y": y}, protocol="paper", bootstrap_unit="block")
    with pytest.raises(ecjax.InputError, match="bootstrap_unit=group needs a column"):
        ecjax.evaluate(x, {"y": y}, protocol="paper", bootstrap_unit="group")
    group = np.array(["g"] * (N - 1) + [None], object)
    with pytest.raises(ecjax.InputError, match="group is null in 1 row"):
        ecjax.evaluate(x, {"y": ecjax.Task(y, group=group)}, bootstrap_unit="group")
    with pytest.raises(ecjax.UsageError, match="bootstrap_unit=cell is unknown"):
        ecjax.evaluate(x, {"y": y}, protocol="paper", bootstrap_unit="cell")
    with pytest.raises(ecjax.UsageError, match="split=spatial and bootstrap_unit=block"):
        from_arguments({"block_km": 10.0, "bootstrap_unit": "row"})
