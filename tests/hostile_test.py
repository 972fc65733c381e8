"""Small files made to cost much: words given a million times, names of a thousand numbers."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from make_tables import labels, study, vectors, write_table

from ecjax import columns
from ecjax.align import align
from ecjax.errors import InputError
from ecjax.study import read_study

MANY = 20_000


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def words(kind: str) -> pa.Array:
    """One long word, stored once, in many rows."""
    word = pa.array(["x" * 300_000])
    if kind == "dictionary":
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(MANY, np.int8)), word)
    _, view, held = word.cast(pa.string_view()).buffers()
    views = pa.py_buffer(view.to_pybytes()[:16] * MANY)
    return pa.Array.from_buffers(pa.string_view(), MANY, [None, views, held])


@pytest.mark.parametrize("name", ["id", "crop", "lat"])
@pytest.mark.parametrize("kind", ["dictionary", "views"])
def test_a_word_that_is_stored_once_counts_as_often_as_it_is_given(tmp_path, name, kind):
    table = {
        "id": np.arange(MANY),
        "crop": ["rye"] * MANY,
        "lat": np.zeros(MANY),
        "lon": np.zeros(MANY),
    }
    table[name] = words(kind)
    write_arrow(pa.table(table), tmp_path / "labels.arrow")
    keys = 'lat = "lat"\nlon = "lon"'
    task = {"task": "labels.arrow", "target": "crop", "kind": "classification"}
    path = study(tmp_path, **task, task_keys=keys)
    start = time.process_time()
    with pytest.raises(InputError, match=r"labels.arrow.* (expand to|takes) 6,0\d\d,\d{3}"):
        align(read_study(path))
    assert time.process_time() - start < 2


@pytest.mark.parametrize("given", [["rye", "rye", "oats"], ["rye", None, "oats"]])
def test_a_dictionary_may_repeat_a_word_or_hold_none(tmp_path, given):
    places = pa.array([0, 1, 2] * 20, pa.int8())
    crops = pa.DictionaryArray.from_arrays(places, pa.array(given))
    table = pa.Table.from_pandas(labels().drop(columns="crop"), preserve_index=False)
    write_arrow(table.append_column("crop", crops), tmp_path / "labels.arrow")
    path = study(tmp_path, task="labels.arrow", target="crop", kind="classification")
    if None in given:  # in a third of the rows
        with pytest.raises(InputError, match="20 of 60 rows are missing"):
            align(read_study(path))
        return
    (task,) = align(read_study(path))
    assert [task.classes[code] for code in task.y] == [given[place] for place in places.to_pylist()]


def test_a_name_of_thousands_of_numbers_belongs_to_no_family(tmp_path):
    frame = vectors(4).assign(**{"1a" * 50_000: 1.0, "emb_" + "9" * 5_000: 2.0})
    write_table(frame, tmp_path / "a.csv")
    start = time.process_time()
    (task,) = align(read_study(study(tmp_path, a="a.csv")))
    assert task.embeddings["a"].shape[1] == 4 and time.process_time() - start < 2


def test_names_are_compared_in_one_go():
    start = time.process_time()
    columns.check_unique([f"n{j}" for j in range(100_000)], "a.csv")
    with pytest.raises(InputError, match='1 duplicate column, first "n7"'):
        columns.check_unique([f"n{j}" for j in range(100_000)] + ["n7"], "a.csv")
    assert time.process_time() - start < 2
