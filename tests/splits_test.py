"""Splits of tasks: what no row of training may be, the same fits one at a time, and refusals."""

import dataclasses

import jax
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import quickly_compiled

import ecjax
from ecjax import engine, sphere
from ecjax.align import AlignedTask
from ecjax.arrays import align_arrays
from ecjax.evaluate import Run
from ecjax.notes import CONSTANT_IN_FOLD, NEAR_IN_TRAINING
from ecjax.pieces import group_samples
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.progress import Silent
from ecjax.settings import Settings, from_arguments, sweep
from ecjax.splits import constant_notes, fold_notes, folds_of

CPU = jax.devices("cpu")[0]
MANY = settings(deadline=None, max_examples=60, derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def task_of(n=None, kind="regression", **columns):
    """A task of one column of numbers; ids are 3, 10, 17, …"""
    n = n or len(next(iter(columns.values())))
    labels = columns.pop("labels", None)
    classes = () if labels is None else tuple(f"c{code}" for code in range(labels.max() + 1))
    given = {"lat": None, "lon": None, "group": None} | columns
    return AlignedTask(
        name="t",
        where='task "t"',
        kind=kind,
        ids=np.arange(n) * 7 + 3,
        targets=("t",),
        y=np.arange(n, dtype=float)[:, None] if labels is None else labels,
        classes=classes,
        embeddings={"a": np.ones((n, 1))},
        sample=0,
        notes=(),
        **given,
    )


def in_order(task, order):
    """The same task, its rows in another order."""
    fields = ("ids", "y", "lat", "lon", "group", "split")
    values = {name: getattr(task, name) for name in fields}
    found = {name: value[order] for name, value in values.items() if value is not None}
    return dataclasses.replace(task, **found)


def by_id(task, folds):
    """For each seed and fold, the ids that it scores and those that it is trained on."""
    every = set(task.ids.tolist())
    tested = folds.held_out if folds.scored is None else folds.scored

    def ids(rows):
        return {int(task.ids[row]) for row in rows if row < len(task.ids)}

    return [
        [(ids(own), every - ids(out)) for own, out in zip(*of_seed, strict=True)]
        for of_seed in zip(tested, folds.held_out, strict=True)
    ]


def places(draw_seed, n, where):
    """Clusters and single places; around the date line, a pole, or anywhere."""
    rng = np.random.default_rng(draw_seed)
    centre = rng.normal(size=(8, 3))
    if where == "date line":
        centre = np.stack([-np.ones(8), 0.02 * rng.normal(size=8), 0.4 * rng.normal(size=8)], 1)
    if where == "pole":
        sign = rng.choice([-1, 1])
        centre = np.column_stack([0.03 * rng.normal(size=(8, 2)), sign * np.ones(8)])
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    spread = 10.0 ** rng.uniform(-4, -1.5, size=(n, 1))
    xyz = centre[rng.integers(0, 8, n)] + spread * rng.normal(size=(n, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    return np.degrees(np.arcsin(xyz[:, 2])), np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))


@MANY
@given(
    st.integers(0, 2**31),
    st.integers(30, 120),
    st.integers(2, 5),
    st.sampled_from(["date line", "pole", "anywhere"]),
    st.floats(5, 300),
    st.floats(0.5, 3_000),
)
def test_no_training_row_lies_within_the_buffer(seed, n, folds, where, block, buffer):
    lat, lon = places(seed, n, where)
    task = task_of(lat=lat, lon=lon)
    asked = Settings(
        split="spatial", folds=folds, seed=seed, block_km=block, buffer_km=buffer, protocol="paper"
    )
    try:
        found = folds_of(task, asked)
    except ecjax.InputError as error:
        assert "leaves no row to train on" in str(error) or "too few for --folds" in str(error)
        return
    km = reference.great_circle_km(lat[:, None], lon[:, None], lat, lon)
    place = {id_: row for row, id_ in enumerate(task.ids.tolist())}
    (of_seed,) = by_id(task, found)
    assert sorted(i for own, _ in of_seed for i in own) == task.ids.tolist()
    for own, training in of_seed:
        own, training = ([place[i] for i in some] for some in (own, training))
        others = np.setdiff1d(np.arange(n), own)
        nearest = km[np.ix_(others, own)].min(1)
        assert km[np.ix_(training, own)].min() > buffer - 1e-6
        # And no row further away is lost.
        assert set(others[nearest > buffer + 1e-6]) <= set(training)
    order = np.random.default_rng(seed).permutation(n)
    turned = in_order(task, order)
    assert by_id(turned, folds_of(turned, asked)) == [of_seed]


@MANY
@given(
    st.lists(st.integers(0, 12), min_size=30, max_size=90),
    st.integers(2, 6),
    st.integers(0, 2**31),
    st.sampled_from(["stratified", "group", "hash", "column", "leave one out"]),
)
def test_folds_are_the_same_for_any_row_order(values, folds, seed, split):
    values = np.array(values)
    labels = np.array([f"v{v}" for v in values], object)
    codes = np.unique(values, return_inverse=True)[1].astype(np.int32)
    task = task_of(group=labels, split=labels, labels=codes, kind="classification")
    if split == "leave one out":
        asked = Settings(split="group", folds=0, seed=seed, protocol="paper")
    else:
        asked = Settings(
            split=split,
            folds=folds,
            seed=seed,
            seeds=1 if split == "column" else 2,
            protocol="paper",
        )
    try:
        found = by_id(task, folds_of(task, asked))
    except ecjax.InputError:
        fewest = min(np.bincount(codes)) if split == "stratified" else len(set(values))
        assert fewest < folds or split == "hash"
        return
    turned = in_order(task, np.random.default_rng(seed).permutation(len(values)))
    assert by_id(turned, folds_of(turned, asked)) == found
    for of_seed in found:
        assert sorted(i for own, _ in of_seed for i in own) == task.ids.tolist()
        for own, training in of_seed:
            assert own | training == set(task.ids.tolist()) and not own & training
            if split in ("group", "column", "leave one out"):
                of_row = dict(zip(task.ids.tolist(), labels, strict=True))
                assert not {of_row[i] for i in own} & {of_row[i] for i in training}


def test_blocks_are_dealt_evenly_where_none_is_large():
    rng = np.random.default_rng(0)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, 3_000))), rng.uniform(-180, 180, 3_000)
    task = task_of(lat=lat, lon=lon)
    found = folds_of(
        task, Settings(split="spatial", folds=20, block_km=500, seeds=3, protocol="paper")
    )
    assert np.abs(found.sizes / 150 - 1).max() < 0.02
    assert (found.fold_of_row()[0] != found.fold_of_row()[1]).mean() > 0.8


