"""The values that a study sweeps: every combination is evaluated."""

import itertools
import math
from typing import Any

from ecjax import keys
from ecjax.errors import InputError, shown

SWEEPABLE = ("ridge_lambda", "logistic_c", "folds", "seed")


def swept(table: Any, where: str) -> dict[str, tuple]:
    """The table `[sweep]` of a study: key → its values.

    Raises:
        InputError: A key or value is none that can be swept.
    """
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table, not {keys.type_name(table)}")
    keys.check_keys(table, SWEEPABLE, (), where)
    return {key: _values(key, values, f"{where}: {key}") for key, values in table.items()}


def _values(key: str, values: Any, where: str) -> tuple:
    if not isinstance(values, list) or not values:
        raise InputError(f"{where} must be a list of at least one number, as in {key} = [1, 2]")
    # A penalty may also be a list of its own: the grid that `strict` chooses from.
    penalty = key in ("ridge_lambda", "logistic_c")
    grids = [value if penalty and isinstance(value, list) else [value] for value in values]
    for value in itertools.chain(*grids):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{where}: {shown(value)} is no number; give numbers only")
        whole, least = key in ("folds", "seed"), {"folds": 2, "seed": 0}.get(key)
        if whole and (not isinstance(value, int) or value < least or value >= 2**32):
            raise InputError(f"{where}: {shown(value)} must be a whole number of at least {least}")
        if not whole and not (math.isfinite(value) and value > 0):
            raise InputError(f"{where}: {shown(value)} must be a finite number above 0")
    for several in ([tuple(grid) for grid in grids], *grids):
        if not several:
            raise InputError(f"{where}: an empty list is no grid; give at least one number")
        if len(set(several)) < len(several):
            raise InputError(f"{where}: a value is given twice in {shown(values)}; remove one")
    if whole:
        return tuple(values)
    numbers = [tuple(map(float, grid)) for grid in grids]
    return tuple(
        grid if isinstance(value, list) else grid[0]
        for grid, value in zip(numbers, values, strict=True)
    )
