"""The store gives back what is in it, notices what is damaged, and stands other processes."""

import numpy as np
import pytest

from ecjax import cell_pack
from ecjax.cell_file import Damaged
from ecjax.cell_store import FOLDER, CellStore
from ecjax.cells import Key
from ecjax.places import place_of
from ecjax.status import compact

KEY = Key("base", ("s0", "s1"), ("a", "a+b"))
ARRAYS = {"squared_error": np.arange(8.0).reshape(2, 2, 2), "scale": np.ones(2)}


class Said(list):
    def __call__(self, line):
        self.append(line)


@pytest.fixture
def said():
    return Said()


@pytest.fixture
def store(tmp_path, said):
    place = place_of(tmp_path)
    found = CellStore(place, said)
    found.write_plan([])
    return found


def again(store, said):
    """As another process sees it."""
    return CellStore(store.place, said)


def path_of(store, tmp_path, file):
    return tmp_path / FOLDER / file


def test_another_process_finds_what_one_has_saved(store, said):
    file = store.save([(KEY, False, ARRAYS), (KEY._replace(base="b"), True, ARRAYS)], {})
    other = again(store, said)
    uses, entries, missing = other.cover(KEY, False)
    assert len(uses) == 1 and not missing and entries[0].file == file
    for own in other.load(file):
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(own[name], array)
    assert not said


def test_a_process_that_was_there_before_finds_it_after_a_refresh(store, said):
    before = again(store, said)
    store.save([(KEY, False, ARRAYS)], {})
    assert before.cover(KEY, False)[2]
    before.refresh()
    assert not before.cover(KEY, False)[2]


def test_without_predictions_a_cell_does_not_serve_those_who_want_them(store):
    store.save([(KEY, False, ARRAYS)], {})
    assert store.cover(KEY, True)[2] and not store.cover(KEY, False)[2]


def test_units_are_kept_in_their_order(store, said):
    arrays = tuple(np.full(i, i) for i in range(12))
    store.save_unit("unit", arrays, {})
    other = again(store, said)
    assert other.has_unit("unit") and not other.has_unit("other")
    for found, array in zip(other.load_unit("unit"), arrays, strict=True):
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("place", [3, 150, 300, -1])
def test_a_damaged_cell_is_told_removed_and_never_read(store, tmp_path, said, place):
    """In its line, its sums, its header and its numbers."""
    file = store.save([(KEY, False, ARRAYS)], {})
    content = bytearray(path_of(store, tmp_path, file).read_bytes())
    content[place] ^= 1
    path_of(store, tmp_path, file).write_bytes(content)
    with pytest.raises(Damaged):
        store.load(file)
    assert store.cover(KEY, False)[2] and not path_of(store, tmp_path, file).exists()
    (line,) = said
    assert file in line and "damaged" in line
    path_of(store, tmp_path, file).write_bytes(content)
    other = again(store, said)
    if other.files:  # its header is whole
        assert not other.verify(file)
    assert other.cover(KEY, False)[2] and other.damaged == 1


def test_a_cell_under_the_name_of_another_is_damaged(store, tmp_path, said):
    first = store.save([(KEY, False, ARRAYS)], {})
    second = store.save([(KEY._replace(base="other"), False, ARRAYS)], {})
    path_of(store, tmp_path, first).write_bytes(path_of(store, tmp_path, second).read_bytes())
    with pytest.raises(Damaged):
        store.load(first)
    assert again(store, said).files == [second]


def test_a_cell_of_another_version_is_left_alone(store, tmp_path, said):
    file = store.save([(KEY, False, ARRAYS)], {})
    path = path_of(store, tmp_path, file)
    path.write_bytes(path.read_bytes().replace(b"ecjax cell 1", b"ecjax cell 2", 1))
    other = again(store, said)
    assert other.cover(KEY, False)[2] and path.exists() and "another version" in said[0]


def test_compaction_beside_a_running_job(store, tmp_path, said):
    files = [store.save([(KEY._replace(base=base), False, ARRAYS)], {}) for base in "abc"]
    store.save_unit("unit", (np.ones(3),), {})
    compact(tmp_path)
    (name,) = (path.name for path in (tmp_path / FOLDER).glob("*.cell*"))
    assert name.endswith(cell_pack.ENDING)
    # The job does not know yet: it is told that the cell is gone, and then finds it.
    with pytest.raises(Damaged):
        store.load(files[0])
    for cells in (store, again(store, said)):
        assert cells.files == sorted([*files, "unit.cell"])
        for file in files:
            np.testing.assert_array_equal(cells.load(file)[0]["scale"], ARRAYS["scale"])
        np.testing.assert_array_equal(cells.load_unit("unit")[0], np.ones(3))
    # More cells, packed with the others.
    store.save([(KEY._replace(base="d"), False, ARRAYS)], {})
    compact(tmp_path)
    (other,) = (path.name for path in (tmp_path / FOLDER).glob("*.cell*"))
    assert other != name and len(again(store, said).files) == 5
    assert not said


def test_a_damaged_member_is_computed_again_and_its_new_file_goes_first(store, tmp_path, said):
    file = store.save([(KEY, False, ARRAYS)], {})
    other = store.save([(KEY._replace(base="other"), False, ARRAYS)], {})
    compact(tmp_path)
    (path,) = (tmp_path / FOLDER).glob("*.cells")
    content = path.read_bytes()
    start = next(m.start for m in cell_pack.read_index(content) if m.name == file)
    size = content.index(b"ecjax cell 1", start + 1) if start < len(content) // 2 else len(content)
    path.write_bytes(content[: size - 1] + bytes([content[size - 1] ^ 1]) + content[size:])
    cells = again(store, said)
    with pytest.raises(Damaged):
        cells.load(file)
    assert cells.load(other) and f"{path}: cell {file}: is damaged" in said[0] and path.exists()
    assert cells.save([(KEY, False, ARRAYS)], {}) == file
    np.testing.assert_array_equal(cells.load(file)[0]["scale"], ARRAYS["scale"])
    np.testing.assert_array_equal(again(store, said).load(file)[0]["scale"], ARRAYS["scale"])
    compact(tmp_path)
    assert len(again(store, said).files) == 2


def test_compaction_leaves_damaged_cells(store, tmp_path, said):
    file = store.save([(KEY, False, ARRAYS)], {})
    whole = store.save([(KEY._replace(base="other"), False, ARRAYS)], {})
    path = path_of(store, tmp_path, file)
    path.write_bytes(path.read_bytes()[:-1])
    assert "1 cell in 1 file; 1 damaged cell left, which evaluate" in compact(tmp_path)
    assert path.exists() and not path_of(store, tmp_path, whole).exists()


def test_a_damaged_index_is_noticed(store, tmp_path, said):
    store.save([(KEY, False, ARRAYS)], {})
    compact(tmp_path)
    (path,) = (tmp_path / FOLDER).glob("*.cells")
    content = bytearray(path.read_bytes())
    content[cell_pack.LINE_BYTES + 5] ^= 1
    path.write_bytes(content)
    assert not again(store, said).files and "damaged" in said[0]
