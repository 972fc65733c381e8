"""What a regression target is changed by before anything is fitted to it, and how to go back.

Scores, indices and everything made of them are in the changed unit. Predictions are shown in the
target's own units, as `back` gives them.
"""

from __future__ import annotations

import numpy as np

from ecjax.errors import InputError, counted, quote

TRANSFORMS = ("none", "log1p")


def check_kind(transform: str, kind: str, where: str) -> None:
    """Raises an InputError if classes shall be transformed."""
    if transform != "none" and kind != "regression":
        raise InputError(
            f"{where}: transform = {quote(transform)} is for regression, but this is a task of "
            f"{kind}; remove transform, or give numbers and kind = {quote('regression')}"
        )


def forward(transform: str, values: np.ndarray, ids: np.ndarray, where: str) -> np.ndarray:
    """(n,) values of a target in the changed unit; NaN stays.

    Args:
        transform: "none", or "log1p": log(1 + value), for amounts of which a few are large.
        ids: (n,) for the message.
        where: The table and the target, for the message.

    Raises:
        InputError: A value is -1 or less, where log1p is undefined.
    """
    if transform == "none":
        return values
    low = np.flatnonzero(values <= -1)
    if len(low):
        raise InputError(
            f"{where} has {counted(len(low), 'value')} of -1 or less, first {values[low[0]]:g} at "
            f"id {quote(ids[low[0]])}, of which transform = {quote(transform)} knows no logarithm; "
            "correct them, leave them empty to drop these rows, or remove transform"
        )
    return np.log1p(values)


def back(transform: str, values: np.ndarray) -> np.ndarray:
    """Values of any shape in the target's own units: exp(value) - 1 for "log1p"."""
    if transform == "none":
        return values
    with np.errstate(over="ignore"):  # what is beyond all numbers is infinite
        return np.expm1(values)
