"""Labels that are read in pieces have the codes of `values.class_target`."""

import numpy as np
import pandas as pd
import pytest

from ecjax import stream_labels
from ecjax.errors import InputError
from ecjax.stream_files import StoredTable
from ecjax.stream_labels import codes_of, used_codes
from ecjax.study import read_study
from ecjax.tables import TaskReader
from ecjax.values import class_target

STUDY = """\
[embeddings.a]
path = "t.parquet"
columns = "x"
[tasks.t]
path = "t.parquet"
target = "y"
kind = "classification"
"""


def stored(folder, values):
    frame = pd.DataFrame({"id": np.arange(len(values)), "y": values, "x": 1.0})
    frame.to_parquet(folder / "t.parquet", index=False, row_group_size=3)
    (folder / "study.toml").write_text(STUDY)
    return StoredTable(TaskReader(read_study(folder / "study.toml").tasks["t"]))


@pytest.mark.parametrize(
    "values",
    [
        ["b", "a", "", "c", None, "a", "10", "9"],
        [10, 9, 9, -3, 10, 2],
        [10.0, None, 9.0, 100.0],
        [True, False, True, True],
    ],
    ids=["text", "whole numbers", "floats", "true or false"],
)
def test_codes_are_those_of_the_whole_column(tmp_path, monkeypatch, values):
    monkeypatch.setattr(stream_labels, "AT_ONCE", 2)
    table = stored(tmp_path, values)
    ids = np.arange(len(values))
    codes, classes = codes_of(table, "here", ids)
    expected = class_target(pd.read_parquet(tmp_path / "t.parquet")["y"], ids, "here")
    np.testing.assert_array_equal(codes, expected[0])
    assert classes == expected[1] and codes.dtype == expected[0].dtype


def test_a_label_that_is_no_whole_number_is_refused(tmp_path):
    with pytest.raises(InputError, match='here: target "y" has 1 non-integer number'):
        codes_of(stored(tmp_path, [1.0, 2.5]), "here", np.arange(2))


def test_only_used_classes_are_kept():
    codes, classes = np.array([2, 0, -1, 3, 2], np.int32), ("a", "b", "c", "d")
    keep = np.array([True, False, False, True, True])
    found, labels = used_codes(codes, classes, keep)
    assert found.tolist() == [0, -1, -1, 1, 0] and labels == ("c", "d")
