"""`ecjax.scale`: from arrays and studies to tables, a text and files."""

import dataclasses
import json

import make_tables
import numpy as np
import pandas as pd
import pytest

import ecjax
from ecjax import entropy, store, variogram
from ecjax.align import by_id
from ecjax.arrays import align_arrays
from ecjax.fingerprints import of_rows
from ecjax.scale import CLASSES, NO_PLACES, ScaleResult
from ecjax.scale_correlation import FEW

N = 400


def planted(seed=0):
    """Embeddings and tasks: waves of two lengths as shares, classes of them, one without places."""
    rng = np.random.default_rng(seed)
    lat, lon = rng.uniform(-2, 2, N), rng.uniform(-2, 2, N) + 180
    lon = np.where(lon > 180, lon - 360, lon)
    waves = np.stack([(1 + np.sin(k * lat) * np.cos(k * (lon % 360))) / 2 for k in (4, 12)], axis=1)
    shares = pd.DataFrame(waves, columns=["long", "short"])
    place = {"lat": lat, "lon": lon}
    tasks = {
        "cover": ecjax.Task(shares, **place),
        "wet": ecjax.Task(np.where(waves[:, 0] > 0.5, "wet", "dry"), **place),
        "amount": ecjax.Task(100 * waves[:, 0], **place),
        "nowhere": ecjax.Task(waves[:, 0]),
    }
    return {"a": rng.normal(size=(N, 2)), "b": rng.normal(size=(N, 2))}, tasks


@pytest.fixture(scope="module")
def result():
    return ecjax.scale(*planted())


def test_a_row_for_each_target_and_estimator(result):
    assert isinstance(result, ScaleResult) and result.scale_correlation is None
    table = result.scale
    assert list(table.columns) == [
        "task", "target", "estimator", "range_km", "practical_range_km", "n_rows", "reason",
    ]  # fmt: skip
    keys = [tuple(row) for row in table[["task", "target", "estimator"]].to_numpy()]
    targets = [("cover", "long"), ("cover", "short"), ("wet", "wet"), ("amount", "amount")]
    targets += [("nowhere", "nowhere")]
    assert keys == [(*target, e) for target in targets for e in ("paper", "variogram")]
    assert (table["n_rows"] == N).all()
    assert (table["range_km"].isna() == table["reason"].notna()).all()
    known = table.dropna(subset="range_km")
    np.testing.assert_allclose(known["practical_range_km"], 3 * known["range_km"])


def test_ranges_are_the_estimators_own(result):
    _, tasks = planted()
    cover, by = tasks["cover"], result.scale.set_index(["task", "target", "estimator"])
    y = cover.y.to_numpy()
    for found, estimator in (
        (entropy.estimate(cover.lat, cover.lon, y), "paper"),
        (variogram.estimate(cover.lat, cover.lon, y, "regression"), "variogram"),
    ):
        for target, one in zip(("long", "short"), found, strict=True):
            assert by.loc[("cover", target, estimator), "range_km"] == one.range_km
        assert found[0].range_km > found[1].range_km
    reasons = by["reason"]
    assert reasons["wet", "wet", "paper"] == CLASSES
    assert reasons["amount", "amount", "paper"] == entropy.NO_SHARE
    assert (reasons["nowhere"] == NO_PLACES).all()
    long, amount = (by.loc[pair, "range_km"] for pair in (
        ("cover", "long", "variogram"), ("amount", "amount", "variogram")))  # fmt: skip
    assert amount == pytest.approx(long, rel=1e-6)  # whatever the unit


def test_curves_are_of_the_targets_with_a_range(result):
    table = result.scale_curve
    assert list(table.columns) == ["task", "target", "estimator", "km", "value", "fitted"]
    known = result.scale.dropna(subset="range_km")
    keys = ["task", "target", "estimator"]
    groups = dict(list(table.groupby(keys, sort=False)))
    assert list(groups) == [tuple(row) for row in known[keys].to_numpy()]
    _, tasks = planted()
    cover = tasks["cover"]
    y = cover.y.to_numpy()
    for found, estimator in (
        (entropy.estimate(cover.lat, cover.lon, y), "paper"),
        (variogram.estimate(cover.lat, cover.lon, y, "regression"), "variogram"),
    ):
        for target, one in zip(("long", "short"), found, strict=True):
            own = groups["cover", target, estimator]
            assert (own[["km", "value", "fitted"]].to_numpy().T == np.array(one.curve)).all()
    assert table.notna().all(axis=None) and table.groupby(keys)["km"].is_monotonic_increasing.all()


def test_no_range_no_curve(tmp_path):
    embeddings, tasks = planted()
    result = ecjax.scale(embeddings, {"nowhere": tasks["nowhere"]}, out=tmp_path)
    assert len(result.scale_curve) == 0
    assert list(pd.read_parquet(tmp_path / "scale_curve.parquet")) == list(result.scale_curve)
    assert len(pd.read_csv(tmp_path / "scale_curve.csv")) == 0


def test_undefined_are_targets_without_any_range(result):
    assert result.undefined
    embeddings, tasks = planted()
    del tasks["nowhere"]
    assert not ecjax.scale(embeddings, tasks).undefined


def test_the_text_says_ranges_and_reasons(result):
    text = str(result)
    assert text.startswith("arrays: scale of 5 targets\n")
    row = next(line for line in text.splitlines() if line.startswith("cover long"))
    ranges = result.scale["range_km"][:2]
    assert row.split()[2:] == [*(f"{km:,.0f}" for km in ranges), "400"]
    assert f"amount, paper: {entropy.NO_SHARE}" in text and f"nowhere, paper: {NO_PLACES}" in text
    assert max(map(len, text.splitlines())) <= 100


