"""Which cells give what: each number once, nothing that is missing, whatever the order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecjax.cells import Key, cover

SEEDS, SUBSETS = "0123", ("a", "b", "c", "a+b")
KEYS = st.builds(
    Key,
    st.sampled_from(["base", "other"]),
    st.lists(st.sampled_from(SEEDS), min_size=1, unique=True).map(tuple),
    st.lists(st.sampled_from(SUBSETS), min_size=1, unique=True).map(tuple),
)


def used(uses, shape):
    """How often each number is given."""
    count = np.zeros(shape, int)
    for use in uses:
        count[np.ix_(use.seeds, use.subsets[use.subsets >= 0])] += 1
    return count


@settings(deadline=None)
@given(wanted=KEYS, stored=st.lists(KEYS, max_size=5))
def test_each_number_comes_from_one_cell_or_is_missing(wanted, stored):
    shape = len(wanted.seeds), len(wanted.subsets)
    uses, missing = cover(wanted, stored)
    count = used(uses, shape)
    for rectangle in missing:
        count[np.ix_(rectangle.seeds, rectangle.subsets)] += 1
    assert (count == 1).all()
    for use in uses:
        key = stored[use.number]
        assert key.base == wanted.base
        # All seeds of a cell, for it holds sums over them.
        assert [wanted.seeds[i] for i in use.seeds] == list(key.seeds)
        for place, name in zip(use.subsets, key.subsets, strict=True):
            assert place < 0 or wanted.subsets[place] == name


@settings(deadline=None)
@given(wanted=KEYS, stored=st.lists(KEYS, max_size=5), order=st.randoms())
def test_equal_stores_are_used_alike(wanted, stored, order):
    shuffled = stored.copy()
    order.shuffle(shuffled)

    def keys(cells):
        uses, missing = cover(wanted, cells)
        return [(cells[use.number], use.subsets.tolist()) for use in uses], missing

    assert keys(stored) == keys(shuffled)


def test_a_cell_of_too_many_seeds_is_not_used():
    wanted = Key("base", ("0", "1"), ("a", "b"))
    uses, missing = cover(wanted, [Key("base", ("0", "1", "2"), ("a", "b"))])
    assert not uses and missing == [((0, 1), (0, 1))]


def test_what_is_missing_is_grouped_by_subsets():
    wanted = Key("base", ("0", "1", "2"), ("a", "b", "a+b"))
    stored = [Key("base", ("1",), ("b", "a")), Key("base", ("0",), ("a", "b", "a+b"))]
    _, missing = cover(wanted, stored)
    assert missing == [((1,), (2,)), ((2,), (0, 1, 2))]
