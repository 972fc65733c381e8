"""Many cells in one file: each comes out as it went in, or the file says that it is damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecjax import cell_file
from ecjax.cell_file import Damaged
from ecjax.cell_pack import LINE_BYTES, index_bytes, name_of, pack, read_index

CELLS = {
    f"{i}.cell": cell_file.pack({"entries": [], "unit": str(i)}, {"0": np.arange(i * 3.0)})
    for i in range(3)
}
CONTENT = pack(CELLS.items())


def members(content):
    """As a store reads them: by the file's first bytes."""
    return read_index(content[: index_bytes(content[:LINE_BYTES], len(content))])


def test_cells_come_out_as_they_went_in():
    found = members(CONTENT)
    assert {m.name: CONTENT[m.start : m.start + m.size] for m in found} == CELLS
    assert [m.header["unit"] for m in found] == ["0", "1", "2"]


@settings(deadline=None)
@given(place=st.integers(0, index_bytes(CONTENT, len(CONTENT)) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_index_is_noticed(place, bit):
    changed = bytearray(CONTENT)
    changed[place] ^= 1 << bit
    with pytest.raises(Damaged):
        members(bytes(changed))


@settings(deadline=None)
@given(size=st.integers(0, len(CONTENT) - 1))
def test_a_cut_file_is_noticed(size):
    with pytest.raises(Damaged):
        members(CONTENT[:size])


def test_a_damaged_cell_is_not_packed():
    with pytest.raises(Damaged):
        pack([("0.cell", CELLS["0.cell"][:-1])])


def test_the_name_follows_from_the_cells():
    assert name_of(["a", "b"]) == name_of(["b", "a"]) != name_of(["a"])
