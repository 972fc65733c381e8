"""Tests of ecjax.rounding: what is shown agrees with what is known, and is as fine as that is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecjax.rounding import MOST_DIGITS, digits_of, measured, number


@pytest.mark.parametrize(
    "error, digits",
    [(0.02, 3), (0.0996, 2), (0.1, 2), (0.094, 3), (1.4, 1), (23.0, 0), (1e-9, MOST_DIGITS),
     (0.0, 3), (math.nan, 3), (math.inf, 3), (None, 3)],
)  # fmt: skip
def test_digits_follow_the_second_digit_of_the_error(error, digits):
    assert digits_of(error) == digits


def test_a_number_and_its_interval_share_their_digits():
    assert measured(0.12345, 0.1, 0.15, signed=True) == ("+0.123", "+0.100", "+0.150")
    assert measured(0.12345, 0.12341, 0.12349) == ("0.123450", "0.123410", "0.123490")
    assert measured(12.3456, 2.0, 24.0) == ("12", "2", "24")
    assert measured(0.5, math.nan, math.nan) == ("0.500", "-", "-")


@given(st.floats(-1e5, 1e5), st.floats(1e-4, 1e3))
def test_what_is_shown_is_the_number_to_within_the_error(value, error):
    text = measured(value, value - error, value + error)[0]
    assert abs(float(text) - value) <= max(0.051 * error, 0.5 * 10.0**-MOST_DIGITS * 1.001)


def test_number():
    assert [number(v) for v in (0.12345, -2, math.nan, None, 1e7)] == [
        "0.123", "-2.000", "-", "-", "1e+07",
    ]  # fmt: skip
    assert [number(v, signed=True) for v in (0.5, -0.5, 0.0, -0.0001, 0.0004)] == [
        "+0.500", "-0.500", "0.000", "0.000", "0.000",
    ]  # fmt: skip
    assert number(-4.2e8, signed=True) == "-4.2e+08"
