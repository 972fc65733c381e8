"""Every form that tables have in real files, with the values that are read from it."""

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_tables import N, ids_of, labels, lists, study, vectors, with_points, write_table

from ecjax.align import align
from ecjax.errors import InputError
from ecjax.study import EmbeddingSource, read_study
from ecjax.tables import read_embedding

CONTAINERS = (
    "a.csv", "a.csv.gz", "a.parquet", "a.pq", "a.arrow", "a.feather", "a.ipc", "a.stream.arrow",
    "a.npy",
)  # fmt: skip
TABLES = CONTAINERS[:-1]


def read(path, **keys):
    """The embedding in a file as the end of its name says."""
    if path.suffix == ".npy":
        keys |= {"ids": (ids_of(path),)}
    return read_embedding(EmbeddingSource("a", path, (path,), **keys))


def aligned(folder, **keys):
    (task,) = align(read_study(study(folder, **keys)))
    return task


def refused(folder, *words, **keys):
    with pytest.raises(InputError) as caught:
        aligned(folder, **keys)
    for word in words:
        assert word in str(caught.value), str(caught.value)


# Containers


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("text", [False, True])
def test_a_table_comes_back_as_written(tmp_path, name, text):
    frame = vectors(5)
    if text:
        frame["id"] = [f"c{i:03}" for i in frame["id"]]
    found = read(write_table(frame, tmp_path / name))
    assert (found.vectors == frame.drop(columns="id").to_numpy()).all()
    assert found.ids.dtype == (object if text else np.int64) and (found.ids == frame["id"]).all()


@pytest.mark.parametrize("name", TABLES)
def test_a_task_in_any_container(tmp_path, name):
    frame = labels().assign(country=["NA", "007"] * (N // 2))
    write_table(frame, tmp_path / name)
    keys = 'lat = "lat"\nlon = "lon"\ngroup = "country"'
    task = aligned(tmp_path, a="e.parquet", task=name, task_keys=keys)
    assert (task.y[:, 0] == frame["height"]).all() and (task.lat == frame["lat"]).all()
    assert list(task.group[:2]) == ["NA", "007"]
    task = aligned(tmp_path, a="e.parquet", task=name, target="crop", kind="classification")
    assert (np.array(task.classes)[task.y] == frame["crop"]).all()


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.csv.gz"])
@pytest.mark.parametrize("path", ["parts", "parts/*", "p*/?.*"])
def test_a_folder_or_pattern_of_parts(tmp_path, name, path):
    frame, ending = vectors(4), name.removeprefix("a")
    for i, rows in enumerate(np.array_split(np.arange(N), 3)):
        write_table(frame.iloc[rows], tmp_path / f"parts/{i}{ending}")
    (tmp_path / "parts/README.txt").touch() if path == "parts" else None
    source = read_study(study(tmp_path, a=path)).embeddings["a"]
    found = read_embedding(source)
    assert len(found.files) == 3 and (found.ids == frame["id"]).all()
    assert (found.vectors == frame.drop(columns="id").to_numpy()).all()


def test_arrays_of_any_layout(tmp_path):
    values = vectors(4).drop(columns="id").to_numpy()
    ids = np.array([f"p{i}" for i in range(N)])
    np.save(tmp_path / "i.npy", ids)
    for given, dtype in (
        (np.asfortranarray(values), np.float64),
        (values.astype(">f8"), np.float64),
        (values.astype(np.float16), np.float32),
        (values[::-1], np.float64),
    ):
        np.save(tmp_path / "a.npy", given)
        task_ids = 'ids = "i.npy"'
        write_table(labels().assign(id=ids), tmp_path / "labels.csv")
        write_table(vectors(3, ids=ids), tmp_path / "b.csv")
        task = aligned(tmp_path, a="a.npy", a_keys=task_ids)
        assert task.embeddings["a"].dtype == dtype and list(task.ids) == list(ids)
        assert (task.embeddings["a"] == given).all()


def test_arrays_with_ids_in_a_table_and_in_parts(tmp_path):
    frame = vectors(4)
    for i, rows in enumerate(np.array_split(np.arange(N), 2)):
        np.save(tmp_path / f"{i}.npy", frame.drop(columns="id").to_numpy()[rows])
        write_table(pd.DataFrame({"key": frame["id"].iloc[rows]}), tmp_path / f"ids{i}.csv")
    keys = 'ids = "ids?.csv"\nid = "key"'
    task = aligned(tmp_path, a="?.npy", a_keys=keys)
    assert (task.ids == frame["id"]).all()
    assert (task.embeddings["a"] == frame.drop(columns="id").to_numpy()).all()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("", ("a.npy", "an array has no ids", 'ids = "ids.npy"')),
        ('ids = "few.npy"', ("a.npy", "60 rows, but 59 ids", "in the same order")),
        ('ids = "2d.npy"', ("2d.npy", "shape (60, 1)", "one dimension", "store them so")),
        ('ids = "*.npy"', ("a.npy", "1 array, but", "each array needs one")),
        ('ids = "b.csv"\nid = "key"', ("b.csv", 'no id column "key"', '"id"')),
    ],
)
def test_ids_that_do_not_go_with_an_array(tmp_path, keys, words):
    np.save(tmp_path / "few.npy", np.arange(N - 1))
    np.save(tmp_path / "2d.npy", np.arange(N)[:, None])
    write_table(vectors(3), tmp_path / "b.csv")
    np.save(tmp_path / "a.npy", vectors().drop(columns="id").to_numpy())
    refused(tmp_path, *words, a="a.npy", a_keys=keys)