def test_train_and_test_are_one_fold():
    values = np.array(["train", "test", "trainval", "test", "train", "train"], object)
    found = folds_of(task_of(split=values), Settings(split="column", protocol="paper"))
    assert by_id(task_of(split=values), found) == [[({10, 24}, {3, 17, 31, 38})]]
    assert found.sizes.tolist() == [[2]] and found.training.tolist() == [[4]]
    numbers = np.array([10, 9, 10, 2, 9, 2], object)
    found = folds_of(task_of(split=numbers), Settings(split="column", protocol="paper"))
    assert found.fold_of_row().tolist() == [[2, 1, 2, 0, 1, 0]] and found.scored is None


# Fits, one at a time


N, K = 75, 4
WIDTHS = {"a": 5, "b": 3}


@pytest.fixture(scope="module")
def world():
    """Embeddings, targets (n, 2), labels, places of 12 clusters, and train or test."""
    rng = np.random.default_rng(7)
    embeddings = {name: rng.normal(size=(N, width)) for name, width in WIDTHS.items()}
    signal = sum(x[:, :1] for x in embeddings.values())
    centre = np.column_stack([rng.uniform(-2, 2, 12), rng.uniform(178, 182, 12)])
    lat, lon = (centre[rng.integers(0, 12, N)] + 0.2 * rng.normal(size=(N, 2))).T
    return {
        "embeddings": embeddings,
        "y": 3 * (signal + rng.normal(size=(N, 2))) + 10,
        "labels": np.array(list("uvw"))[np.digitize(signal[:, 0] + rng.normal(size=N), [-1, 1])],
        "lat": lat,
        "lon": (lon + 180) % 360 - 180,
        "split": np.where(rng.random(N) < 0.4, "test", "train"),
    }


