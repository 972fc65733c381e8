"""A cell's file gives back what was written, or says that it is damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecjax.cell_file import (
    LINE_BYTES,
    Damaged,
    OtherVersion,
    header_bytes,
    pack,
    read_header,
    unpack,
)

HEADER = {"entries": [["base", ["0"], ["a", "a+b"], False]], "what": "biomass"}
ARRAYS = {
    "0/squared_error": np.arange(12.0).reshape(1, 2, 3, 2) / 7,
    "0/count": np.array([[3, 4, 5]], np.int32),
    "0/none": np.zeros((0, 4)),
    "0/scalar": np.float64(-0.0),
    "0/hit": np.array([True, False]),
    "0/undefined": np.array([np.nan, np.inf]),
    "0/columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}
CONTENT = pack(HEADER, ARRAYS)


def read(content):
    """What a store reads of a file: its header by its first bytes, then all of it."""
    start = content[: max(LINE_BYTES, header_bytes(content[:LINE_BYTES], len(content)))]
    return read_header(start), unpack(content)


def test_what_was_written_is_read():
    header, (again, arrays) = read(CONTENT)
    assert header == again and {k: header[k] for k in HEADER} == HEADER
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert np.signbit(arrays["0/scalar"])


def test_equal_cells_are_equal_bytes():
    assert pack(dict(reversed(HEADER.items())), ARRAYS) == CONTENT


@settings(deadline=None, max_examples=300)
@given(place=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(place, bit):
    changed = bytearray(CONTENT)
    changed[place] ^= 1 << bit
    with pytest.raises((Damaged, OtherVersion)):
        read(bytes(changed))


@settings(deadline=None)
@given(start=st.integers(0, len(CONTENT) - 1), size=st.integers(1, 200))
def test_a_cut_or_a_longer_file_is_noticed(start, size):
    for changed in (CONTENT[:start], CONTENT[:start] + CONTENT[start + size :], CONTENT + b"\0"):
        with pytest.raises(Damaged):
            read(changed)


@pytest.mark.parametrize("start", [10, 11, 12])
def test_a_cut_makes_no_other_version(start):
    for size in range(1, 30):
        with pytest.raises(Damaged):
            read(CONTENT[:start] + CONTENT[start + size :])


def test_a_cell_of_another_version_is_told_from_a_damaged_one():
    with pytest.raises(OtherVersion):
        read(CONTENT.replace(b"ecjax cell 1 ", b"ecjax cell 2 ", 1))


def test_texts_and_objects_are_refused():
    for array in (np.array(["a"]), np.array([None], object)):
        with pytest.raises(TypeError, match="labels"):
            pack(HEADER, {"labels": array})
