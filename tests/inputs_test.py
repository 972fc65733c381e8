"""One test per row of the list of inputs that are not what they should be.

Every message must name file, column, first row or id, how many, and the way out.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_tables import N, labels, lists, study, vectors, write

from ecjax.align import align, check_rows
from ecjax.arrays import Task, align_arrays
from ecjax.errors import InputError
from ecjax.study import read_study


def refused(path, *words):
    """Asserts that a study is refused with a message that has all of the words."""
    with pytest.raises(InputError) as caught:
        align(read_study(path))
    message = str(caught.value)
    for word in words:
        assert word in message, message
    return message


def notes(path):
    return {(n.source, n.reason): n for task in align(read_study(path)) for n in task.notes}


def test_the_helper_study_passes(tmp_path):
    (task,) = align(read_study(study(tmp_path)))
    assert task.y.shape == (N, 1) and task.notes == ()


def test_row_01_missing_file(tmp_path):
    path = study(tmp_path)
    (tmp_path / "b.csv").unlink()
    refused(path, "[embeddings.b]: path", "b.csv", "no file", "relative to the study file")


def test_row_02_empty_file(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"")
    refused(study(tmp_path), 'embedding "b"', "b.csv", "empty (0 bytes)", "write or copy it again")


def test_row_02_no_rows(tmp_path):
    write(vectors().iloc[:0], tmp_path / "b.csv")
    refused(study(tmp_path), "b.csv", "columns but no rows")


def test_row_03_truncated_parquet(tmp_path):
    path = write(vectors(), tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    refused(study(tmp_path), "a.parquet", "truncated", "write or copy it again")


def test_row_03_damaged_footer(tmp_path):
    path = write(vectors(), tmp_path / "a.parquet")
    content = bytearray(path.read_bytes())
    content[-60:-20] = b"\xff" * 40
    path.write_bytes(bytes(content))
    refused(study(tmp_path), "a.parquet", "damaged", "write or copy the file again")


def test_row_04_flipped_byte_under_checksum(tmp_path):
    table = pa.Table.from_pandas(vectors(64, n=200, ids=np.arange(200)))
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(bytes(content))
    refused(study(tmp_path), "a.parquet", "damaged")


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.csv", b"PAR1 and so on PAR1", "Parquet"),
        ("a.csv", b"PK\x03\x04 sheet", "zip archive or spreadsheet"),
        ("a.csv", b"\x1f\x8b squeezed", "gzip"),
        ("a.parquet", b"id,emb_0,emb_1\n1,2.5,3.5\n", "something else"),
    ],
)
def test_row_05_extension_differs_from_content(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    refused(study(tmp_path, a=name), name, "the extension says", word, "rename or convert")


def test_row_05_extension_not_read(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04")
    refused(study(tmp_path, a="a.xlsx"), "a.xlsx", "Parquet (.parquet, .pq) and CSV (.csv)")


def test_row_08_not_utf8(tmp_path):
    write(vectors().assign(place="x"), tmp_path / "b.csv")
    content = (tmp_path / "b.csv").read_bytes()
    broken = content.replace(b"x\n", b"\xe9\n", 1)
    (tmp_path / "b.csv").write_bytes(broken)
    refused(study(tmp_path), "b.csv", f"byte {broken.index(0xE9)}", "save the file as UTF-8")


def test_row_08_cut_in_a_character(tmp_path):
    write(vectors(), tmp_path / "b.csv")
    with (tmp_path / "b.csv").open("ab") as stream:
        stream.write("é".encode()[:1])
    refused(study(tmp_path), "b.csv", "not UTF-8 at byte")


def test_row_09_ragged_csv(tmp_path):
    write(vectors(), tmp_path / "b.csv")
    lines = (tmp_path / "b.csv").read_text().splitlines()
    lines[7] += ",1"
    lines[12] = "5"
    lines.insert(3, "")  # a blank line counts
    (tmp_path / "b.csv").write_text("\n".join(lines) + "\n")
    refused(study(tmp_path), "b.csv", "2 ragged lines", "line 9", "6 values instead of 5")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_row_10_duplicate_column(tmp_path, name):
    table = pa.Table.from_pandas(vectors())
    if name == "a.csv":
        write(table.to_pandas().rename(columns={"emb_1": "emb_2"}), tmp_path / name)
    else:
        doubled = table.rename_columns(["id", "emb_0", "emb_2", "emb_2", "emb_3"])
        pq.write_table(doubled, tmp_path / name)
    refused(study(tmp_path, a=name), name, '1 duplicate column, first "emb_2"', "rename or remove")


def test_row_11_no_id_column(tmp_path):
    write(vectors().rename(columns={"id": "GEOID"}), tmp_path / "a.parquet")
    refused(study(tmp_path), "a.parquet", 'no id column "id"', '"GEOID"', 'id = "…"')
    write(labels().rename(columns={"id": "index"}), tmp_path / "labels.csv")
    write(vectors(), tmp_path / "a.parquet")
    refused(study(tmp_path), "labels.csv", 'no id column "id"', '"index"')


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_row_12_null_id(tmp_path, name):
    frame = vectors().astype({"id": "Int64"})
    frame.loc[[4, 9], "id"] = pd.NA
    write(frame, tmp_path / name)
    refused(
        study(tmp_path, a=name),
        name,
        'id column "id" has 2 null ids',
        "first in row 5",
        "give each",
    )


def test_row_13_duplicate_id(tmp_path):
    frame = vectors()
    frame.loc[[1, 3, 5, 7], "id"] = [100, 102, 104, 106]
    write(frame, tmp_path / "a.parquet")
    words = ("4 duplicate ids", '"100", "102", "104" and 1 more', "keep one row of each")
    refused(study(tmp_path), "a.parquet", *words)


def test_row_13_duplicate_id_across_parts(tmp_path):
    write(vectors().iloc[:31], tmp_path / "parts/1.csv")
    write(vectors().iloc[30:], tmp_path / "parts/2.csv")
    refused(study(tmp_path, a="parts/*.csv"), "parts/*.csv", '1 duplicate id ("130")', "keep one")


def test_row_14_id_types_differ(tmp_path):
    write(vectors().astype({"id": str}), tmp_path / "a.parquet")
    words = ("ids are text", 'first "100"', "numbers in task", "labels.csv", "store them alike")
    refused(study(tmp_path), "a.parquet", *words)


def test_row_14_leading_zeros_are_text(tmp_path):
    frame = vectors()
    frame["id"] = [f"0{i}" for i in frame["id"]]
    write(frame, tmp_path / "b.csv")
    refused(study(tmp_path), "b.csv", "ids are text", '"0100"')


def test_row_15_ids_absent_from_one_table(tmp_path):
    write(vectors().drop(index=[2, 8]), tmp_path / "a.parquet")
    write(vectors(3, n=N + 5, seed=3, ids=np.arange(100, 165)), tmp_path / "b.csv")
    found = notes(study(tmp_path))
    absent, unused = found["a", "id absent"], found["b", "id without label"]
    assert (absent.count, absent.first) == (2, "102")
    assert (unused.count, unused.first) == (5, "160")
    exact = study(tmp_path, top='join = "exact"')
    refused(exact, "a.parquet", 'join = "exact"', "2 ids", 'first "102"', 'join = "inner"')


def test_row_15_exact_refuses_surplus_ids(tmp_path):
    write(vectors(3, n=N + 5, seed=3, ids=np.arange(100, 165)), tmp_path / "b.csv")
    refused(study(tmp_path, top='join = "exact"'), "b.csv", "5 ids of this table", 'first "160"')


def test_row_16_order_of_ids_changes_nothing(tmp_path):
    (before,) = align(read_study(study(tmp_path)))
    for name, table in (("a.parquet", vectors(4, seed=1)), ("b.csv", vectors(3, seed=2))):
        write(table.sample(frac=1, random_state=5), tmp_path / name)
    (after,) = align(read_study(study(tmp_path)))
    assert after.notes == before.notes
    for name, matrix in before.embeddings.items():
        assert after.embeddings[name].tobytes() == matrix.tobytes()
    assert after.y.tobytes() == before.y.tobytes() and (after.ids == before.ids).all()


def test_row_17_no_id_in_common(tmp_path):
    write(vectors(ids=np.arange(N) + 5000), tmp_path / "a.parquet")
    words = (
        "60 ids",
        'column "id"',
        'first "5000"',
        "labels.csv",
        '"100"',
        "compare the id columns",
    )
    refused(study(tmp_path), "a.parquet", "no id in common", *words)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_row_18_nan_in_an_embedding(tmp_path, name):
    frame = vectors()
    frame.loc[[3, 7], "emb_2"] = np.nan
    write(frame, tmp_path / name)
    note = notes(study(tmp_path, a=name))["a", "missing value"]
    assert (note.count, note.first) == (2, "103")
    frame.loc[:12, "emb_1"] = np.nan  # 13 of 60 rows
    write(frame, tmp_path / name)
    refused(study(tmp_path, a=name), name, "13 of 60 rows", '"100"', "20%", "fill them")


def test_row_18_nan_in_a_target(tmp_path):
    frame = labels()
    frame.loc[[5, 6], "height"] = np.nan
    write(frame, tmp_path / "labels.csv")
    (task,) = align(read_study(study(tmp_path)))
    (note,) = task.notes
    assert (note.source, note.reason, note.count) == ("task table", "missing target", 2)
    assert note.first == "105" and len(task.ids) == N - 2 and 105 not in task.ids
    frame.loc[:12, "height"] = np.nan
    write(frame, tmp_path / "labels.csv")
    refused(study(tmp_path), "labels.csv", '"height"', "13 of 60 rows", '"100"', "fill them")


def test_row_18_missing_class(tmp_path):
    frame = labels()
    frame.loc[[5, 6], "crop"] = ""
    write(frame, tmp_path / "labels.csv")
    (task,) = align(read_study(study(tmp_path, target="crop", kind="classification")))
    assert task.notes[0].count == 2 and "" not in task.classes


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_row_19_infinite_value(tmp_path, name, value):
    frame = vectors()
    frame.loc[[3, 7], "emb_2"] = value
    write(frame, tmp_path / name)
    words = ("2 values infinite or beyond float32", 'column "emb_2"', 'id "103"', "correct them")
    refused(study(tmp_path, a=name), name, *words)


def test_row_19_text_in_an_embedding_column(tmp_path):
    frame = vectors().astype({"emb_2": object})
    frame.loc[[3, 7], "emb_2"] = "cloud"
    write(frame, tmp_path / "b.csv")
    words = ('column "emb_2"', "2 values", '"cloud"', 'id "103"', "correct them")
    refused(study(tmp_path), "b.csv", *words)


def test_row_20_null_vector(tmp_path):
    table = lists(vectors())
    rows = table["embedding"].to_pylist()
    rows[4] = None
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 4), pa.large_list(pa.float64())):
        column = pa.array(rows, kind)
        write(table.set_column(1, "embedding", column), tmp_path / "a.parquet")
        note = notes(study(tmp_path))["a", "missing value"]
        assert (note.count, note.first) == (1, "104")
    column = pa.array([None] * 13 + rows[13:], pa.list_(pa.float32()))
    write(table.set_column(1, "embedding", column), tmp_path / "a.parquet")
    refused(study(tmp_path), "a.parquet", "13 of 60 rows", '"100"')


def test_row_21_null_inside_a_vector(tmp_path):
    table = lists(vectors())
    rows = table["embedding"].to_pylist()
    rows[4][2] = None
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 4), pa.list_(pa.float16())):
        column = pa.array([[None if v is None else np.float16(v) for v in r] for r in rows], kind)
        write(table.set_column(1, "embedding", column), tmp_path / "a.parquet")
        note = notes(study(tmp_path))["a", "missing value"]
        assert (note.count, note.first) == (1, "104")


def test_row_22_unequal_lengths(tmp_path):
    table = lists(vectors())
    rows = table["embedding"].to_pylist()
    rows[4], rows[9] = rows[4][:3], rows[9] * 2
    write(table.set_column(1, "embedding", pa.array(rows)), tmp_path / "a.parquet")
    words = ('column "embedding"', "2 vectors", "than 4", "first 3", 'id "104"', "equal length")
    refused(study(tmp_path), "a.parquet", *words)


def test_row_23_names_differ_between_parts(tmp_path):
    write(vectors().iloc[:30], tmp_path / "parts/1.csv")
    write(vectors().iloc[30:].rename(columns={"emb_3": "emb_4"}), tmp_path / "parts/2.csv")
    path = study(tmp_path, a="parts/*.csv")
    refused(path, "2.csv", "2 columns", '"emb_4", "emb_3"', "1.csv", "the same columns")


def test_row_23_width_differs_between_parts(tmp_path):
    write(lists(vectors(4).iloc[:30], fixed=True), tmp_path / "parts/1.parquet")
    write(lists(vectors(5).iloc[30:], fixed=True), tmp_path / "parts/2.parquet")
    path = study(tmp_path, a="parts/*.parquet")
    refused(path, "2.parquet", '"embedding"', "[5]", "[4]", "1.parquet", "store all parts alike")


@pytest.mark.parametrize("value", [0.0, -1.0, -9999.0])
def test_row_24_fill_values(tmp_path, value):
    frame = vectors()
    frame.loc[[3, 7], "emb_0":] = value
    frame.loc[9, "emb_1":] = value  # not all of them: a vector
    write(frame, tmp_path / "a.parquet")
    note = notes(study(tmp_path))["a", "masked row"]
    assert (note.count, note.first) == (2, "103")
    frame.loc[:12, "emb_0":] = value
    write(frame, tmp_path / "a.parquet")
    refused(study(tmp_path), "a.parquet", "13 of 60 rows", '"100"', "20%")


def test_row_24_fill_values_in_arrays():
    x, z = (vectors(4, seed=s).drop(columns="id").to_numpy() for s in (1, 2))
    x = x.copy()
    x[[3, 7]] = -9999
    (task,) = align_arrays({"a": x, "b": z}, {"t": labels()["height"]})
    (note,) = task.notes
    assert (note.source, note.reason, note.count, note.first) == ("a", "masked row", 2, "3")
    x[:13] = -1
    with pytest.raises(InputError, match=r'embedding "a" \(array\).*13 of 60 rows'):
        align_arrays({"a": x, "b": z}, {"t": labels()["height"]})


def test_row_24_one_column_may_be_zero(tmp_path):
    frame = vectors(1)
    frame.loc[:20, "emb_0"] = 0.0
    write(lists(frame), tmp_path / "a.parquet")
    assert ("a", "masked row") not in notes(study(tmp_path))


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_row_25_integers(tmp_path, name):
    frame = (vectors() * 50).astype("int8").assign(id=vectors()["id"])
    write(frame, tmp_path / name)
    words = ("4 columns", '"emb_0"…"emb_3"', "integers (int", "de-quantised values as floats")
    refused(study(tmp_path, a=name), name, *words)


def test_row_25_integers_in_arrays():
    with pytest.raises(InputError, match=r'"a" \(array\): 4 columns of integers \(int8\)'):
        align_arrays({"a": np.ones((N, 4), np.int8)}, {"t": labels()["height"]})


def test_row_26_string_target_in_regression(tmp_path):
    frame = labels().astype({"height": object})
    frame.loc[[3, 7], "height"] = "tall"
    write(frame, tmp_path / "labels.csv")
    words = ('"height"', "2 values not read as a number", '"tall"', 'id "103"', "classification")
    refused(study(tmp_path), "labels.csv", *words)
    with pytest.raises(InputError, match=r'task "t" \(array\): target "t" has 60 values'):
        align_arrays({"a": np.eye(N)}, {"t": Task(labels()["crop"], kind="regression")})


def test_row_27_non_integer_class(tmp_path):
    frame = labels().assign(crop=np.arange(N) % 3 + 0.0)
    frame.loc[[3, 7], "crop"] += 0.5
    write(frame, tmp_path / "labels.csv")
    path = study(tmp_path, target="crop", kind="classification")
    words = ('"crop"', "2 non-integer numbers", "first 0.5", 'id "103"', 'kind = "regression"')
    refused(path, "labels.csv", *words)


def test_row_27_whole_numbers_are_classes(tmp_path):
    write(labels().assign(crop=np.arange(N) % 12 + 0.0), tmp_path / "labels.csv")
    (task,) = align(read_study(study(tmp_path, target="crop", kind="classification")))
    assert task.classes[:3] == ("0", "1", "2") and task.classes[-1] == "11"


def test_row_30_constant_column(tmp_path):
    frame = vectors().assign(emb_2=0.5)
    write(frame, tmp_path / "a.parquet")
    note = notes(study(tmp_path))["a", "constant column"]
    assert (note.count, note.first) == (1, "emb_2")


def test_row_31_fewer_rows_than_two_per_fold(tmp_path):
    (task,) = align(read_study(study(tmp_path)))
    check_rows(task, 30)
    with pytest.raises(InputError, match=r'task "t": 60 rows for --folds=31.*--folds=30 or fewer'):
        check_rows(task, 31)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lat": 91.0}, ('column "lat"', "1 value", "±90", "91.0", "correct them")),
        ({"lon": 181.0}, ('column "lon"', "1 value", "±180", "181.0")),
        ({"lat": 120.0, "lon": 30.0}, ('column "lat"', "swapped")),
        ({"lat": "12° N"}, ('column "lat"', "1 value", '"12° N"', "decimal degrees")),
        ({"lat": np.nan}, ('column "lat"', "1 value missing", "leave out lat and lon")),
    ],
)
def test_row_32_coordinates_out_of_range(tmp_path, change, words):
    frame = labels()
    for name, value in change.items():
        frame = frame.astype({name: object})
        frame.loc[4, name] = value
    write(frame, tmp_path / "labels.csv")
    path = study(tmp_path, task_keys='lat = "lat"\nlon = "lon"')
    refused(path, "labels.csv", 'id "104"', *words)


def test_row_32_coordinates_swapped_by_name(tmp_path):
    refused(study(tmp_path, task_keys='lat = "lon"\nlon = "lat"'), "labels.csv", "look swapped")


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a+b", "a\\u0007b", "a,b", "", ".hidden", "a\\\\b"]
)
@pytest.mark.parametrize("what", ["embedding", "task"])
def test_row_34_unusable_name(tmp_path, what, name):
    path = study(tmp_path)
    old = "[embeddings.a]" if what == "embedding" else "[tasks.t]"
    path.write_text(path.read_text().replace(old, f'{old.split(".")[0]}."{name}"]'))
    message = refused(path, "study.toml", f"{what} name", "cannot be used", "rename it")
    assert message.isprintable()


def test_row_34_unusable_name_in_arrays():
    with pytest.raises(InputError, match="embedding name"):
        align_arrays({"a+b": np.eye(N)}, {"t": np.ones(N)})
    with pytest.raises(InputError, match="task name"):
        align_arrays({"a": np.eye(N)}, {"a/b": np.ones(N)})


def test_row_36_same_file_under_two_names(tmp_path):
    refused(study(tmp_path, b="./a.parquet"), '"a" and "b"', "a.parquet", "remove one")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_row_36_same_vectors_under_two_names(tmp_path, dtype):
    frame = vectors(4, seed=1).sample(frac=1, random_state=1)
    write(frame.astype({f"emb_{j}": dtype for j in range(4)}), tmp_path / "b.parquet")
    path = study(tmp_path, b="b.parquet")
    refused(path, '"a" and "b"', "a.parquet", "b.parquet", "60 common rows", "remove one")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (lambda f: f["id"], "the id"),
        (lambda f: np.arange(N), "the row number"),
        (lambda f: f["lat"], "the coordinate lat"),
        (lambda f: -(f["lon"] ** 3), "the coordinate lon"),
        (lambda f: 3 * f["height"] + 2, "the target height"),
    ],
)
def test_row_37_leak(tmp_path, values, what):
    task = labels().sample(frac=1, random_state=3).reset_index(drop=True)
    write(task, tmp_path / "labels.csv")
    frame = vectors(ids=task["id"]).assign(emb_4=np.asarray(values(task)))
    write(frame, tmp_path / "a.csv")
    words = ('column "emb_4"', what, "1 such column", 'allow_leaks = ["emb_4"]', "Remove them")
    refused(study(tmp_path, a="a.csv"), "a.csv", *words)
    note = notes(study(tmp_path, a="a.csv", a_keys='allow_leaks = ["emb_4"]'))["a", "leak allowed"]
    assert (note.count, note.first) == (1, "emb_4")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_row_37_leak_by_name(tmp_path, name):
    path = study(tmp_path, a=name, a_keys='columns = "*"')
    refused(path, name, 'the id column "id" is among the 5 feature columns', "narrower pattern")
    write(vectors().assign(key=vectors()["id"]).drop(columns="id").assign(fid=0.5), tmp_path / name)
    path = study(tmp_path, a=name, a_keys='columns = "[ef][mi][bd]*"\nid = "key"')
    refused(path, name, 'column "fid"', "named like an id", "1 such column", 'columns = "…"')


def test_row_37_class_codes(tmp_path):
    frame = vectors().assign(emb_4=pd.factorize(labels()["crop"])[0] % 4 + 0.0)
    write(frame, tmp_path / "a.csv")
    path = study(tmp_path, a="a.csv", target="crop", kind="classification")
    refused(path, "a.csv", 'column "emb_4"', "a code of the class")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"top": 'jion = "inner"'}, ('unknown key "jion"', 'did you mean "join"?')),
        ({"a_keys": 'colums = "emb_*"'}, ("[embeddings.a]", 'did you mean "columns"?')),
        ({"task_keys": 'longitude = "lon"'}, ("[tasks.t]", 'unknown key "longitude"')),
        ({"task_keys": "lat = 3"}, ("[tasks.t]", "lat must be text", "a number")),
        ({"a_keys": "allow_leaks = [1]"}, ("[embeddings.a]", "allow_leaks", "list of texts")),
        ({"kind": "regresion"}, ("[tasks.t]", 'did you mean "regression"?')),
        ({"task_keys": "split = 3"}, ("[tasks.t]", "split must be text", "a number")),
        ({"a_keys": "path"}, ("study.toml", "not valid TOML", "line 4")),
        ({"task_keys": "[tasks.t.embeddings]\nc = 'x.csv'"}, ('unknown embedding "c"',)),
    ],
)
def test_row_38_study_file(tmp_path, keys, words):
    refused(study(tmp_path, **keys), "study.toml", *words)


def test_row_38_unset_path(tmp_path):
    path = study(tmp_path)
    path.write_text(path.read_text().replace('path = "b.csv"', ""))
    refused(path, "study.toml", "[tasks.t]", 'embedding "b"', "unset path", "set path under")


def test_row_39_remote_and_unreadable(tmp_path):
    refused(study(tmp_path, a="s5://bucket/a.parquet"), "[embeddings.a]: path", "opens s5://")
    (tmp_path / "empty").mkdir()
    refused(study(tmp_path, a="empty"), "[embeddings.a]", "no .parquet file")