def test_ids_are_for_arrays(tmp_path):
    np.save(tmp_path / "i.npy", np.arange(N))
    refused(tmp_path, "a.parquet", "for arrays (.npy)", "leave ids out", a_keys='ids = "i.npy"')


# Columns of embeddings


def test_a_list_of_fixed_or_any_length(tmp_path):
    frame = vectors(6)
    for name in ("a.parquet", "a.arrow"):
        for fixed in (True, False):
            found = read(write_table(lists(frame, fixed), tmp_path / name))
            assert found.vectors.dtype == np.float32 and found.columns[5] == "embedding[5]"
            assert (found.vectors == frame.drop(columns="id").to_numpy(np.float32)).all()


@pytest.mark.parametrize(
    ("form", "p"), [("A{:02}", 64), ("emb_{}", 12), ("emb_{:02}", 12), ("A{:02}_2017", 64),
                    ("{}", 512)]
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.csv", "a.arrow"])
def test_wide_columns(tmp_path, form, p, name):
    frame = vectors(p)
    values = frame.drop(columns="id").to_numpy()
    frame.columns = ["id", *(form.format(j) for j in range(p))]
    shuffled = frame[np.random.default_rng(0).permutation(frame.columns)]
    found = read(write_table(shuffled.assign(year=2017, lat=1.5), tmp_path / name))
    assert found.columns == tuple(frame.columns[1:]) and (found.vectors == values).all()


def test_two_years_side_by_side(tmp_path):
    frame = vectors(128)
    values = frame.drop(columns="id").to_numpy()
    names = [f"A{j:02}_{year}" for year in (2017, 2018) for j in range(64)]
    frame.columns = ["id", *names]
    path = write_table(frame, tmp_path / "a.parquet")
    for year, own in ((2017, values[:, :64]), (2018, values[:, 64:])):
        assert (read(path, columns=f"A*_{year}").vectors == own).all()
    with pytest.raises(InputError, match=r'"A00_2017"…"A63_2017" \(64 columns\).*columns = "…"'):
        read(path)


# Keys


@pytest.mark.parametrize("key", ["id", "index", "GEOID", "TRACT_ID", "system:index"])
@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet", "a.feather"])
def test_a_key_of_any_name(tmp_path, key, name):
    for ids in (np.arange(N) * 7, [f"0{i}_{i}" for i in range(N)]):
        frame = vectors(4, ids=ids).rename(columns={"id": key})
        found = read(write_table(frame, tmp_path / name), id=key)
        assert list(found.ids) == list(ids)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.stream.arrow"])
@pytest.mark.parametrize(
    "kind",
    [
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
        pa.large_string(),
        pa.string_view(),
        pa.uint64(),
        pa.int8(),
        pa.dictionary(pa.int16(), pa.int64()),
    ],
)
def test_a_key_of_any_type(tmp_path, name, kind):
    number = pa.types.is_integer(getattr(kind, "value_type", kind))
    ids = list(range(N)) if number else [f"key number {i}" for i in range(N)]
    column = pa.array(ids, getattr(kind, "value_type", kind))
    column = column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column
    table = pa.table({"id": column, "v": lists(vectors())["embedding"]})
    found = read(write_table(table, tmp_path / name))
    assert list(found.ids) == ids and found.ids.dtype == (np.int64 if number else object)


# Coordinates


@pytest.mark.parametrize(
    ("lat", "lon"),
    [("lat", "lon"), ("latitude", "longitude"), ("Lat", "Lon"), ("Y", "X"), ("y", "x")],
)
def test_coordinates_of_any_name(tmp_path, lat, lon):
    frame = labels()
    write_table(frame.rename(columns={"lat": lat, "lon": lon}), tmp_path / "labels.parquet")
    keys = f'lat = "{lat}"\nlon = "{lon}"'
    task = aligned(tmp_path, task="labels.parquet", task_keys=keys)
    assert (task.lat == frame["lat"]).all() and (task.lon == frame["lon"]).all()
    keys = f'lat = "{lon}"\nlon = "{lat}"'
    refused(tmp_path, "look swapped", task="labels.parquet", task_keys=keys)


def crs(authority, code):
    return {"type": "GeographicCRS", "name": "any", "id": {"authority": authority, "code": code}}


@pytest.mark.parametrize("given", [None, crs("EPSG", 4326), crs("OGC", "CRS84")])
def test_points_of_geoparquet(tmp_path, given):
    frame = labels()
    pq.write_table(with_points(frame, given), tmp_path / "t.geo.parquet")
    task = aligned(tmp_path, task="t.geo.parquet", task_keys='geometry = "geometry"')
    assert (task.lat == frame["lat"]).all() and (task.lon == frame["lon"]).all()
    assert (task.y[:, 0] == frame["height"]).all()


@pytest.mark.parametrize(
    ("given", "shown"),
    [(crs("EPSG", 3857), "EPSG:3857"), ({"name": "local"}, "local"), ("x", '"x"')],
)
def test_row_33_another_crs(tmp_path, given, shown):
    pq.write_table(with_points(labels(), given), tmp_path / "t.geo.parquet")
    words = ("t.geo.parquet", '"geometry"', shown, "EPSG:4326", "to_crs(4326)")
    refused(tmp_path, *words, task="t.geo.parquet", task_keys='geometry = "geometry"')


def test_points_of_parquet_itself(tmp_path):
    class Points(pa.ExtensionType):
        def __init__(self, crs=""):
            self.crs = crs
            super().__init__(pa.binary(), "geoarrow.wkb")

        def __arrow_ext_serialize__(self):
            return json.dumps({"crs": self.crs} if self.crs else {}).encode()

        @classmethod
        def __arrow_ext_deserialize__(cls, storage, serialized):
            return cls()

    frame, task = labels(), {"task": "t.parquet", "task_keys": 'geometry = "geometry"'}
    table = with_points(frame).replace_schema_metadata(None)
    number = table.schema.get_field_index("geometry")
    for crs in ("", "srid:3857"):
        column = pa.ExtensionArray.from_storage(Points(crs), table["geometry"].combine_chunks())
        path = tmp_path / "t.parquet"
        pq.write_table(table.set_column(number, "geometry", column), path, store_schema=False)
        if crs:
            refused(tmp_path, "t.parquet", "srid:3857", "EPSG:4326", **task)
        else:
            assert (aligned(tmp_path, **task).lat == frame["lat"]).all()


def test_geometry_is_instead_of_lat_and_lon(tmp_path):
    keys = 'geometry = "geometry"\nlat = "lat"\nlon = "lon"'
    refused(tmp_path, "[tasks.t]", "the one or the others", task_keys=keys)
    refused(tmp_path, "labels.csv", 'unknown column for lat "geo"', task_keys='geometry = "geo"')


# Quantised and masked vectors


def quantised(p=8, n=N):
    frame = vectors(p, n)
    rng = np.random.default_rng(1)
    whole = rng.integers(-127, 128, (n, p)).astype(np.int8)
    frame[[f"emb_{j}" for j in range(p)]] = whole
    return frame, whole


@pytest.mark.parametrize("name", CONTAINERS)
def test_int8_of_alphaearth(tmp_path, name):
    frame, q = quantised()
    q[[3, 7]] = -128
    q[5, 2] = -128
    frame.iloc[:, 1:] = q
    frame = frame.astype({f"emb_{j}": np.int8 for j in range(8)})
    found = read(write_table(frame, tmp_path / name), dequantise="alphaearth")
    expected = (q.astype(float) / 127.5) ** 2 * np.sign(q.astype(float))
    rows = np.setdiff1d(np.arange(N), [3, 5, 7])
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.vectors[rows], expected[rows], rtol=1e-7)
    assert list(np.flatnonzero(found.fill)) == [3, 7]
    assert list(np.flatnonzero(found.missing)) == [5]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("wide", [True, False])
