"""Maps, strata and commonality in the tables, against the predictions of the same run."""

import json

import numpy as np
import pandas as pd
import pytest
from make_tables import write
from quick import quickly_compiled

import ecjax
from ecjax import analyses, maps, sphere, store

N = 400


def world(seed=0):
    rng = np.random.default_rng(seed)
    x = {name: rng.normal(size=(N, w)) for name, w in (("a", 3), ("b", 4), ("c", 2))}
    lat = np.degrees(np.arcsin(rng.uniform(-0.6, 0.9, N)))
    lon = rng.uniform(-180, 180, N)
    y = np.stack([x["a"][:, 0] + x["b"][:, 0] * (lat > 0), x["c"][:, 0] + x["a"][:, 1]], 1)
    y += rng.normal(size=y.shape)
    labels = np.where(y[:, 0] > 0.6, "high", np.where(y[:, 0] < -0.6, "low", "middle"))
    zone = np.where(lat > 20, "north", np.where(lat > -5, "middle", "south")).astype(object)
    zone[:5] = None
    frame = pd.DataFrame({"first": y[:, 0], "second": y[:, 1]})
    places = {"lat": lat, "lon": lon, "strata": {"zone": zone, "height": (y[:, 1] * 10, 3)}}
    country = np.where(lon > 0, "east", "west")
    return x, {
        "y": ecjax.Task(frame, group=country, **places),
        "labels": ecjax.Task(labels, **places),
    }


@pytest.fixture(scope="module", params=["strict", "paper"])
def result(request):
    embeddings, tasks = world()
    how = {"folds": 5, "protocol": request.param, "predictions": True, "map_km": 4_000}
    if request.param == "strict":
        how |= {"ridge_lambda": [1.0, 30.0], "logistic_c": [0.1, 1.0]}
    with quickly_compiled():
        return ecjax.evaluate(embeddings, tasks, **how)


