"""Rows of the list of inputs that are not what they should be: columns, ids and values."""

import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from make_tables import N, labels, lists, vectors, with_points
from wild import ARRAYS, PLACES, TABLES, TEXTS, WIDE, Case, row, spoilt

import ecjax
from ecjax.arrays import align_arrays


@pytest.fixture
def case(tmp_path, container, capsys):
    return Case(tmp_path, container, capsys)


@row(10, "error", *TEXTS)
def test_duplicate_column(case):
    case.embedding(vectors().rename(columns={"emb_1": "emb_2"}))
    case.refused('1 duplicate column, first "emb_2"', "rename or remove all but one")


@row(10, "error", "parquet", "feather")
def test_duplicate_column_of_arrow(case):
    table = pa.Table.from_pandas(labels()).rename_columns(["id", "height", "crop", "lat", "lat"])
    case.task(table).refused('1 duplicate column, first "lat"', "rename or remove all but one")


@row(11, "error", *WIDE, "lists.parquet", "lists.feather")
def test_no_id_column(case):
    case.name = f"a.{case.container}"
    if case.container in WIDE:
        case.write(vectors().rename(columns={"id": "GEOID"}), case.name)
    else:
        case.write(lists(vectors()).rename_columns(["GEOID", "embedding"]), case.name)
    case.embedding().refused('no id column "id"', 'candidates: "GEOID"', 'id = "…"')


@row(11, "error", "npy")
def test_no_ids_of_an_array(case):
    case.embedding(vectors())
    path = case.folder / "study.toml"
    path.write_text(path.read_text().replace('ids = "a_ids.npy"', ""))
    case.refused("an array has no ids", 'ids = "ids.npy"')
    np.save(case.folder / "a_ids.npy", np.arange(59))
    case.embedding().refused("60 rows, but 59 ids", "each row needs an id of its own")


@row(11, "error", *WIDE)
def test_no_id_column_of_labels(case):
    case.task(labels().rename(columns={"id": "index"}))
    case.refused('no id column "id"', 'candidates: "index"', 'id = "…"')


@row(12, "error", *WIDE, "npy")
def test_null_id(case):
    frame = vectors(ids=[f"k{i}" for i in range(N)])
    frame.loc[[4, 9], "id"] = "" if case.container == "npy" else None
    words = ('column "id" has 2 null ids', "first in row 5", "give each row an id of its own")
    case.embedding(frame).refused(*words)


@row(12, "error", *WIDE, ARRAYS)
def test_null_id_of_labels(case):
    frame = labels().astype({"id": "Int64"})
    frame.loc[[4, 9], "id"] = pd.NA
    case.task(frame).refused("2 null ids", "first in row 5", "give each row an id of its own")


@row(13, "error", *TABLES)
def test_duplicate_id(case):
    frame = vectors()
    frame.loc[[1, 3, 5, 7], "id"] = [100, 102, 104, 106]
    words = ("4 duplicate ids", '"100", "102", "104" and 1 more', "60 rows", "keep one row of each")
    case.embedding(frame).refused('id column "id"', *words)


@row(13, "error", *WIDE, ARRAYS)
def test_duplicate_id_of_labels(case):
    frame = labels().assign(id=[100, *range(100, 159)])
    case.task(frame).refused("1 duplicate id", '"100"', "60 rows", "keep one row of each")


@row(13, "error", *TABLES)
def test_duplicate_id_across_parts(case):
    case.name = f"parts/?.{case.container}"
    case.write(vectors().iloc[:31], f"parts/1.{case.container}")
    case.write(vectors().iloc[30:], f"parts/2.{case.container}")
    case.embedding().refused('1 duplicate id ("130")', "61 rows", "keep one row of each")


@row(14, "error", *TABLES)
def test_id_types_differ(case):
    case.embedding(vectors().astype({"id": str}).assign(id=lambda f: "0" + f["id"]))
    words = ("ids are text", 'column "id"', 'first "0100"', "but numbers in task", "labels.csv")
    case.refused(*words, "store them alike")


@row(14, "error", *WIDE)
def test_id_types_of_labels_differ(case):
    case.task(labels().assign(id=lambda f: "0" + f["id"].astype(str)))
    case.refused("ids are numbers", 'first "100"', "but text in task", '"0100"', "store them alike")


@row(15, "reported", *TABLES)
def test_ids_absent_from_one_table(case):
    case.embedding(vectors(ids=np.arange(103, 163)))
    case.noted("a", "id absent", 3, "100")
    case.noted("a", "id without label", 3, "160")
    case.embedding(top='join = "exact"')
    words = ('join = "exact"', 'column "id"', "3 ids of task", "3 ids of this table", 'first "100"')
    case.refused(*words, "labels.csv", 'complete the tables, or use join = "inner"')


@row(16, "reported", *TABLES)
def test_another_order_of_ids_changes_nothing(case):
    before = case.embedding(vectors(4, seed=1)).aligned()
    case.embedding(vectors(4, seed=1).sample(frac=1, random_state=5))
    after = case.aligned()
    assert after.notes == before.notes and after.y.tobytes() == before.y.tobytes()
    assert after.embeddings["a"].tobytes() == before.embeddings["a"].tobytes()
    assert (after.ids == before.ids).all()