ASKED = {
    "spatial": {"split": "spatial", "folds": K, "seeds": 2, "block_km": 60, "buffer_km": 25},
    "column": {"split": "column"},
}


def one_at_a_time(world, asked, folds):
    """For each seed and fold (training rows, scored rows), found without ecjax's buffer."""
    if asked["split"] == "column":
        return [[(np.flatnonzero(world["split"] == v) for v in ("train", "test"))]]
    km = reference.great_circle_km(
        world["lat"][:, None], world["lon"][:, None], world["lat"], world["lon"]
    )
    found = []
    for fold_of_row in folds.fold_of_row():
        own = [np.flatnonzero(fold_of_row == k) for k in range(K)]
        found.append([(np.flatnonzero(km[:, rows].min(1) > 25), rows) for rows in own])
    dropped = [N - len(training) - len(rows) for training, rows in found[0]]
    assert min(dropped) >= 0 and max(dropped) > 5
    return found


def sums_of(world, asked, route):
    """The regression sums by one route, and the folds."""
    columns = {key: world[key] for key in ("lat", "lon", "split")}
    tasks = align_arrays(world["embeddings"], {"t": ecjax.Task(world["y"], **columns)})
    precision = "float32" if route == "refined" else "float64"
    chosen = from_arguments(
        {"protocol": "paper", **asked, "precision": precision, "predictions": True}
    )
    plan = make_plan(tasks, chosen, CPU, "hat" if route == "hat" else "gram")
    (piece,) = plan.chunks[0]
    program = plan.program(piece, True)
    assert (program.hat is not None) == (route == "hat")
    if route != "host":
        program = dataclasses.replace(program, on_host=False)
    with jax.enable_x64(True):
        penalties = Penalties(*(np.float64(v) for v in (1, 1, 1e-5)))
        (sums,) = jax.device_get(engine.study((program,), (plan.data(piece),), penalties))
    return sums.regression, plan.folds[0]


@pytest.mark.parametrize("split", ASKED)
@pytest.mark.parametrize("route", ["host", "compiled", "hat", "refined"])
def test_ridge_equals_fits_without_the_dropped_rows(world, split, route):
    asked = ASKED[split]
    sums, folds = sums_of(world, asked, route)
    scale = reference.StandardScaler().fit(world["y"])
    y = scale.transform(world["y"])
    bound = 1e-7 if route == "refined" else 1e-10
    for r, of_seed in enumerate(one_at_a_time(world, asked, folds)):
        for k, (training, rows) in enumerate(of_seed):
            assert sums.count[r, k] == len(rows) == folds.sizes[r, k]
            assert folds.training[r, k] == len(training)
            np.testing.assert_allclose(sums.spread[r, k], y[rows].var(0) * len(rows), rtol=1e-10)
            for s, subset in enumerate(reference.all_subsets(WIDTHS)):
                x = reference.columns_of(world["embeddings"], subset)
                predicted = reference.ridge_predictions(x, y, training, rows, 1.0)
                squares = ((y[rows] - predicted) ** 2).sum(0)
                np.testing.assert_allclose(sums.squared_error[r, s, k], squares, rtol=10 * bound)
                found = scale.transform(sums.predictions[r, s, rows])
                np.testing.assert_allclose(found, predicted, rtol=0, atol=bound)
    scored = folds.fold_of_row()[0] >= 0
    np.testing.assert_allclose(sums.pooled_spread, y[scored].var(0) * scored.sum(), rtol=1e-10)


