"""Parts of a pair's score: they add up, and are those of commonality analysis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecjax import commonality
from ecjax.commonality import PARTS

SCORE = st.floats(-1, 1)
SUBSETS = [(0,), (1,), (0, 1)]
(PAIR,) = commonality.pairs(SUBSETS)


def parts(a, b, both, empty):
    linear = commonality.linear_weights(PAIR, 4) @ np.array([a, b, both, empty])
    return dict(zip(PARTS, commonality.parts(linear), strict=True)), linear


@given(SCORE, SCORE, SCORE, SCORE)
def test_the_parts_add_up_to_the_pairs_score(a, b, both, empty):
    found, _ = parts(a, b, both, empty)
    assert sum(found.values()) == pytest.approx(both, abs=1e-12)
    assert found["shared"] >= 0 and found["synergy"] >= 0
    assert found["shared"] == 0 or found["synergy"] == 0


def test_where_models_tell_the_same_the_parts_are_those_of_commonality_analysis():
    found, _ = parts(a=0.6, b=0.4, both=0.7, empty=0.0)
    expected = {"intercept": 0, "unique_a": 0.3, "unique_b": 0.1, "shared": 0.3, "synergy": 0}
    assert found == pytest.approx(expected)


def test_where_only_the_pair_tells_there_is_synergy():
    found, _ = parts(a=0.1, b=0.0, both=0.8, empty=0.0)
    expected = {"intercept": 0, "unique_a": 0.1, "unique_b": 0, "shared": 0, "synergy": 0.7}
    assert found == pytest.approx(expected)


def test_a_model_that_harms_has_a_negative_part():
    found, _ = parts(a=0.6, b=0.3, both=0.55, empty=0.1)
    assert found["unique_b"] == pytest.approx(-0.05)


@given(SCORE, SCORE, SCORE, SCORE, st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_ends_hold_the_parts_of_everything_within_the_intervals(a, b, both, empty, wide):
    found, linear = parts(a, b, both, empty)
    below, above = np.reshape(wide, (2, 6))
    low, high = commonality.ends(linear, below, above)
    assert (low <= np.array(list(found.values())) + 1e-12).all()
    for corner in (linear - below, linear + above):
        at = commonality.parts(corner)
        assert (low <= at + 1e-12).all() and (at <= high + 1e-12).all()


def test_only_pairs_are_parted():
    subsets = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    found = commonality.pairs(subsets)
    assert [(p.a, p.b) for p in found] == [(0, 1), (0, 2), (1, 2)]
    assert found[1].places == (7, 0, 2, 4)