@row(17, "error", *TABLES)
def test_no_id_in_common(case):
    case.embedding(vectors(ids=np.arange(N) + 5000))
    words = ("no id in common", "60 ids", 'column "id"', 'first "5000"', "labels.csv", '"100"')
    case.refused(*words, "compare the id columns of both")


@row(18, "reported", *TABLES, ARRAYS)
def test_nan_in_an_embedding(case):
    case.embedding(spoilt(vectors(), [3, 7], "emb_2", np.nan))
    case.noted("a", "missing value", 2, "103")


@row(18, "error", *TABLES, ARRAYS)
def test_nan_in_many_rows_of_an_embedding(case):
    case.embedding(spoilt(vectors(), slice(0, 12), "emb_2", np.nan))
    case.refused(f"vectors ({case.columns})", "13 of 60 rows", 'id "100"', "20%", "fill them, or")


@row(18, "reported", *WIDE, ARRAYS)
def test_nan_in_a_target(case):
    case.task(spoilt(labels(), [5, 6], "height", np.nan))
    task = case.noted("task table", "missing target", 2, "105")
    assert len(task.ids) == N - 2 and 105 not in task.ids


@row(18, "error", *WIDE, ARRAYS)
def test_nan_in_many_rows_of_a_target(case):
    case.task(spoilt(labels(), slice(0, 12), "height", np.nan))
    target = "t" if case.container == ARRAYS else "height"
    case.refused(f'target "{target}"', "13 of 60 rows", 'id "100"', "20%", "fill them, or remove")


@row(18, "reported", *WIDE, ARRAYS)
def test_missing_class(case):
    case.task(spoilt(labels(), [5, 6], "crop", ""), target="crop", kind="classification")
    assert "" not in case.noted("task table", "missing target", 2, "105").classes


@row(19, "error", *TABLES, ARRAYS)
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_infinite_value(case, value):
    case.embedding(spoilt(vectors(), [3, 7], "emb_2", value))
    words = ("2 values infinite or beyond float32", f'column "{case.column(2)}"', case.id(3))
    case.refused(*words, "correct them, or leave them empty")


@row(19, "error", *WIDE, ARRAYS)
def test_text_in_an_embedding_column(case):
    frame = spoilt(vectors().astype({"emb_2": str}), [3, 7], "emb_2", "cloud")
    number = 2 if case.container != ARRAYS else 60
    case.embedding(frame)
    words = ('column "emb_2"', f"{number} values", case.id(3 if number == 2 else 0), '"cloud"')
    case.refused(*words[: 4 if number == 2 else 3])


@row(19, "error", "npy")
def test_text_in_an_array(case):
    case.embedding(vectors().astype({f"emb_{j}": str for j in range(4)})).refused("text", "float")


@row(20, "reported", "parquet", "feather")
def test_null_vector(case):
    rows = lists(vectors())["embedding"].to_pylist()
    rows[4] = None
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 4), pa.large_list(pa.float64())):
        case.embedding(listed(rows, kind)).noted("a", "missing value", 1, "104")


@row(20, "error", "parquet", "feather")
def test_null_vectors_in_many_rows(case):
    rows = lists(vectors())["embedding"].to_pylist()
    case.embedding(listed([None] * 13 + rows[13:], pa.list_(pa.float32())))
    case.refused(
        "vectors (embedding[0] … embedding[3])", "13 of 60 rows", 'id "100"', "20%", "fill them, or"
    )


@row(21, "reported", "parquet", "feather")
def test_null_inside_a_vector(case):
    rows = lists(vectors())["embedding"].to_pylist()
    rows[4][2] = None
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 4), pa.list_(pa.float16())):
        rows = [[None if v is None else np.float16(v) for v in r] for r in rows]
        case.embedding(listed(rows, kind)).noted("a", "missing value", 1, "104")


@row(22, "error", "parquet", "feather")
def test_vectors_of_unequal_length(case):
    rows = lists(vectors())["embedding"].to_pylist()
    rows[4], rows[9] = rows[4][:3], rows[9] * 2
    case.embedding(listed(rows, pa.list_(pa.float32())))
    words = ('column "embedding"', "2 vectors", "than 4", "first 3", 'id "104"', "equal length")
    case.refused(*words)


@row(22, "error", ARRAYS)
def test_rows_of_unequal_length(case):
    rows = vectors().drop(columns="id").to_numpy().tolist()
    rows[4] = rows[4][:3]
    case.name, case.given = "(array)", ({"a": rows}, {"t": labels()["height"]})
    case.refused("1 row of another length than 4", "first 3", 'id "4"', "equal length")


def listed(rows, kind):
    """Ids, and vectors as lists of some type."""
    return pa.table({"id": np.arange(100, 100 + N), "embedding": pa.array(rows, kind)})