@pytest.mark.parametrize("split", ASKED)
@pytest.mark.parametrize("route", ["host", "compiled"])
def test_inner_fits_never_see_the_dropped_rows(world, split, route):
    sums, folds = sums_of(world, ASKED[split] | {"protocol": "strict"}, route)
    scale = reference.StandardScaler().fit(world["y"])
    y = scale.transform(world["y"])
    row_error = np.zeros(sums.row_error.shape)
    for r, of_seed in enumerate(one_at_a_time(world, ASKED[split], folds)):
        outer = [tuple(pair) for pair in of_seed]
        for s, subset in enumerate(reference.all_subsets(WIDTHS)):
            expected = reference.nested_ridge(
                world["embeddings"], subset, y, outer, 42 + r, 5,
                lambda n: n * 10.0 ** np.arange(2, -4.5, -0.5),
            )  # fmt: skip
            np.testing.assert_allclose(sums.chosen[r, s, :, 0, 0], expected.chosen, rtol=1e-12)
            least = sums.inner_loss[r, s].sum(1)
            np.testing.assert_allclose(least, expected.inner_loss, rtol=1e-9)
            squares = np.nan_to_num((y - expected.predictions) ** 2)
            row_error[:, :, s] += squares.T
            for k, (_, rows) in enumerate(outer):
                np.testing.assert_allclose(sums.squared_error[r, s, k], squares[rows].sum(0), 1e-9)
    np.testing.assert_allclose(sums.row_error, row_error, rtol=0, atol=1e-9)


@pytest.mark.parametrize("split", ASKED)
def test_logistic_equals_fits_without_the_dropped_rows(world, split):
    columns = {key: world[key] for key in ("lat", "lon", "split")}
    result = ecjax.evaluate(
        world["embeddings"],
        {"t": ecjax.Task(world["labels"], **columns)},
        logistic_tolerance=1e-9,
        predictions=True,
        protocol="paper",
        **ASKED[split],
    )
    tasks = align_arrays(world["embeddings"], {"t": ecjax.Task(world["labels"], **columns)})
    folds = folds_of(tasks[0], from_arguments({"protocol": "paper"} | ASKED[split]))
    classes = np.unique(world["labels"])
    for r, of_seed in enumerate(one_at_a_time(world, ASKED[split], folds)):
        for k, (training, rows) in enumerate(of_seed):
            for subset in reference.all_subsets(WIDTHS):
                x = reference.columns_of(world["embeddings"], subset)
                expected = reference.logistic_probabilities(
                    x, world["labels"], classes, training, rows, 1.0
                )
                own = f"subset == @subset and fold == {k} and seed == {42 + r}"
                here = result.predictions.query(own)
                found = here.pivot(index="id", columns="target", values="prediction")
                assert found.index.tolist() == rows.tolist()
                np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
                score = result.folds.query(f"{own} and metric == 'log_loss'")
                truth = (world["labels"][rows][:, None] == classes).argmax(1)
                loss = -np.log(expected[np.arange(len(rows)), truth]).mean()
                assert score["score"].item() == pytest.approx(loss, abs=1e-6)
                assert score["n_train"].item() == len(training)


# Tables


def evaluated(world, split, **arguments):
    columns = {key: world[key] for key in ("lat", "lon", "split")}
    tasks = {"t": ecjax.Task(world["y"], **columns)}
    return ecjax.evaluate(
        world["embeddings"], tasks, protocol="paper", **(ASKED[split] | arguments)
    )


@pytest.mark.parametrize(
    ("split", "more"),
    [
        ("hash", {"folds": 4}),
        ("spatial", {"folds": 4, "block_km": 2.0}),
        ("spatial", {"folds": 4, "block_km": 2.0, "buffer_km": 0.4}),
        ("column", {}),
    ],
)
def test_rows_near_to_one_that_their_fold_trains_on(split, more):
    rng = np.random.default_rng(4)
    lat, lon = rng.uniform(-0.06, 0.06, (2, 60))
    lat = np.concatenate([lat, lat + 0.015 * rng.uniform(size=60)])  # 0 to 1.7 km further north
    lon = np.tile(lon, 2)
    parts = np.where(np.arange(120) < 60, "train", "test").astype(object)
    task = task_of(lat=lat, lon=lon, split=parts)
    folds = folds_of(task, Settings(split=split, protocol="paper", **more))
    places = sphere.unit_vectors(lat, lon)
    near = 2 * 6371 * np.arcsin(np.linalg.norm(places[:, None] - places, axis=2) / 2) < 1
    ids = task.ids.tolist()
    expected = [
        ids.index(i)
        for tested, training in by_id(task, folds)[0]
        for i in tested
        if near[ids.index(i), [ids.index(other) for other in training]].any()
    ]
    notes = [note for note in fold_notes(task, folds) if note.reason == NEAR_IN_TRAINING]
    assert 10 < len(expected) < 110, len(expected)
    assert [(n.count, n.first) for n in notes] == [(len(expected), str(ids[min(expected)]))]