def test_int8_of_tessera(tmp_path, name, wide):
    frame, q = quantised()
    scale = np.random.default_rng(2).uniform(0.01, 0.1, N).astype(np.float32)
    scale[4] = np.nan
    if wide:
        table = frame.assign(scale_0=scale)
    elif name.startswith(("a.csv", "a.npy")):
        pytest.skip("holds no lists")
    else:
        column = pa.array(list(q), pa.list_(pa.int8(), 8))
        table = pa.table({"id": frame["id"], "embedding": column, "scale_0": scale})
    found = read(write_table(table, tmp_path / name), scale="scale_0")
    np.testing.assert_allclose(found.vectors[:4], q[:4] * scale[:4, None], rtol=1e-6)
    assert list(np.flatnonzero(found.missing)) == [4] and len(found.columns) == 8


def test_one_scale_for_all(tmp_path):
    frame, q = quantised()
    found = read(write_table(frame, tmp_path / "a.parquet"), scale=0.25)
    assert found.vectors.dtype == np.float32 and (found.vectors == q * 0.25).all()


@pytest.mark.parametrize("value", [np.nan, -9999.0, 0.0, -1.0])
@pytest.mark.parametrize("name", CONTAINERS)
def test_masked_rows(tmp_path, name, value):
    frame = vectors(4)
    frame.loc[[3, 7], "emb_0":] = value
    found = read(write_table(frame, tmp_path / name))
    marked = found.missing if np.isnan(value) else found.fill
    assert list(np.flatnonzero(marked)) == [3, 7]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("", ("a.parquet", "8 columns", '"emb_0"…"emb_7"', 'dequantise = "alphaearth"', "scale =")),
        ('dequantise = "alphaerth"', ('did you mean "alphaearth"?',)),
        ('dequantise = "alphaearth"\nscale = 2', ("[embeddings.a]", "both", "remove one")),
        ("scale = 0", ("[embeddings.a]", "scale = 0", "above 0")),
        ("scale = true", ("[embeddings.a]", "scale must be text", "true/false")),
        ('scale = "sclae"', ("a.parquet", 'unknown column for scale "sclae"', '"scale"')),
        ('scale = "scale"', ("a.parquet", '"scale"', "1 scale not above 0", "-0.5", 'id "102"')),
        ('columns = "*e*"\nscale = "scale"', ("the scale column", "narrower pattern")),
    ],
)
def test_row_25_what_integers_stand_for(tmp_path, keys, words):
    frame, _ = quantised()
    write_table(frame.assign(scale=[1.0, 1.0, -0.5] + [1.0] * (N - 3)), tmp_path / "a.parquet")
    refused(tmp_path, *words, a_keys=keys)


