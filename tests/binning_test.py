"""Strata of rows: values, bins of equal numbers, bins between edges, and what cannot be divided."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecjax import binning
from ecjax.errors import InputError


def strata(values, how):
    values = pd.Series(values)
    return binning.strata_of(values, how, np.arange(len(values)), 'strata "x"')


def test_each_value_is_a_stratum_and_missing_ones_are_in_none():
    found = strata(["wet", None, "dry", "wet", ""], "values")
    assert found.labels == ("dry", "wet") and found.codes.tolist() == [1, -1, 0, 1, -1]
    whole = strata([10, 9, 10], "values")
    assert whole.labels == ("9", "10") and whole.codes.tolist() == [1, 0, 1]


@given(st.lists(st.floats(-1e6, 1e6), min_size=12, max_size=60, unique=True), st.integers(2, 5))
def test_bins_of_a_number_hold_about_as_many_rows_each(values, bins):
    found = strata(values, bins)
    assert len(found.labels) == bins and (found.codes >= 0).all()
    sizes = np.bincount(found.codes, minlength=bins)
    assert sizes.max() - sizes.min() <= 2
    order = np.argsort(values)
    assert (np.diff(found.codes[order]) >= 0).all()


def test_a_bin_holds_its_lower_edge_and_the_last_one_both():
    found = strata([0, 5, 10, 10.1, -1, np.nan], (0.0, 5.0, 10.0))
    assert found.labels == ("0 to 5", "5 to 10")
    assert found.codes.tolist() == [0, 1, 1, -1, -1, -1]


def test_labels_tell_near_edges_apart():
    assert strata([1.0], (1.0, 1.00001, 1.00002)).labels == (
        "1 to 1.00001", "1.00001 to 1.00002",
    )  # fmt: skip


@pytest.mark.parametrize(
    "values, how, words",
    [
        ([0.5, 0.25], "values", "not whole"),
        (np.arange(500), "values", "500 different values"),
        ([None, None], "values", "no value"),
        ([1.0, 1.0, 1.0, 2.0], 3, "too many equal values"),
        (["a", "b"], 2, 'give "values"'),
        ([np.nan], 2, "no value"),
    ],
)
def test_what_cannot_be_divided_is_refused(values, how, words):
    with pytest.raises(InputError, match='strata "x"') as caught:
        strata(values, how)
    assert words in str(caught.value)


@pytest.mark.parametrize("given", ["value", 1, 0, 201, True, 2.5, [1], [2, 1], [0, None], {}, None])
def test_how_is_said_in_one_of_three_ways(given):
    with pytest.raises(InputError, match="number of bins"):
        binning.checked(given, "here")


def test_how_is_read_as_said():
    assert binning.all_checked({"a": "values", "b": 4, "c": [0, 1.5]}, "here") == {
        "a": "values", "b": 4, "c": (0.0, 1.5),
    }  # fmt: skip
    with pytest.raises(InputError, match="table of columns"):
        binning.all_checked("climate", "here")