@row(24, "reported", *TABLES, ARRAYS)
@pytest.mark.parametrize("value", [0.0, -1.0, -9999.0])
def test_masked_rows(case, value):
    frame = vectors()
    frame.loc[[3, 7], "emb_0":] = value
    frame.loc[9, "emb_1":] = value  # not all of them: a vector
    case.embedding(frame).noted("a", "masked row", 2, "103")


@row(24, "error", *TABLES, ARRAYS)
def test_many_masked_rows(case):
    frame = vectors()
    frame.loc[:12, "emb_0":] = -9999.0
    case.embedding(frame)
    case.refused(f"vectors ({case.columns})", "13 of 60 rows", 'id "100"', "20%", "fill them, or")


@row(24, "reported", "parquet", "feather", ARRAYS)
def test_one_column_may_be_zero(case):
    frame = spoilt(vectors(1), slice(0, 20), "emb_0", 0.0)
    task = case.embedding(frame if case.container == ARRAYS else lists(frame)).aligned()
    assert "masked row" not in {note.reason for note in task.notes} and len(task.ids) == N


@row(25, "error", *WIDE, "npy", ARRAYS)
def test_integers_without_a_scale(case):
    case.embedding((vectors() * 50).astype("int8").assign(id=vectors()["id"]))
    count = '1 column ("embedding")' if case.container == "npy" else '4 columns ("emb_0"'
    case.refused(count, "of integers (int", "quantised vectors", "de-quantised values as floats")


@row(26, "error", *WIDE, ARRAYS)
def test_text_in_a_regression(case):
    case.task(spoilt(labels().astype({"height": str}), [3, 7], "height", "tall"))
    words = ("2 values not read as a number", 'first "tall"', 'id "103"', 'kind = "classification"')
    case.refused(f'target "{"t" if case.container == ARRAYS else "height"}"', *words)


@row(27, "error", *WIDE, ARRAYS)
def test_non_integer_class(case):
    frame = spoilt(labels().assign(crop=np.arange(N) % 3 + 0.0), [3, 7], "crop", 0.5)
    case.task(frame, target="crop", kind="classification")
    words = ("2 non-integer numbers", "first 0.5", 'id "103"', 'use kind = "regression"')
    case.refused(f'target "{"t" if case.container == ARRAYS else "crop"}"', *words)


def test_whole_numbers_are_classes():
    """In the order of their size, whatever they are stored as."""
    given = ecjax.Task(np.arange(N) % 12 + 0.0, kind="classification")
    (task,) = align_arrays({"a": vectors().drop(columns="id")}, {"t": given})
    assert task.classes[:3] == ("0", "1", "2") and task.classes[-1] == "11"


@row(32, "error", *WIDE, ARRAYS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lat": 91.0}, ("lat", "1 value", "±90", "91.0", "correct them")),
        ({"lon": 181.0}, ("lon", "1 value", "±180", "181.0", "correct them")),
        ({"lat": 120.0, "lon": 30.0}, ("lat", "1 value", "lat and lon are swapped")),
        ({"lat": np.nan}, ("lat", "1 value missing", "do without lat and lon")),
        ({"lon": 500_000.0}, ("lon", "1 value", "perhaps they are metres", "EPSG:4326")),
    ],
)
def test_coordinates_out_of_range(case, change, words):
    frame = labels()
    frame.loc[4, list(change)] = list(change.values())
    case.task(frame, task_keys=PLACES)
    column = "geometry" if case.container == "geo.parquet" else words[0]
    case.refused(f'column "{column}"', 'id "104"', *words[1:])


@row(32, "error", *TEXTS, "parquet", "feather", ARRAYS)
def test_coordinates_that_are_text(case):
    frame = labels().astype({"lat": str})
    frame["lat"] = frame["lat"].where(frame.index != 4, "12° N")
    words = ("lat", "1 value not read as a number", '"12° N"', 'id "104"')
    case.task(frame, task_keys=PLACES).refused(*words, "give decimal degrees")


@row(32, "error", *TEXTS, "parquet", "feather")
def test_coordinates_swapped_by_name(case):
    case.task(labels(), task_keys='lat = "lon"\nlon = "lat"')
    case.refused('lat = "lon"', "look swapped", "exchange them")


@row(33, "error", "geo.parquet")
@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32633"])
def test_another_crs(case, crs):
    authority, code = crs.split(":")
    table = with_points(labels(), {"id": {"authority": authority, "code": int(code)}})
    case.task(table, task_keys=PLACES)
    words = ('column "geometry"', f'in the CRS "{crs}"', "EPSG:4326", "transform them")
    case.refused(*words)


@row(33, "error", "geo.parquet")
def test_points_in_another_crs(case):
    """As the number that EWKB carries in each point."""
    table = with_points(labels())
    values = table["geometry"].to_pylist()
    for i in (4, 9):
        values[i] = struct.pack("<BII", 1, 0x20000001, 3857) + values[i][5:]
    case.task(
        table.set_column(table.num_columns - 1, "geometry", pa.array(values)), task_keys=PLACES
    )
    words = ('column "geometry"', "2 values that are no point in EPSG:4326", 'id "104"')
    case.refused(*words, "give points")