def test_floats_are_not_of_alphaearth(tmp_path):
    words = ("a.parquet", "240 values no whole number", 'column "emb_0"', 'id "100"', "remove")
    refused(tmp_path, *words, a_keys='dequantise = "alphaearth"')


def test_versions_of_a_data_set_are_not_mixed(tmp_path):
    told = {"dataset": "v1", "tile": "t", "checksum": "c"}
    write_table(vectors().iloc[:30].assign(**told), tmp_path / "parts/1.parquet")
    second = vectors().iloc[30:].assign(**told | {"dataset": "v1.1"})
    write_table(second, tmp_path / "parts/2.parquet")
    words = ('"dataset"', "2 versions", '"v1", "v1.1"', 'id "130"', "30 rows", "all of one version")
    refused(tmp_path, *words, a="parts")
    write_table(second.assign(dataset="v1"), tmp_path / "parts/2.parquet")
    assert len(aligned(tmp_path, a="parts").ids) == N
    # by itself, a column of that name may be anything
    write_table(vectors().assign(dataset=["x", "y"] * (N // 2)), tmp_path / "a.parquet")
    assert len(aligned(tmp_path).ids) == N


@pytest.mark.parametrize(("model", "p"), [("geoclip", 512), ("satclip", 256)])
def test_widths_of_encoders(tmp_path, model, p):
    frame = vectors(p).astype({f"emb_{j}": np.float32 for j in range(p)})
    found = read(write_table(lists(frame, fixed=True), tmp_path / f"{model}.parquet"))
    assert found.vectors.shape == (N, p) and found.vectors.dtype == np.float32


# Tables of labels


@pytest.mark.parametrize(("lat", "lon"), [("lat", "lon"), ("latitude", "longitude"),
                                          ("Lat", "Lon"), ("y", "x")])  # fmt: skip
def test_a_table_of_coordbench(tmp_path, lat, lon):
    frame = labels().rename(columns={"lat": lat, "lon": lon})
    frame["split"] = ["trainval"] * 40 + ["test"] * 20
    frame["timestamp"] = pd.Timestamp("2020-01-01")
    frame.loc[[1, 2], "height"] = -9999
    frame.loc[5, "height"] = -999
    frame.loc[9, "height"] = np.nan
    write_table(frame, tmp_path / "data.parquet")
    keys = f'lat = "{lat}"\nlon = "{lon}"\nsplit = "split"\nmissing = [-999, -9999]'
    task = aligned(tmp_path, task="data.parquet", task_keys=keys)
    assert len(task.ids) == N - 4 and task.y.min() > -100
    assert list(task.split[:1]) == ["trainval"] and list(task.split[-1:]) == ["test"]
    found = {note.reason: (note.count, note.first) for note in task.notes}
    assert found["declared missing"] == (3, "101") and found["missing target"] == (1, "109")


@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_values_that_stand_for_none(tmp_path, name):
    frame = labels()
    frame["cover"] = [0, 3, 7, 7, 3] * (N // 5)
    frame["soil"] = ["clay", "none", "sand"] * (N // 3)
    write_table(frame, tmp_path / name)
    how = {"task": name, "kind": "classification"}
    task = aligned(tmp_path, target="cover", task_keys="missing = 0", **how)
    assert task.classes == ("3", "7") and len(task.ids) == N * 4 // 5
    # more than a fifth may be missing where that is declared
    task = aligned(tmp_path, target="soil", task_keys='missing = ["none", -1]', **how)
    assert task.classes == ("clay", "sand") and len(task.ids) == N * 2 // 3
    refused(tmp_path, "missing must be a list", target="soil", task_keys="missing = true", **how)


# A crafted or damaged file of each container


def test_a_small_gzip_that_expands(tmp_path):
    member = gzip.compress(b"1,2.5,3.5\n" * 10**5)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id,emb_0,emb_1\n") + member * 200)
    words = ("a.csv.gz", "would expand", "--max_input_bytes=")
    refused(tmp_path, *words, a="a.csv.gz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b[:-1], ("truncated", "no checksum at the end")),
        (lambda b: b[: len(b) // 2], ("truncated",)),
        (lambda b: b[:-5] + bytes([b[-5] ^ 1]) + b[-4:], ("damaged gzip", "incorrect data check")),
        (lambda b: b + b"more", ("damaged gzip",)),
        (lambda b: gzip.compress(b"PAR1" + b), ("the extension says CSV", "Parquet")),
    ],
)
def test_damaged_gzip(tmp_path, change, words):
    path = write_table(vectors(), tmp_path / "a.csv.gz")
    path.write_bytes(change(path.read_bytes()))
    refused(tmp_path, "a.csv.gz", *words, a="a.csv.gz")


def test_gzip_of_several_members(tmp_path):
    first, second = vectors().iloc[:30].to_csv(index=False), vectors().iloc[30:]
    second = second.to_csv(index=False, header=False)
    content = gzip.compress(first.encode()) + gzip.compress(second.encode()) + b"\0" * 512
    (tmp_path / "a.csv.gz").write_bytes(content)
    assert (read(tmp_path / "a.csv.gz").vectors == vectors().iloc[:, 1:].to_numpy()).all()
