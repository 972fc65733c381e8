"""Which question intervals answer, and when a run warns that errors are alike too far."""

import itertools
import json
import re
from html import unescape

import numpy as np
import pytest
from quick import quickly_compiled

import ecjax
from ecjax import page, question
from ecjax.settings import AVAILABLE

N, RANGE_KM = 800, 60.0


def made(range_km):
    """Embeddings, a target, its coordinates: all errors, and what sets differ in, in space."""
    rng = np.random.default_rng(5)
    lat, lon = rng.uniform(-9, 9, N), rng.uniform(-9, 9, N)
    km = 111.2 * np.hypot(lat[:, None] - lat, lon[:, None] - lon)
    root = np.linalg.cholesky(np.exp(-km / range_km) + 1e-9 * np.eye(N)) if range_km else 1.0
    fields = root @ rng.normal(size=(N, 5)) if range_km else rng.normal(size=(N, 5))
    return {"a": fields[:, :2], "b": fields[:, 2:4]}, fields.sum(1), lat, lon


@pytest.fixture(scope="module")
def alike():
    return made(RANGE_KM)


def evaluated(study, places=True, **arguments):
    x, y, lat, lon = study
    task = ecjax.Task(y, lat=lat, lon=lon) if places else y
    return ecjax.evaluate(x, {"y": task}, protocol="paper", folds=4, **arguments)


def warnings_of(result):
    return [n["reason"] for n in result.manifest["notes"] if "range in km" in n["reason"]]


def test_narrow_blocks_warn_and_wide_ones_do_not(alike, tmp_path):
    narrow = evaluated(alike, bootstrap_unit="block", block_km=100, out=tmp_path)
    km = narrow.manifest["tasks"]["y"]["correlation_km"]
    assert RANGE_KM / 1.6 < km < RANGE_KM * 1.6
    assert warnings_of(narrow) == [question.NARROW]
    text = " ".join(str(narrow).split())
    assert "They speak about new rows on maps like this." in text
    assert f"Range of the residuals' correlation: about {km:.0f} km." in text
    assert f"task table: {question.NARROW}: {km:.0f}" in text
    assert (
        json.loads((tmp_path / "manifest.json").read_text())["tasks"]["y"]["correlation_km"] == km
    )
    html = page.write_page(tmp_path).read_text("utf-8")
    assert question.NARROW in unescape(re.sub("<[^>]+>", "", html))
    assert "They speak about new rows on maps like this." in re.sub("<[^>]+>", "", html)
    wide = evaluated(alike, bootstrap_unit="block", block_km=np.ceil(4 * km))
    assert warnings_of(wide) == []
    assert wide.manifest["tasks"]["y"]["correlation_km"] == km
    assert warnings_of(evaluated(alike, bootstrap_unit="block", block_km=4 * km - 1))


def test_rows_as_units_are_of_this_map_where_errors_are_alike(alike):
    found = evaluated(alike)
    assert warnings_of(found) == [question.THIS_MAP]
    assert "They speak about new rows on this map." in " ".join(str(found).split())


def test_independent_rows_are_not_warned_about():
    for unit in ("row", "block"):
        found = evaluated(made(0.0), bootstrap_unit=unit)
        assert warnings_of(found) == []
        assert found.manifest["tasks"]["y"]["correlation_km"] == 0
        assert "Range of the residuals' correlation: none found." in " ".join(str(found).split())


def test_without_coordinates_nothing_is_said(alike):
    found = evaluated(alike, places=False)
    assert not {"question", "correlation_km"} & set(found.manifest["tasks"]["y"])
    assert warnings_of(found) == [] and "They speak" not in str(found)


def test_every_split_and_unit_has_a_question():
    assert set(question._TESTED) == set(AVAILABLE["split"])
    assert {"auto", *question._WHERE} == set(AVAILABLE["bootstrap_unit"])
    x, y, lat, lon = made(0.0)
    group = np.array([f"g{i % 12}" for i in range(N)], object)
    task = ecjax.Task(y, lat=lat, lon=lon, group=group)
    said = {}
    for split, unit in itertools.product(("random", "group", "spatial"), ("row", "block", "group")):
        run = ecjax.evaluate(
            x, {"y": task}, protocol="paper", folds=4, split=split, bootstrap_unit=unit
        )
        said[split, unit] = run.manifest["tasks"]["y"]["question"]
    assert len(set(said.values())) == 9
    assert said["spatial", "block"].startswith("rows of a new region")
    assert said["group", "group"].startswith("rows of a new group")


@pytest.fixture
def given(monkeypatch):
    """What the range is estimated from, once for each task."""
    known, estimate = [], question.correlation.estimate

    def record(lat, lon, differences):
        known.append((lat, lon, differences))
        return estimate(lat, lon, differences)

    monkeypatch.setattr(question.correlation, "estimate", record)
    return known


def shares(losses):
    """Of the pair and of its best member, from losses by row and set."""
    best = losses[["a", "b"]].mean().idxmin()
    return (losses["a+b"] / losses["a+b"].mean() - losses[best] / losses[best].mean()).to_numpy()


def test_differences_are_of_the_pair_and_its_best_member_in_all_targets_and_seeds(given):
    x, y, lat, lon = made(0.0)
    y = np.column_stack([y, 9 * y**2, np.ones(N)])  # the last has no score
    run = evaluated((x, y, lat, lon), seeds=2, predictions=True)
    rows = run.predictions.query("target != '2'")
    rows = rows.assign(error=rows["squared_error"] / rows["target"].map(
        rows.groupby("target")["y"].var(ddof=0)))  # fmt: skip
    losses = rows.groupby(["id", "subset"])["error"].sum().unstack()
    (found,) = given
    np.testing.assert_allclose(found[2], shares(losses), atol=1e-9)
    np.testing.assert_array_equal(found[:2], [lat, lon])


def test_differences_of_classes_are_of_log_losses_or_of_misses(given):
    x, y, lat, lon = made(0.0)
    usual = np.where(y > 0, "up", "down").astype(object)
    labels = usual.copy()
    labels[:60] = "rare"  # as many classes as below, so that nothing is compiled twice
    with quickly_compiled():
        run = evaluated((x, labels, lat, lon), predictions=True)
    own = run.predictions.query("y == 1")
    losses = own.assign(loss=-np.log(own["prediction"]))
    losses = losses.groupby(["id", "subset"])["loss"].sum().unstack()
    np.testing.assert_allclose(given.pop()[2], shares(losses), atol=1e-6)
    labels[1:60] = usual[1:60]  # the last one is absent where it is tested: an infinite log-loss
    with quickly_compiled():
        evaluated((x, labels, lat, lon), predictions=True)
    (found,) = given
    assert len(np.unique(found[2])) <= 4 and np.isfinite(found[2]).all()


def test_one_embedding_alone_has_its_losses(given):
    x, y, lat, lon = made(0.0)
    run = evaluated(({"a": x["a"]}, y, lat, lon), predictions=True)
    losses = run.predictions["squared_error"].to_numpy()
    np.testing.assert_allclose(given.pop()[2], losses / losses.mean(), atol=1e-9)


def test_a_constant_target_has_no_range():
    x, _, lat, lon = made(0.0)
    run = evaluated((x, np.full(N, 2.7), lat, lon))
    assert np.isnan(run.manifest["tasks"]["y"]["correlation_km"])
    assert "correlation: undefined, losses differ between no rows" in " ".join(str(run).split())
