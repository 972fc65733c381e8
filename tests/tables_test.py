"""Containers, choice of columns, types and ids as stored."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_tables import N, labels, lists, vectors, write

from ecjax.columns import choose_columns, in_short
from ecjax.errors import InputError
from ecjax.study import EmbeddingSource, TaskSource
from ecjax.tables import read_embedding, read_task


def source(*paths, **keys):
    return EmbeddingSource("a", paths[0], tuple(paths), **keys)


def chosen(names, pattern=None, kind=None):
    schema = pa.schema([(n, kind or (pa.int64() if n == "id" else pa.float32())) for n in names])
    return choose_columns(schema, ("id",), pattern, "t")


@pytest.mark.parametrize(
    "names, words",
    [
        ([f"A{j:02d}" for j in range(64)], "A00 … A63"),
        (["embedding[0]", "embedding[1]", "embedding[2]"], "embedding[0] … embedding[2]"),
        (["emb_0", "emb_1"], "emb_0, emb_1"),
        (["slope", "height", "aspect", "2\x1b", "red"], "slope, height, aspect and 2 more"),
    ],
)
def test_columns_in_short(names, words):
    assert in_short(names) == words


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_wide_table_comes_back_as_written(tmp_path, name):
    frame = vectors(12)
    table = read_embedding(source(write(frame, tmp_path / name)))
    assert table.vectors.dtype == np.float64 and table.vectors.flags.c_contiguous
    assert (table.vectors == frame.drop(columns="id").to_numpy()).all()
    assert table.columns == tuple(f"emb_{j}" for j in range(12))
    assert table.ids.dtype == np.int64 and (table.ids == frame["id"]).all()
    assert not table.missing.any() and not table.fill.any()


@pytest.mark.parametrize("fixed", [True, False])
def test_list_column(tmp_path, fixed):
    frame = vectors(5)
    table = read_embedding(source(write(lists(frame, fixed), tmp_path / "a.parquet")))
    assert table.vectors.dtype == np.float32 and table.columns[4] == "embedding[4]"
    assert (table.vectors == frame.drop(columns="id").to_numpy(np.float32)).all()


def test_list_column_in_row_groups_with_null_vectors(tmp_path):
    rows = [None if i % 10 == 3 else [float(i), 1.0] for i in range(N)]
    table = pa.table({"id": range(N), "v": pa.array(rows, pa.list_(pa.float32(), 2))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    found = read_embedding(source(tmp_path / "a.parquet"))
    assert found.missing.sum() == 6 and found.missing[3]
    assert (found.vectors[~found.missing, 0] == np.arange(N)[~found.missing]).all()


@pytest.mark.parametrize(
    ("stored", "read"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_float_widths(tmp_path, stored, read):
    frame = vectors().astype({f"emb_{j}": stored for j in range(4)})
    table = read_embedding(source(write(frame, tmp_path / "a.parquet")))
    assert table.vectors.dtype == read
    assert (table.vectors == frame.drop(columns="id").to_numpy()).all()


def test_parts_are_joined_in_order_and_promoted(tmp_path):
    frame = vectors()
    first = write(frame.iloc[:20].astype({"emb_0": "float32"}), tmp_path / "1.parquet")
    second = write(frame.iloc[20:], tmp_path / "2.parquet")
    table = read_embedding(source(first, second))
    assert (table.ids == frame["id"]).all() and table.vectors.dtype == np.float64
    assert (table.vectors[20:] == frame.drop(columns="id").to_numpy()[20:]).all()


def test_columns_are_ordered_by_number_not_by_place(tmp_path):
    frame = vectors(12)
    shuffled = frame[["emb_11", "emb_2", "id", *[f"emb_{j}" for j in (0, 10, 1, *range(3, 10))]]]
    table = read_embedding(source(write(shuffled, tmp_path / "a.csv")))
    assert (table.vectors == frame.drop(columns="id").to_numpy()).all()


@pytest.mark.parametrize(
    "family",
    [
        [f"A{j:02}" for j in range(64)],
        [f"emb_{j}" for j in range(12)],
        [f"emb_{j:02}" for j in range(12)],
        [f"A{j:02}_2017" for j in range(64)],
        [f"{j}" for j in range(512)],
        [f"v2_dim{j}" for j in range(1, 5)],
    ],
)
def test_families_seen_in_the_wild(family):
    others = ["year", "lat", "lon", "system:index", "id"]
    assert chosen([*others, *reversed(family)]) == family


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a0", "a1", "b0", "b1"], ('"a0"…"a1" (2 columns)', '"b0"…"b1"', 'columns = "…"')),
        ([f"A{j:02}_{y}" for j in range(4) for y in (2017, 2018)], ("6 sets of columns",)),
        (["emb_0", "emb_1", "emb_3"], ('gap before "emb_3"', "3 columns found")),
        (["emb_0", "emb_1", "emb_01"], ("repeats a number",)),
        (["height", "slope"], ("no embedding columns found", '"height"')),
        (["emb_0"], ("no embedding columns found",)),
    ],
)
def test_ambiguous_or_broken_numbering_is_refused(names, words):
    with pytest.raises(InputError) as caught:
        chosen(["id", *names])
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_pattern_chooses(tmp_path):
    names = ["a0", "a1", "b1", "b10", "b2", "red", "nir"]
    assert chosen(names, "b*") == ["b1", "b2", "b10"]
    assert chosen(names, "[rn]*") == ["red", "nir"]
    with pytest.raises(InputError, match='no column matches columns = "c\\*"'):
        chosen(names, "c*")
    frame = vectors(2).assign(other_0=1.0, other_1=2.0)
    table = read_embedding(source(write(frame, tmp_path / "a.csv"), columns="emb_*"))
    assert table.columns == ("emb_0", "emb_1")


@given(st.integers(2, 30), st.integers(0, 5), st.sampled_from(["", "e", "A_", "2x"]), st.randoms())
def test_any_family_in_any_order_is_found(p, start, prefix, random):
    names = [f"{prefix}{start + j}" for j in range(p)]
    shuffled = ["id", *names]
    random.shuffle(shuffled)
    assert chosen(shuffled) == names


def test_a_hidden_integer_column_is_a_feature(tmp_path):
    frame = vectors().assign(emb_4=np.arange(N))
    for name in ("a.csv", "a.parquet"):
        table = read_embedding(source(write(frame, tmp_path / name)))
        assert table.columns[-1] == "emb_4" and (table.vectors[:, 4] == np.arange(N)).all()


def test_other_columns_are_left_out_but_coordinates_kept_for_the_guard(tmp_path):
    frame = vectors().assign(Lat=1.5, lon=[*range(N - 1), np.nan], year=2017, place="x")
    table = read_embedding(source(write(frame, tmp_path / "a.csv")))
    assert table.columns == tuple(f"emb_{j}" for j in range(4))
    assert list(table.coordinates) == ["Lat"]


def test_ids_of_csv(tmp_path):
    for ids, dtype in (
        ([f"{i}" for i in range(N)], np.int64),
        ([f"{i - 5}" for i in range(N)], np.int64),
        ([f"{i:03}" for i in range(N)], object),
        ([*(f"{i}" for i in range(N - 1)), "x"], object),
        ([f"{i}.0" for i in range(N)], object),
        (["NA", *(f"c{i}" for i in range(N - 1))], object),
    ):
        table = read_embedding(source(write(vectors(ids=ids), tmp_path / "a.csv")))
        assert table.ids.dtype == dtype and [str(i) for i in table.ids] == ids


def test_ids_of_parquet_keep_their_type(tmp_path):
    for ids, dtype in (
        (np.arange(N, dtype=np.uint16), np.int64),
        ([f"{i}" for i in range(N)], object),
        (pd.Categorical([f"{i}" for i in range(N)]), object),
    ):
        table = read_embedding(source(write(vectors(ids=ids), tmp_path / "a.parquet")))
        assert table.ids.dtype == dtype and isinstance(table.ids[0], str | np.int64)
    for ids in (np.arange(N) + 0.5, np.arange(N) + 0.0, np.arange(N, dtype=np.uint64) + 2**63):
        write(vectors(ids=ids), tmp_path / "a.parquet")
        with pytest.raises(InputError, match='id column "id" is of type'):
            read_embedding(source(tmp_path / "a.parquet"))


def test_csv_types_are_inferred_from_all_rows(tmp_path):
    n = 60_000  # beyond the reader's usual block of 1 MiB
    frame = vectors(2, n=n)
    frame["emb_1"] = [0] * (n - 1) + [0.5]
    task = pd.DataFrame({"id": frame["id"], "height": [0] * (n - 1) + [0.5], "pad": "x" * 20})
    assert read_embedding(source(write(frame, tmp_path / "a.csv"))).vectors[-1, 1] == 0.5
    path = write(task, tmp_path / "t.csv")
    assert _task(path, ("height",)).targets["height"].iloc[-1] == 0.5


def test_bom_quotes_and_line_breaks_in_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,emb_0,emb_1,note\r\n"x",1.5,2,"a,\nb"\r\n"y",,3,"c"\r\n')
    table = read_embedding(source(path))
    assert list(table.ids) == ["x", "y"] and list(table.missing) == [False, True]


def test_task_table(tmp_path):
    frame = labels().assign(country="NA", longitude=1.0, part="007")
    table = _task(write(frame, tmp_path / "t.csv"), ("height", "lat"), lat="lat", lon="lon")
    assert list(table.targets) == ["height", "lat"] and table.group is None
    assert table.lat.dtype == np.float64 and (table.lon == frame["lon"]).all()
    assert list(table.coordinates) == ["longitude"]
    table = _task(tmp_path / "t.csv", ("crop",), group="country")
    assert list(table.group[:2]) == ["NA", "NA"] and table.lat is None and table.split is None
    table = _task(tmp_path / "t.csv", ("crop",), split="part")
    assert list(table.split[:2]) == ["007", "007"] and table.roles == {"id": "id", "split": "part"}
    assert set(table.coordinates) == {"lat", "lon", "longitude"}
    with pytest.raises(InputError, match='unknown column for a target "heigt"; did you mean "hei'):
        _task(tmp_path / "t.csv", ("heigt",))


def _task(path, target, lat=None, lon=None, group=None, split=None):
    kind = "regression"
    return read_task(TaskSource("t", path, (path,), "id", target, kind, lat, lon, group, {}, split))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["x.csv", "x.parquet"]))
def test_no_content_ends_in_another_exception(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(b"PAR1" + content + b"PAR1" if name == "x.parquet" else content)
    with pytest.raises(InputError):
        read_embedding(source(path))


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_named(tmp_path, mark, name):
    path = tmp_path / "a.csv"
    vectors().to_csv(path, index=False, sep=mark)
    with pytest.raises(InputError, match=f"separated by {name}; save it with commas"):
        read_embedding(source(path))
