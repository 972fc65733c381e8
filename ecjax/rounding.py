"""Numbers as readers see them: in the summary, the page and tables for a paper, all by one rule.

A number is rounded by how sure it is: to the second significant digit of half its interval, or of
its standard error. So what is shown is never finer than what is known, nor coarser than a reader
could check against the CSV.
"""

from __future__ import annotations

import math

PLAIN_DIGITS = 3  # decimals where nothing tells how sure a number is
MOST_DIGITS = 6


def number(value: float | None, digits: int = PLAIN_DIGITS, signed: bool = False) -> str:
    """A number for a reader: fixed decimals, "-" where undefined, no sign where it rounds to 0."""
    if value is None or math.isnan(value):
        return "-"
    if abs(value) >= 1e6:
        return f"{value:+.3g}" if signed else f"{value:.3g}"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text if float(text) else text.lstrip("+-")


def digits_of(error: float | None) -> int:
    """Decimals down to the second significant digit of a standard error or half an interval."""
    if error is None or not math.isfinite(error) or error <= 0:
        return PLAIN_DIGITS
    rounded = float(f"{error:.1e}")  # 0.0996 rounds to 0.10: two digits are two decimals
    return min(max(1 - math.floor(math.log10(rounded)), 0), MOST_DIGITS)


def measured(value: float, low: float, high: float, signed: bool = False) -> tuple[str, str, str]:
    """A number and the ends of its interval, all to the digits that the interval allows.

    Where an end is undefined or infinite, digits are `PLAIN_DIGITS`.
    """
    digits = digits_of((high - low) / 2)
    return tuple(number(each, digits, signed) for each in (value, low, high))