def evaluated(folder, tasks, protocol="paper", **changed):
    """A directory as `evaluate` leaves it, of made-up scores."""
    targets = [(t.name, name) for t in tasks for name in t.targets]
    several = {t.name for t in tasks if len(t.targets) > 1}
    rows = pd.DataFrame(targets, columns=["task", "target"]).assign(metric="r2")
    rows["score"] = rows["eci"] = np.arange(len(rows)) / 10
    alone = rows["task"].isin(several).map({True: False, False: True})
    index = rows.assign(subset="a+b", target=rows["target"].where(~alone, None))
    singles = pd.concat([rows.assign(subset=name, n_models=1) for name in "ab"])
    tables = {
        "scores": singles[~singles["task"].isin(several)].drop(columns="target"),
        "targets": singles[singles["task"].isin(several)],
        "index": index,
    }
    manifest = {
        "name": "study", "created": "today", "protocol": protocol, "swept": [],
        "study": {"rows": {t.name: of_rows(t)["rows"] for t in tasks}},
        "tasks": {t.name: {"rows": len(t.ids)} for t in tasks},
    } | changed  # fmt: skip
    store.write_results(folder, tables, manifest)
    return folder


def aligned(seed=0):
    return align_arrays(*planted(seed))


def test_results_are_ranked_and_written(tmp_path):
    folder = evaluated(tmp_path / "results", aligned())
    out = tmp_path / "out"
    result = ecjax.scale(*planted(), out=out, results=folder)
    found = result.scale_correlation.set_index(["kind", "subset", "estimator"])
    assert list(found.index)[:2] == [("score", "a", "paper"), ("score", "b", "paper")]
    assert found.loc[("index", "a+b", "variogram"), "n_targets"] == 4
    text = str(result)
    assert "rho of the range with the score" in text and "\na+b " in text
    rho = found.loc[("index", "a+b", "variogram")]
    assert f"{rho['rho']:+.3f} (4, p {rho['p_adjusted']:.3f})" in text
    assert f"rho, paper: {FEW}" in text and text.count("rho, ") == 1
    for name, frame in result.tables.items():
        written = pd.read_parquet(out / f"{name}.parquet").fillna({"reason": ""})
        pd.testing.assert_frame_equal(written, frame.fillna({"reason": ""}), check_dtype=False)
        assert len(pd.read_csv(out / f"{name}.csv")) == len(frame)
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["results"] == {
        "name": "study", "created": "today", "protocol": "paper", "swept": [],
    }  # fmt: skip
    assert manifest["complete"] and manifest["study"]["command"] == "scale"
    ecjax.scale(*planted(), out=out)  # of the same study, without results
    assert not (out / "scale_correlation.parquet").exists()


def test_results_of_other_rows_are_refused(tmp_path):
    folder = evaluated(tmp_path / "results", aligned())
    embeddings, tasks = planted()
    tasks["amount"] = ecjax.Task(
        tasks["amount"].y + 1, lat=tasks["amount"].lat, lon=tasks["amount"].lon
    )
    with pytest.raises(ecjax.InputError, match='results of task "amount" are of other ids'):
        ecjax.scale(embeddings, tasks, results=folder)
    none = {f"other_{name}": task for name, task in tasks.items()}
    with pytest.raises(ecjax.InputError, match="none of this study's tasks"):
        ecjax.scale(embeddings, none, results=folder)
    with pytest.raises(ecjax.InputError, match="no such directory"):
        ecjax.scale(embeddings, tasks, results=tmp_path / "nothing")


def test_results_are_of_rows_in_any_order(tmp_path):
    embeddings, tasks = planted()
    ids = np.random.default_rng(3).permutation(N)
    tasks = {name: dataclasses.replace(task, id=ids) for name, task in tasks.items()}
    sorted_rows = by_id(align_arrays(embeddings, tasks))
    for protocol in ("strict", "paper"):
        folder = evaluated(tmp_path / protocol, sorted_rows, protocol)
        assert len(ecjax.scale(embeddings, tasks, results=folder).scale_correlation) == 6


def test_a_directory_of_another_command_is_refused(tmp_path):
    folder = evaluated(tmp_path / "results", aligned())
    with pytest.raises(ecjax.InputError, match="results of `ecjax evaluate`, not of `ecjax scale`"):
        ecjax.scale(*planted(), out=folder)
    out = tmp_path / "out"
    ecjax.scale(*planted(), out=out)
    with pytest.raises(ecjax.InputError, match="holds no scores, which `ecjax evaluate` writes"):
        ecjax.scale(*planted(), results=out)
    with pytest.raises(ecjax.InputError, match='the data of task "cover"'):
        ecjax.scale(*planted(seed=1), out=out)
    embeddings, tasks = planted()
    tasks["wet"] = ecjax.Task(tasks["wet"].y, lat=-tasks["wet"].lat, lon=tasks["wet"].lon)
    with pytest.raises(ecjax.InputError, match='differs in the places of task "wet". Name'):
        ecjax.scale(embeddings, tasks, out=out)


def test_rows_that_an_embedding_lacks_are_left_out_as_in_evaluate(tmp_path):
    short = make_tables.vectors(4, seed=1).iloc[:-7]
    make_tables.write(short, tmp_path / "a.parquet")
    places = 'lat = "lat"\nlon = "lon"'
    path = make_tables.study(tmp_path, target="crop", kind="classification", task_keys=places)
    table = ecjax.scale(ecjax.read_study(path)).scale
    assert (table["n_rows"] == make_tables.N - 7).all()


def test_misuse_is_told():
    embeddings, tasks = planted()
    with pytest.raises(ecjax.UsageError, match="give tasks"):
        ecjax.scale(embeddings)
    with pytest.raises(TypeError, match="folds"):
        ecjax.scale(embeddings, tasks, folds=3)