def test_columns_that_are_constant_in_a_folds_training_rows():
    x = np.random.default_rng(5).normal(size=(60, 5))
    x[:, 1], x[:, 2], x[:, 3] = 7, 7, 0
    x[8, 2] = 6  # in the held-out rows of one fold
    x[[8, 9], 3] = 1  # in those of two: each fold has one among its training rows
    where = np.arange(60) % 3
    task = dataclasses.replace(
        task_of(60, split=np.array([f"v{k}" for k in where], object)),
        embeddings={"a": x},
        columns={"a": tuple("vwxyz")},
    )
    folds = folds_of(task, Settings(split="column"))
    (note,) = constant_notes(task, folds)
    assert (note.source, note.reason, note.count, note.first) == ("a", CONSTANT_IN_FOLD, 1, "x")


def test_tables_say_what_the_buffer_dropped(world):
    result = evaluated(world, "spatial", predictions=True)
    sizes = result.folds[["n_train", "n_test", "n_dropped"]]
    assert (sizes.sum(axis=1) == N).all() and (sizes.min() >= [1, 1, 0]).all()
    most = int(result.folds.query("seed == 42")["n_dropped"].max())
    notes = {note["reason"]: note["count"] for note in result.manifest["notes"]}
    assert most > 5 and notes["dropped by buffer, at most"] == most
    assert f"dropped by buffer, at most: {most}" in str(result)
    assert "4 spatial folds" in str(result) and result.folds["fold_name"].isna().all()
    assert len(result.predictions) == 3 * 2 * 2 * N


def test_one_fold_has_no_standard_error_and_its_own_pooled_score(world):
    result = evaluated(world, "column", predictions=True)
    test = world["split"] == "test"
    assert result.scores["sem"].isna().all() and result.index["p_value"].isna().all()
    assert result.folds["n_test"].unique() == [test.sum()]
    assert result.folds["n_train"].unique() == [N - test.sum()]
    assert sorted(result.predictions["id"].unique()) == np.flatnonzero(test).tolist()
    assert (result.predictions["fold"] == 0).all()
    assert (result.folds["fold_name"] == "test").all()
    scores = result.scores.query("metric == 'r2'")
    np.testing.assert_allclose(scores["score"], scores["pooled"], rtol=0, atol=0.02)
    assert not result.undefined and "1 column fold" in str(result)


def test_constant_targets_among_the_tested_rows_are_null(world):
    y = np.where(world["split"] == "test", 4.0, world["y"][:, 0])
    task = ecjax.Task(y, split=world["split"])
    scores = ecjax.evaluate(
        world["embeddings"], {"t": task}, split="column", protocol="paper"
    ).scores
    r2 = scores.query("metric == 'r2'")
    assert r2[["score", "pooled"]].isna().all(axis=None) and r2["reason"].notna().all()
    assert scores.query("metric == 'mse'")[["score", "pooled"]].notna().all(axis=None)


def test_tasks_on_the_same_rows_may_have_other_folds(world):
    x, y, split = world["embeddings"], world["y"][:, 0], world["split"]
    other = np.roll(split, 3)
    tasks = {
        "first": ecjax.Task(y, split=split),
        "second": ecjax.Task(2 * y, split=other),
        "third": ecjax.Task(y**2, split=split),
    }
    aligned = align_arrays(x, tasks)
    assert len({task.sample for task in aligned}) == 1
    assert [len(s.tasks) for s in group_samples(aligned, "column")] == [2, 1]
    assert [len(s.tasks) for s in group_samples(aligned, "random")] == [3]
    together = ecjax.evaluate(x, tasks, split="column", protocol="paper").scores.query(
        "task == 'second'"
    )
    alone = ecjax.evaluate(x, {"second": tasks["second"]}, split="column", protocol="paper").scores
    np.testing.assert_allclose(together["score"], alone["score"], rtol=1e-12)
    classes = {"u": ecjax.Task(split, group=split), "v": ecjax.Task(other, group=other)}
    for apart in ("stratified", "group"):
        assert len(group_samples(align_arrays(x, classes), apart)) == 2


