"""Which subsets are evaluated, and that the lattice reaches each of them once."""

import pytest

from ecjax.errors import InputError, UsageError
from ecjax.subsets import build_lattice, lattice_order, name, requested

NAMES = ["a", "b", "c"]


def test_all_subsets_by_size_then_in_the_studys_order():
    found = [name(s, NAMES) for s in requested(NAMES)]
    assert found == ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]


def test_wanted_sets_in_any_order_bring_their_members():
    assert requested(NAMES, ["c+a"]) == ((0,), (2,), (0, 2))
    assert requested(NAMES, max_size=1) == ((0,), (1,), (2,))
    assert len(requested([str(i) for i in range(10)])) == 1023


@pytest.mark.parametrize("wanted, says", [("a+x", '"x"'), ("a+a", "twice")])
def test_unknown_or_doubled_names_are_refused(wanted, says):
    with pytest.raises(UsageError, match=says):
        requested(NAMES, [wanted])


def test_eleven_embeddings_are_too_many():
    with pytest.raises(InputError, match="11 embeddings"):
        requested([str(i) for i in range(11)])


def test_lattice_order_does_not_depend_on_the_studys_order():
    widths = {"a": 3, "b": 9, "c": 3, "d": 5}
    orders = {
        tuple(list(names)[i] for i in lattice_order([widths[m] for m in names], list(names)))
        for names in ("abcd", "dcba", "cbad")
    }
    assert orders == {("b", "d", "a", "c")}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_subset_is_a_member_of_each_of_its_blocks_once(size):
    wanted = requested(["a", "b", "c", "d"], max_size=size)
    lattice = build_lattice((4, 3, 2, 1), wanted)
    for block, stage in enumerate(lattice.stages):
        members = [i for group in stage.members for i in group if i < len(wanted)]
        assert sorted(members) == [i for i, s in enumerate(wanted) if block in s]