def where(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    return frame


def losses_of(result, task, target=None):
    """{subset: (n,)} what each row loses, from the predictions; rows by id."""
    found = {}
    rows = where(result.predictions, task=task)
    for subset, own in rows.groupby("subset"):
        if task == "labels":
            own = own[own["y"] == 1].sort_values("id")
            found[subset] = -np.log(own["prediction"].to_numpy())
            continue
        wide = own.pivot(index="id", columns="target", values="squared_error")
        unit = own.groupby("target")["y"].var(ddof=0)
        wide = wide / unit
        found[subset] = (wide.sum(axis=1) if target is None else wide[target]).to_numpy()
    return found


@pytest.mark.parametrize("task, metric", [("y", "r2"), ("labels", "log_loss")])
def test_cells_hold_the_index_of_their_rows(result, task, metric):
    _, tasks = world()
    cells = sphere.equal_area_cells(tasks[task].lat, tasks[task].lon, 4_000)
    losses = losses_of(result, task)
    whole = where(result.index, task=task, target=None, metric=metric).set_index("subset")
    points = where(result.points, task=task)
    for subset, rows in where(result.maps, task=task, target=None).groupby("subset"):
        single = where(points, subset=subset).sort_values("id")["best_single_loss"].to_numpy()
        assert set(rows["cell"]) == {str(cell) for cell in np.unique(cells)}
        for row in rows.itertuples():
            own = cells == int(row.cell)
            assert row.n_rows == own.sum()
            expected = 1 - losses[subset][own].sum() / single[own].sum()
            assert row.eci_pooled == pytest.approx(expected, abs=1e-9)
            south, north = row.lat_min - 1e-9, row.lat_max + 1e-9
            assert ((tasks[task].lat[own] >= south) & (tasks[task].lat[own] <= north)).all()
            few = row.n_rows < 10
            assert np.isnan(row.eci_low) == few and pd.isna(row.reason) != few
            assert few or row.eci_low <= row.eci_pooled <= row.eci_high
        # Point-wise indices weighted by the single's loss give back the whole.
        eci = where(points, subset=subset).sort_values("id")["eci"].to_numpy()
        back = (single * eci).sum() / single.sum()
        assert back == pytest.approx(whole.loc[subset, "eci_pooled"], abs=1e-9)
        if result.manifest["protocol"] == "paper":
            best = min(subset.split("+"), key=lambda m: losses[m].sum())
            np.testing.assert_allclose(single, losses[best], atol=1e-9)


def test_p_values_are_adjusted_over_the_cells_of_a_set(result):
    from statsmodels.stats.multitest import multipletests

    keys = ["task", "target", "subset"]
    for _, rows in result.maps.groupby(keys, dropna=False):
        known = rows["p_adjusted"].dropna()
        assert len(known) == (rows["n_units"] >= 10).sum() > 1
        # Adjusting adjusted values again changes nothing that is already in order.
        again = multipletests(known, method="fdr_bh")[1]
        assert (again >= known.to_numpy() - 1e-12).all() and known.max() <= 1


def test_single_targets_have_maps_of_their_own(result):
    losses = losses_of(result, "y", "second")
    points = where(result.maps, task="y", target="second", subset="a+c")
    assert len(points) and set(result.maps["target"].dropna()) == {"first", "second"}
    if result.manifest["protocol"] == "paper":
        _, tasks = world()
        own = sphere.equal_area_cells(tasks["y"].lat, tasks["y"].lon, 4_000)
        cell = int(points["cell"].iloc[0])
        best = min("ac", key=lambda m: losses[m].sum())
        rows = own == cell
        expected = 1 - losses["a+c"][rows].sum() / losses[best][rows].sum()
        assert points["eci_pooled"].iloc[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("task, metric", [("y", "r2"), ("labels", "log_loss")])
def test_strata_hold_scores_and_indices_of_their_rows(result, task, metric):
    _, tasks = world()
    zone = tasks[task].strata["zone"]
    losses = losses_of(result, task)
    rows = where(result.strata, task=task, target=None, by="zone", metric=metric)
    assert set(rows["stratum"]) == {"north", "middle", "south"}
    assert rows.groupby("subset")["n_rows"].sum().unique().tolist() == [N - 5]
    for row in rows.itertuples():
        own = zone == row.stratum
        lost = losses[row.subset][own]
        if metric == "r2":
            y = tasks["y"].y.to_numpy()
            spread = (y[own].var(0) * own.sum() / y.var(0)).sum()
            assert row.score == pytest.approx(1 - lost.sum() / spread, abs=1e-9)
        else:
            assert row.score == pytest.approx(lost.mean(), abs=1e-9)
        assert np.isnan(row.eci_pooled) == (row.n_models == 1)
        assert row.n_models == 1 or row.eci_low <= row.eci_pooled <= row.eci_high


def test_accuracy_in_strata_is_the_share_of_hits(result):
    _, tasks = world()
    zone = tasks["labels"].strata["zone"]
    own = where(result.predictions, task="labels", subset="a+b")
    most = own.loc[own.groupby("id")["prediction"].idxmax()].sort_values("id")
    hit = most["y"].to_numpy() == 1
    rows = where(result.strata, task="labels", by="zone", metric="accuracy", subset="a+b")
    for row in rows.itertuples():
        assert row.score == pytest.approx(hit[zone == row.stratum].mean(), abs=1e-12)


def test_bins_stand_in_rising_order(result):
    rows = where(result.strata, task="y", target=None, by="height", subset="a+b")
    starts = [float(text.split(" to ")[0]) for text in rows["stratum"]]
    assert len(starts) == 3 and starts == sorted(starts)


def test_what_separates_most_comes_first(result):
    table = result.separation
    spread = table["spread"].fillna(-1).to_numpy()
    assert (np.diff(spread) <= 0).all() and len(table) > 10
    row = where(table, task="y", target="first", subset="a+b", by="zone").iloc[0]
    strata = where(result.strata, task="y", target="first", subset="a+b", by="zone")
    most = strata.loc[strata["eci_pooled"].idxmax()]
    assert (row["most_stratum"], row["eci_most"]) == (most["stratum"], most["eci_pooled"])
    assert row["n_strata"] == 3 and 0 <= row["p_value"] <= row["p_adjusted"] <= 1


def test_commonality_adds_up_to_the_scores(result):
    table = result.commonality
    assert set(table["metric"]) == {"r2", "accuracy", "balanced_accuracy"}
    scores = pd.concat([result.scores.assign(target=None), result.targets])
    keys = ["task", "target", "metric", "model_a", "model_b"]
    for (task, target, metric, a, b), rows in table.groupby(keys, dropna=False):
        target = None if pd.isna(target) else target
        fused = where(scores, task=task, target=target, metric=metric, subset=f"{a}+{b}")
        assert rows["value"].sum() == pytest.approx(fused["score"].item(), abs=1e-10)
        parts = rows.set_index("part")
        assert (parts["low"] <= parts["value"] + 1e-12).all()
        assert (parts["value"] <= parts["high"] + 1e-12).all()
        if fused["score"].item() > parts.loc["intercept", "value"]:
            assert parts["share"].sum() == pytest.approx(1)


def test_groups_and_regions_make_maps_too():
    embeddings, tasks = world()
    one = {"y": tasks["y"]}
    how = {"folds": 4, "protocol": "paper"}
    by_group = ecjax.evaluate(embeddings, one, map_by="group", **how).maps
    assert set(by_group["cell"]) == {"east", "west"} and by_group["lat_min"].isna().all()
    region = np.where(tasks["y"].lat > 30, "far north", None)
    placed = ecjax.Task(tasks["y"].y, lat=tasks["y"].lat, lon=tasks["y"].lon, region=region)
    result = ecjax.evaluate(embeddings, {"y": placed}, **how)
    assert set(result.maps["cell"]) == {"far north"}
    (note,) = [note for note in result.manifest["notes"] if note["reason"] == "no region"]
    assert note["count"] == pd.isna(region).sum()


def test_without_places_or_strata_there_are_no_such_tables():
    embeddings, tasks = world()
    plain = ecjax.evaluate(embeddings, {"y": tasks["y"].y}, folds=4, protocol="paper")
    assert plain.maps is None and plain.strata is None and plain.points is None
    assert len(plain.commonality)
    placed = ecjax.evaluate(embeddings, {"y": tasks["y"]}, folds=4, protocol="paper", map_km=0)
    assert placed.maps is None and len(placed.strata)


@pytest.mark.parametrize(
    "how, words",
    [
        ({"map_by": "group"}, "--map_by=group needs a column"),
        ({"map_by": "cell"}, "--map_by=cell needs coordinates"),
        ({"map_by": "region"}, "--map_by=region needs a layer"),
    ],
)
def test_what_a_map_lacks_is_said_before_anything_is_fitted(how, words):
    embeddings, tasks = world()
    with pytest.raises(ecjax.InputError, match=words):
        ecjax.evaluate(embeddings, {"y": tasks["y"].y}, folds=4, **how)


@pytest.mark.parametrize(
    "how",
    [
        {"map_km": -1},
        {"map_km": 1e9},
        {"map_km": 0, "map_by": "cell"},
        {"map_km": 100, "map_by": "group"},
        {"map_by": "country"},
    ],
)
def test_arguments_of_maps_are_checked(how):
    with pytest.raises(ecjax.UsageError):
        ecjax.evaluate({"a": np.ones((9, 2))}, {"y": np.ones(9)}, **how)


def test_of_very_many_sets_pairs_and_the_whole_are_mapped(monkeypatch):
    embeddings, tasks = world()
    how = {"folds": 4, "ridge_lambda": [1.0, 30.0]}
    every = ecjax.evaluate(embeddings, {"y": tasks["y"]}, **how)
    x = embeddings | {"d": np.random.default_rng(9).normal(size=(N, 2))}
    monkeypatch.setattr(analyses, "MOST_SETS", 5)
    result = ecjax.evaluate(x, {"y": tasks["y"]}, **how)
    assert set(result.maps["subset"].str.count("[+]")) == {1, 3}
    (note,) = [n for n in result.manifest["notes"] if n["reason"] == analyses.PAIRS_ALONE]
    assert note["count"] == 11
    # What is left is what it was among all of them.
    keys = ["target", "subset", "cell"]
    pair = where(result.maps, subset="a+b").set_index(keys)
    whole = where(every.maps, subset="a+b").set_index(keys)
    numbers = ["eci_pooled", "eci_low", "eci_high"]
    pd.testing.assert_frame_equal(pair[numbers], whole[numbers], rtol=1e-9)


def test_a_study_file_names_strata_and_regions(tmp_path):
    pytest.importorskip("shapely", reason="polygons need the extra geo")
    embeddings, tasks = world()
    y = tasks["y"]
    table = pd.DataFrame({"id": np.arange(N), "t": y.y["first"], "lat": y.lat, "lon": y.lon})
    table["zone"], table["height"] = y.strata["zone"], y.strata["height"][0]
    write(table, tmp_path / "labels.csv")
    for name, x in embeddings.items():
        columns = {f"emb_{j}": column for j, column in enumerate(x.T)}
        write(pd.DataFrame({"id": np.arange(N), **columns}), tmp_path / f"{name}.csv")
    half = [[[-180, -90], [0, -90], [0, 90], [-180, 90], [-180, -90]]]
    geometry = {"type": "Polygon", "coordinates": half}
    features = [{"type": "Feature", "properties": {"NAME": "west"}, "geometry": geometry}]
    (tmp_path / "layer.geojson").write_text(json.dumps({"features": features}))
    (tmp_path / "study.toml").write_text(
        "".join(f'embeddings.{name}.path = "{name}.csv"\n' for name in embeddings)
        + '[regions]\npath = "layer.geojson"\nname = "NAME"\n[tasks.y]\npath = "labels.csv"\n'
        'target = "t"\nkind = "regression"\nlat = "lat"\nlon = "lon"\n'
        'strata = { zone = "values", height = 3, lat = [-90, 0, 90] }\n'
    )
    study, how = ecjax.read_study(tmp_path / "study.toml"), {"folds": 4, "protocol": "paper"}
    result = ecjax.evaluate(study, out=tmp_path / "out", **how)
    assert set(result.maps["cell"]) == {"west"}
    assert set(result.strata["by"]) == {"zone", "height", "lat"}
    tables, _ = store.read_results(tmp_path / "out")
    for name in ("maps", "strata", "separation", "commonality"):
        assert len(tables[name]) == len(result.tables[name])
        assert (tmp_path / "out" / f"{name}.csv").exists()
    cells = ecjax.evaluate(study, map_by="cell", map_km=5_000, **how).maps
    assert len(set(cells["cell"])) > 5


def test_cells_are_as_small_as_rows_allow():
    rng = np.random.default_rng(4)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, 3_000))), rng.uniform(-180, 180, 3_000)
    x = rng.normal(size=(3_000, 2))
    task = ecjax.Task(x[:, 0] + rng.normal(size=3_000), lat=lat, lon=lon)
    embeddings = {"a": x[:, :1], "b": x[:, 1:]}
    found = ecjax.evaluate(embeddings, {"y": task}, folds=4, protocol="paper")
    side = found.manifest["tasks"]["y"]["map_km"]

    def share(km):
        cells = sphere.equal_area_cells(lat, lon, km)
        return (np.bincount(cells)[cells] >= maps.ENOUGH).mean()

    assert share(side) >= 0.5 > share(maps.SIDES_KM[maps.SIDES_KM.index(side) - 1])
    cells = np.unique(sphere.equal_area_cells(lat, lon, side))
    assert set(found.maps["cell"]) == set(cells.astype(str))


def test_a_map_of_cells_that_are_too_small_says_so():
    embeddings, tasks = world()
    how = {"folds": 4, "protocol": "paper", "map_km": 500}
    found = ecjax.evaluate(embeddings, {"y": tasks["y"]}, **how)
    (note,) = [n for n in found.manifest["notes"] if n["reason"] == analyses.FEW_ROWS]
    lacking = found.maps.drop_duplicates("cell")["eci_low"].isna().sum()
    assert note["count"] == lacking > 100