def test_groups_of_unequal_size_left_out_in_turn(world):
    group = np.array(["x"] * 40 + ["y"] * 20 + ["z"] * (N - 60))
    task = ecjax.Task(world["y"][:, 0], group=group)
    result = ecjax.evaluate(
        world["embeddings"], {"t": task}, split="group", folds=0, protocol="paper"
    )
    assert result.folds.drop_duplicates("fold")["n_test"].tolist() == [40, 20, N - 60]
    assert "uneven folds, the largest of: 40" in str(result)
    y = reference.StandardScaler().fit_transform(world["y"][:, :1])
    x = reference.columns_of(world["embeddings"], "a+b")
    for k, name in enumerate("xyz"):
        rows, training = np.flatnonzero(group == name), np.flatnonzero(group != name)
        expected = reference.ridge_predictions(x, y, training, rows, 1.0)
        found = result.folds.query(f"subset == 'a+b' and metric == 'mse' and fold == {k}")["score"]
        assert found.item() == pytest.approx(((y[rows] - expected) ** 2).mean(), abs=1e-9)
    assert result.folds["fold_name"].tolist() == list("xyz") * 6


def test_a_directory_is_of_one_split(world, tmp_path):
    evaluated(world, "spatial", out=tmp_path)
    evaluated(world, "spatial", out=tmp_path, seeds=1)
    for changes in ({"buffer_km": 20}, {"block_km": 61}):
        with pytest.raises(
            ecjax.InputError, match="this study with other settings: (buffer|block)"
        ):
            evaluated(world, "spatial", out=tmp_path, **changes)
    moved = world | {"lat": world["lat"] + 1e-3}
    with pytest.raises(ecjax.InputError, match="another study; it differs in what the folds"):
        evaluated(moved, "spatial", out=tmp_path)


def test_the_plan_counts_the_folds_there_are(world):
    columns = {key: world[key] for key in ("lat", "lon", "split")}
    tasks = align_arrays(world["embeddings"], {"t": ecjax.Task(world["y"], **columns)})

    def planned(asked):
        return Run("w", tasks, from_arguments({"protocol": "paper"} | asked), {}, Silent()).plan()

    plan = planned(ASKED["spatial"])
    found = evaluated(world, "spatial").folds
    (sample,) = plan.samples
    assert sample.folds == K and sample.tested == (found["n_test"].min(), found["n_test"].max())
    assert sample.dropped == found["n_dropped"].max()
    assert f"4 of {sample.tested[0]} to {sample.tested[1]} rows by split=spatial" in str(plan)
    words = " ".join(str(plan).split())
    assert f"the buffer drops up to {sample.dropped} rows of a fold's training; 2 seeds" in words
    (sample,) = planned(ASKED["column"]).samples
    assert sample.folds == 1


# Refusals

PLACES = {"lat": np.linspace(-60, 60, 60), "lon": np.linspace(-180, 180, 60)}
GROUPS = np.array(["g1", "g2", "g3"] * 20, object)


