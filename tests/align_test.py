"""Which rows a task ends up with, what is shared between tasks, and arrays as input."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_tables import N, labels, study, vectors, write

from ecjax.align import align, check_rows, class_notes
from ecjax.arrays import Task, align_arrays
from ecjax.coordinates import Coordinates
from ecjax.errors import InputError
from ecjax.notes import constant_columns, in_words, near_neighbours, shared_vectors
from ecjax.study import read_study

X = np.random.default_rng(1).normal(size=(N, 4))
Z = np.random.default_rng(2).normal(size=(N, 3)).astype(np.float32)
Y = np.random.default_rng(3).normal(size=N)


def aligned(path):
    return align(read_study(path))


def test_rows_keep_the_task_tables_order(tmp_path):
    task = labels().sample(frac=1, random_state=2)
    write(task, tmp_path / "labels.csv")
    write(vectors(4, seed=1), tmp_path / "a.parquet")
    (found,) = aligned(study(tmp_path, task_keys='lat = "lat"\nlon = "lon"\ngroup = "crop"'))
    assert list(found.ids) == list(task["id"])
    assert (found.y[:, 0] == task["height"]).all() and (found.lat == task["lat"]).all()
    assert list(found.group) == list(task["crop"])
    expected = vectors(4, seed=1).set_index("id").loc[task["id"]].to_numpy()
    assert (found.embeddings["a"] == expected).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**20))
def test_the_common_rows_are_those_that_every_table_has(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("study")
    a, b, task = vectors(4, seed=1), vectors(3, seed=2), labels()
    a = a.iloc[np.sort(rng.permutation(N)[: rng.integers(30, N + 1)])].copy()
    b = b.sample(frac=0.9, random_state=seed)
    a.loc[rng.choice(a.index, 3, replace=False), "emb_1"] = np.nan
    b.loc[rng.choice(b.index, 2, replace=False), "emb_0":] = -9999
    task.loc[rng.choice(N, 4, replace=False), "height"] = np.nan
    for name, table in (("a.parquet", a), ("b.csv", b), ("labels.csv", task)):
        write(table, folder / name)
    (found,) = aligned(study(folder))
    good = task.dropna(subset="height")[["id", "height"]]
    good = good.merge(a.dropna(), on="id").merge(b[b["emb_0"] != -9999], on="id")
    assert list(found.ids) == list(good["id"])
    assert (found.embeddings["b"][:, 2] == good["emb_2_y"]).all()
    counts = {(note.source, note.reason): note.count for note in found.notes}
    assert counts["task table", "missing target"] == 4
    assert counts.get(("a", "id absent"), 0) == N - len(a)


def test_every_table_is_read_once_and_samples_are_shared(tmp_path, monkeypatch):
    import ecjax.align as module

    read = []
    monkeypatch.setattr(
        module, "read_embedding", lambda s, f=module.read_embedding: read.append(s.name) or f(s)
    )
    gap = labels()
    gap.loc[3, "height"] = np.nan
    write(gap, tmp_path / "gap.csv")
    path = study(tmp_path)
    with path.open("a") as stream:
        for name, table, target in (
            ("u", "labels.csv", "lat"),
            ("v", "gap.csv", "height"),
            ("w", "gap.csv", "lat"),
        ):
            stream.write(
                f'[tasks.{name}]\npath = "{table}"\ntarget = "{target}"\nkind = "regression"\n'
            )
    t, u, v, w = aligned(path)
    assert read == ["a", "b"]
    assert [task.sample for task in (t, u, v, w)] == [0, 0, 1, 0]
    assert t.embeddings["a"] is u.embeddings["a"] is w.embeddings["a"]
    assert len(v.ids) == N - 1 and list(v.embeddings) == ["a", "b"]


PLACE = '[embeddings.place]\nsource = "coordinates"\n'
HERE = 'lat = "lat"\nlon = "lon"\n'


def of_places(folder, keys="", task=None, own=""):
    """A study of embeddings a and b and place, with the labels `task`."""
    if task is not None:
        write(task, folder / "labels.csv")
    path = study(folder, task_keys=HERE + own)
    path.write_text(f"{path.read_text()}{PLACE}{keys}\n")
    return path


def test_an_embedding_of_the_coordinates(tmp_path):
    task = labels().sample(frac=1, random_state=2)
    write(vectors(4, seed=1).iloc[5:], tmp_path / "a.parquet")
    (found,) = aligned(of_places(tmp_path, "degree = 3", task))
    assert list(found.embeddings) == ["a", "b", "place"] and len(found.ids) == N - 5
    expected = Coordinates(degree=3).encode(found.lat, found.lon)
    assert (found.embeddings["place"] == expected).all() and expected.shape == (N - 5, 15)
    assert found.built_in == {"place": Coordinates(degree=3)}
    assert not [note for note in found.notes if note.source == "place"]
    assert found.embeddings["place"].dtype == np.float64
    words = "from the coordinates: spherical harmonics of degree 1 to 3"
    assert words in found.read["place"].columns


def test_no_place_is_a_masked_row_or_a_leak(tmp_path):
    """All 0 and all -1 are places, sorted ones too; a target may follow from the place."""
    rows = labels().sort_values("lat").reset_index(drop=True)
    rows[["lat", "lon"]] = rows[["lat", "lon"]].astype(float)
    rows.loc[30, ["lat", "lon"]] = 0.0
    rows.loc[29, ["lat", "lon"]] = -1.0
    rows["height"] = rows["lat"]
    (found,) = aligned(of_places(tmp_path, 'encoding = "latlon"', rows))
    assert len(found.ids) == N
    assert (found.embeddings["place"] == rows[["lat", "lon"]].to_numpy()).all()
    assert [note.reason for note in found.notes] == []


def test_the_coordinates_in_a_table_are_a_leak_still(tmp_path):
    write(vectors(3, seed=2).assign(emb_1=labels()["lat"]), tmp_path / "b.csv")
    with pytest.raises(InputError, match="is the coordinate lat"):
        aligned(of_places(tmp_path))


def test_tasks_at_the_same_places_share_what_is_made_of_them(tmp_path):
    path = of_places(tmp_path)
    more = '[tasks.{}]\npath = "labels.csv"\ntarget = "height"\nkind = "regression"\n' + HERE
    own = "embeddings = { place = { degree = 2 } }\n"
    path.write_text(path.read_text() + more.format("u") + more.format("v") + own)
    t, u, v = aligned(path)
    assert (t.sample, u.sample, v.sample) == (0, 0, 1)
    assert t.embeddings["place"] is u.embeddings["place"]
    assert v.embeddings["place"].shape == (N, 8)


@pytest.mark.parametrize(("column", "value"), [("lat", np.nan), ("lat", 91.0), ("lon", 181.0)])
def test_coordinates_that_are_none_are_refused(tmp_path, column, value):
    task = labels()
    task.loc[7, column] = value
    with pytest.raises(InputError, match=f'"{column}".*missing or outside.*at id "107"'):
        aligned(of_places(tmp_path, task=task))


def test_coordinates_under_two_names(tmp_path):
    path = of_places(tmp_path)
    path.write_text(path.read_text() + PLACE.replace("place", "where") + "degree = 9\n")
    assert len(aligned(path)[0].embeddings) == 4
    path.write_text(path.read_text().replace("degree = 9", "degree = 10"))
    with pytest.raises(InputError, match='"place" and "where" are one table under two names'):
        aligned(path)


def test_coordinates_with_arrays():
    lat, lon = labels()["lat"], labels()["lon"]
    place = Coordinates("latlon")
    (found,) = align_arrays({"a": X, "p": place}, {"t": Task(Y, lat=lat, lon=lon)})
    assert (found.embeddings["p"] == np.stack([lat, lon], 1)).all()
    assert found.built_in == {"p": place}
    with pytest.raises(InputError, match=r'"t".*"p" is made.*ecjax.Task\(y, lat=lat, lon=lon\)'):
        align_arrays({"a": X, "p": place}, {"t": Y})
    other = Task(Y, embeddings={"a": X, "p": Z}, lat=lat, lon=lon)
    with pytest.raises(InputError, match='task "u": embedding "p".*one thing'):
        align_arrays({"a": X, "p": place}, {"t": Task(Y, lat=lat, lon=lon), "u": other})
    own = Task(Y, embeddings={"a": X, "p": Coordinates(degree=2)}, lat=lat, lon=lon)
    t, u = align_arrays({"a": X, "p": place}, {"t": Task(Y, lat=lat, lon=lon), "u": own})
    assert (t.embeddings["p"].shape[1], u.embeddings["p"].shape[1]) == (2, 8)


def test_a_task_with_a_table_of_its_own(tmp_path):
    other = vectors(6, seed=8)
    write(other, tmp_path / "own.csv")
    path = study(tmp_path, task_keys='embeddings = { a = "own.csv" }')
    assert aligned(path)[0].embeddings["a"].shape == (N, 6)


def test_classes_are_sorted_and_coded(tmp_path):
    (found,) = aligned(study(tmp_path, target="crop", kind="classification"))
    assert found.classes == ("maize", "rice", "rye", "wheat") and found.y.dtype == np.int32
    assert [found.classes[code] for code in found.y] == list(labels()["crop"])


def test_a_class_of_dropped_rows_only_is_no_class(tmp_path):
    write(labels().assign(crop=["oats"] * 2 + ["rye", "rice"] * 29), tmp_path / "labels.csv")
    write(vectors(4, seed=1).iloc[2:], tmp_path / "a.parquet")
    (found,) = aligned(study(tmp_path, target="crop", kind="classification"))
    assert found.classes == ("rice", "rye") and set(found.y) == {0, 1}


def test_few_members():
    (task,) = align_arrays({"a": X, "b": Z}, {"t": ["u"] * 4 + ["v"] * 6 + ["w"] * 50})
    (note,) = class_notes(task, 5)
    assert (note.reason, note.count, note.first) == ("few members", 1, "u")
    assert class_notes(task, 7)[0].count == 2 and class_notes(task, 4) == []
    (regression,) = align_arrays({"a": X}, {"t": Y})
    assert class_notes(regression, 20) == []


def test_check_rows_with_hardly_any_row():
    (task,) = align_arrays({"a": X[:3]}, {"t": Y[:3]})
    with pytest.raises(InputError, match="3 rows for --folds=2.*use more rows"):
        check_rows(task, 2)


# Arrays


def test_arrays_are_used_as_they_are():
    (task,) = align_arrays({"a": X, "b": Z}, {"t": Y})
    assert task.embeddings["a"] is X and task.embeddings["b"].dtype == np.float32
    assert task.targets == ("t",) and task.kind == "regression" and task.classes == ()
    assert (task.y == Y[:, None]).all() and (task.ids == np.arange(N)).all()


@pytest.mark.parametrize(
    ("y", "targets"),
    [
        (np.stack([Y, Y**2], axis=1), ("t_0", "t_1")),
        (pd.DataFrame({"height": Y, "area": Y**2}, index=np.arange(N) * 7), ("height", "area")),
        (pd.Series(Y, name="height", index=np.arange(N) * 7), ("t",)),
        (list(Y), ("t",)),
        (Y.astype(np.float32)[:, None], ("t",)),
    ],
)
def test_forms_of_regression_targets(y, targets):
    (task,) = align_arrays({"a": X}, {"t": y})
    assert task.targets == targets and task.y.dtype == np.float64
    assert task.y.shape == (N, len(targets)) and np.allclose(task.y[:, 0], Y)


@pytest.mark.parametrize(
    "y",
    [
        np.where(Y > 0, "up", "down"),
        np.where(Y > 0, "up", "down").astype(object),
        list(np.where(Y > 0, "up", "down")),
        pd.Categorical(np.where(Y > 0, "up", "down"), categories=["up", "down", "never"]),
        pd.Series(np.where(Y > 0, "up", "down"), index=np.arange(N) * 7),
    ],
)
def test_forms_of_class_labels(y):
    (task,) = align_arrays({"a": X}, {"t": y})
    assert task.kind == "classification" and task.classes == ("down", "up")
    assert (task.y == (Y > 0)).all()


def test_booleans_are_classes():
    (task,) = align_arrays({"a": X}, {"t": Y > 0})
    assert task.classes == ("False", "True") and (task.y == (Y > 0)).all()


def test_integers_are_ambiguous():
    counts = np.arange(N) % 5
    with pytest.raises(InputError, match='kind="regression" or kind="classification"'):
        align_arrays({"a": X}, {"t": counts})
    (task,) = align_arrays({"a": X}, {"t": Task(counts, kind="regression")})
    assert task.y.dtype == np.float64
    (task,) = align_arrays({"a": X}, {"t": Task(counts, kind="classification")})
    assert task.classes == ("0", "1", "2", "3", "4")


def test_rows_ids_and_embeddings_of_its_own():
    own = Task(
        Y[:20],
        embeddings={"b": Z[20:40], "a": X[40:]},
        id=[f"p{i}" for i in range(20)],
        lat=X[:20, 0],
        lon=X[:20, 1],
        group=["g"] * 20,
    )
    t, u = align_arrays({"a": X, "b": Z}, {"t": Y, "u": own})
    assert list(u.embeddings) == ["a", "b"] and u.ids[3] == "p3" and u.ids.dtype == object
    assert (u.embeddings["a"] == X[40:]).all() and list(u.group) == ["g"] * 20
    assert u.lat.dtype == np.float64 and (t.sample, u.sample) == (0, 1)


def test_every_task_may_bring_its_own():
    (task,) = align_arrays(None, {"t": Task(Y, embeddings={"b": Z, "a": X})})
    assert list(task.embeddings) == ["b", "a"]


def test_tasks_on_the_same_arrays_share_a_sample():
    gap = np.where(np.arange(N) == 3, np.nan, Y)
    t, u, v, w = align_arrays(
        {"a": X, "b": Z}, {"t": Y, "u": Y**2, "v": gap, "w": Task(Y, id=np.arange(N) + 5)}
    )
    assert (t.sample, u.sample, v.sample, w.sample) == (0, 0, 1, 2)
    assert t.embeddings["b"] is u.embeddings["b"] and len(v.ids) == N - 1


def test_data_frames_of_embeddings_name_their_columns():
    frame = pd.DataFrame(X, columns=["p", "q", "r", "id"])
    with pytest.raises(InputError, match='feature column "id"'):
        align_arrays({"a": frame}, {"t": Y})
    (task,) = align_arrays({"a": frame.rename(columns={"id": "s"})}, {"t": Y})
    assert (task.embeddings["a"] == X).all()


def test_half_precision_and_other_orders_are_converted():
    (task,) = align_arrays({"a": X.astype(np.float16), "b": np.asfortranarray(Z)}, {"t": Y})
    assert task.embeddings["a"].dtype == np.float32
    assert task.embeddings["b"].flags.c_contiguous and (task.embeddings["b"] == Z).all()


@pytest.mark.parametrize(
    ("embeddings", "tasks", "words"),
    [
        ({"a": X[:50]}, {"t": Y}, ('"a" (array)', "50 rows", 'task "t" has 60', "same place")),
        ({"a": Y}, {"t": Y}, ('"a" (array)', "shape (60,) instead of (n, p)")),
        (
            {"a": [[1.0], [2.0, 3.0], [4.0], []]},
            {"t": Y},
            (
                '"a" (array)',
                "2 rows of another length than 1, first 2 at id",
                '"1"',
                "equal length",
            ),
        ),
        ({"a": [[[1.0]], [2.0]]}, {"t": Y}, ('"a" (array)', "no full array", "equal length")),
        ({"a": X.astype(str)}, {"t": Y}, ('"a" (array)', "240 values that are no numbers", "a[0]")),
        ({"a": [[1.0, None], [2, "?"]]}, {"t": [1.0, 2.0]}, ("1 value", '"?"', "a[1]", 'id "1"')),
        ({"a": X > 0}, {"t": Y}, ("values of type bool are no numbers",)),
        ({"a": np.where(X > 2, np.inf, X)}, {"t": Y}, ('"a" (array)', "infinite", "a[")),
        ({"a": X, "b": X.astype("f4")}, {"t": Y}, ('"a" and "b"', "one table under two names")),
        (
            {"a": np.column_stack([X, Y])},
            {"t": Y},
            ('column "a[4]"', "the target t", "from the array"),
        ),
        ({"a": np.column_stack([X, range(N)])}, {"t": Y}, ('column "a[4]"', "the id")),
        ({"a": X}, {"t": Task(Y, lat=X[:, 0])}, ("lat and lon", "give both")),
        ({"a": X}, {"t": Task(Y, id=[1] * N)}, ("id: 1 duplicate id", '"1"', "60 rows")),
        ({"a": X}, {"t": Task(Y, id=Y)}, ("id is of type float64", "whole numbers or text")),
        ({"a": X}, {"t": Task(Y, id=["a", None] * 30)}, ("30 null ids", "row 2")),
        ({"a": X}, {"t": Task(Y, group=["g"])}, ("group has 1 row", "y has 60")),
        ({"a": X}, {"t": Task(Y, kind="regresion")}, ('did you mean "regression"?',)),
        ({"a": X}, {"t": Task(Y, embeddings={"b": Z})}, ("differ in", '"b", "a"')),
        ({"a": X}, {"t": Y.astype("datetime64[s]")}, ("neither floats",)),
        ({"a": X}, {"t": np.where(Y > 1, np.inf, Y)}, ("infinite value", "at id")),
        ({"a": X}, {"t": []}, ("y is empty",)),
        ({"a": X}, {}, ("at least one entry",)),
        ({}, {"t": Y}, ("0 embeddings", "1 to 10")),
        ({"a": X}, {"t": pd.DataFrame({"u": Y, "v": ["x"] * N})}, ("make a task of each",)),
    ],
)
def test_unusable_arrays_are_named(embeddings, tasks, words):
    with pytest.raises(InputError) as caught:
        align_arrays(embeddings, tasks)
    for word in words:
        assert word in str(caught.value), str(caught.value)


# Notes


def test_what_longitudes_beyond_180_may_be():
    east = np.linspace(0, 350, N)
    gaps = np.where(np.arange(N) == 4, np.nan, np.linspace(0, 170, N))
    for lon, said in ((east, True), (east - 200, False), (gaps, False)):
        with pytest.raises(InputError) as caught:
            align_arrays({"a": X}, {"t": Task(Y, lat=np.zeros(N), lon=lon)})
        assert ("from 0 to 360: subtract 360" in str(caught.value)) == said


def test_a_value_that_may_stand_for_none_is_told():
    for value, others, said in ((-999, Y, True), (-999, 900 * Y, False), (-5, Y, False)):
        y = np.where(np.isin(np.arange(N), [4, 9]), value, others)
        (found,) = align_arrays({"a": X}, {"t": Task(y)})
        told = [in_words(note) for note in found.notes if "missing = [-999]" in note.reason]
        assert len(told) == said
    (found,) = align_arrays({"a": X}, {"t": Task(np.where(np.arange(N) == 4, -9999, Y))})
    assert '1 row with -9999 as "t", far from all others' in in_words(found.notes[0])


def test_shared_vectors_are_counted_with_all_of_their_rows():
    for dtype in (np.float32, np.float64):
        matrix = np.random.default_rng(0).normal(size=(300, 50)).astype(dtype)
        matrix[[5, 90, 200]] = matrix[17]
        matrix[40] = matrix[41]
        matrix[60] = matrix[61]
        matrix[60, 33] += 0.5  # alike but for one
        assert list(np.flatnonzero(shared_vectors(matrix))) == [5, 17, 40, 41, 90, 200]
    assert not shared_vectors(np.random.default_rng(0).normal(size=(300, 1))).any()
    assert shared_vectors(np.zeros((5, 3))).all()


def test_near_neighbours_against_the_haversine_formula():
    rng = np.random.default_rng(0)
    lat = np.concatenate([rng.uniform(-0.1, 0.1, 150), rng.uniform(89.9, 90, 50)])
    lon = np.concatenate([rng.uniform(179.9, 180, 75), rng.uniform(-180, -179.9, 75)])
    lon = np.concatenate([lon, rng.uniform(-180, 180, 50)])
    phi, lam = np.radians(lat), np.radians(lon)
    half = np.sin((phi[:, None] - phi) / 2) ** 2
    half += np.cos(phi)[:, None] * np.cos(phi) * np.sin((lam[:, None] - lam) / 2) ** 2
    distance = 2 * 6371 * np.arcsin(np.sqrt(half)) + 1e9 * np.eye(200)
    expected = distance.min(axis=1) < 1
    assert 10 < expected.sum() < 190 and (near_neighbours(lat, lon) == expected).all()


def test_constant_columns():
    matrix = np.random.default_rng(0).normal(size=(30, 6))
    matrix[:, 2] = 7
    matrix[:29, 4] = 7
    matrix[12:, 1] = 7
    assert list(constant_columns(matrix, np.arange(30))) == [2]
    assert list(constant_columns(matrix, np.arange(29))) == [2, 4]
    assert list(constant_columns(matrix, np.arange(12, 30))) == [1, 2]