@pytest.mark.parametrize(
    "asked, columns, words",
    [
        ({"split": "group"}, {}, ('task "t"', "--split=group", 'group = "…"', "ecjax.Task")),
        (
            {"split": "group"},
            {"group": GROUPS},
            ("3 groups for --folds=20", "--folds=3", "--folds=0"),
        ),
        (
            {"split": "group", "folds": 0},
            {"group": np.array(["g"] * 60, object)},
            ("all rows are of one group", '"g"'),
        ),
        (
            {"split": "group", "folds": 2},
            {"group": np.where(np.arange(60) % 7 == 5, None, GROUPS)},
            ("group is null in 8 rows", 'first at id "38"'),
        ),
        (
            {"split": "group", "folds": 2},
            {"group": np.where(np.arange(60) == 9, "", GROUPS)},
            ("group is null in 1 row,", 'first at id "66"'),
        ),
        ({"split": "spatial"}, {}, ("--split=spatial needs coordinates", "lat and lon")),
        (
            {"split": "spatial", "block_km": 9_000.0},
            PLACES,
            ("blocks of --block_km=9000, too few for --folds=20", "smaller blocks"),
        ),
        (
            {"split": "spatial", "buffer_km": 19_000.0},
            PLACES,
            ("--buffer_km=19000 leaves no row to train on in fold 0 of seed 42", "smaller"),
        ),
        ({"split": "column"}, {}, ("--split=column", 'split = "…"')),
        (
            {"split": "column"},
            {"split": np.array(["train"] * 60, object)},
            ('only "train"', 'no row "test"'),
        ),
        (
            {"split": "column"},
            {"split": np.array(["test"] * 60, object)},
            ('only "test"', 'no row "train" or "trainval"'),
        ),
        (
            {"split": "column"},
            {"split": np.array(["train", "test", "val"] * 20, object)},
            ('"test", "train" beside "val"',),
        ),
        ({"split": "column"}, {"split": np.array([3] * 60, object)}, ('"3" in every row',)),
        ({"split": "column"}, {"split": np.array([None, "x"] * 30)}, ("split is null in 30 rows",)),
        (
            {"split": "stratified"},
            {"labels": np.arange(60, dtype=np.int32) // 25, "kind": "classification"},
            ('task "t": target "t" has 1 class with fewer members than --folds=20', '"c2" with 10')
            + ('at id "353"', "use --folds=10 or fewer, another --split"),
        ),
        ({"split": "hash", "folds": 30}, {}, ("none of 60 rows to fold", "--seed")),
        ({"split": "hash", "folds": 31}, {}, ("60 rows for --folds=31", "--folds=30")),
    ],
)
def test_what_a_split_lacks_is_named(asked, columns, words):
    with pytest.raises(ecjax.InputError) as caught:
        folds_of(task_of(60, **columns), Settings(protocol="paper", **asked))
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"block_km": 50}, ("block_km is for split=spatial", "leave it out")),
        ({"block_km": 100.0, "split": "group"}, ("block_km is for split=spatial",)),
        ({"buffer_km": 0}, ("buffer_km is for split=spatial",)),
        ({"split": "spatial", "block_km": 0.0}, ("block_km=0.0: give a number from 0.01",)),
        ({"split": "spatial", "buffer_km": -1}, ("buffer_km=-1: give a number from 0",)),
        ({"split": "spatial", "buffer_km": float("nan")}, ("buffer_km=nan",)),
        ({"split": "column", "folds": 5}, ("folds: with split=column the column says",)),
        ({"folds": 0}, ("folds=0: give a whole number of at least 2", "split=group")),
        ({"split": "group", "folds": 1}, ("folds=1: give a whole number of at least 2",)),
        ({"split": "group", "folds": 0, "seeds": 3}, ("seeds=3", "alike for every seed")),
        ({"split": "column", "seeds": 3}, ("seeds=3", "alike for every seed")),
        ({"split": "blocks"}, ("split=blocks is unknown", "spatial, hash, column")),
    ],
)
def test_arguments_that_a_split_has_no_use_for_are_refused(arguments, words):
    with pytest.raises(ecjax.UsageError) as caught:
        from_arguments({"protocol": "paper"} | arguments)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_sweeps_that_change_nothing_are_refused():
    with pytest.raises(ecjax.UsageError, match="folds: with split=column"):
        sweep(Settings(split="column", protocol="paper"), {"folds": (4, 5)})
    with pytest.raises(ecjax.UsageError, match="seed is swept"):
        sweep(Settings(split="group", folds=0, protocol="paper"), {"seed": (1, 2)})
    assert (
        len(sweep(Settings(split="group", protocol="paper"), {"seed": (1, 2), "folds": (2, 3)}))
        == 4
    )


def test_a_regression_has_no_strata(world):
    tasks = {"crop": world["labels"], "height": world["y"][:, 0]}
    with pytest.raises(ecjax.UsageError, match='task "height" is a regression, which has no class'):
        ecjax.evaluate(world["embeddings"], tasks, split="stratified", folds=4, protocol="paper")
