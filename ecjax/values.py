"""What values may be: ids, coordinates, vectors and targets of tables and arrays alike."""

import numbers

import numpy as np
import pandas as pd

from ecjax import columns
from ecjax.errors import InputError, counted, listing, quote

# What stands for "no vector here" when a whole row of two or more columns holds it.
FILL_VALUES = (0.0, -1.0, -9999.0)
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def masked_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marks the rows of (n, p) vectors that stand for "no vector".

    Returns:
        (n,) rows with a NaN, and (n,) rows of two or more columns that hold one of FILL_VALUES
        throughout.
    """
    missing = np.zeros(len(vectors), bool)
    with np.errstate(all="ignore"):  # a sum tells in a quarter of the time which rows are in doubt
        doubtful = np.flatnonzero(~np.isfinite(np.einsum("ij->i", vectors)))
    missing[doubtful] = np.isnan(vectors[doubtful]).any(axis=1)
    fill = np.zeros(len(vectors), bool)
    if vectors.shape[1] >= 2:
        for value in FILL_VALUES:
            rows = np.flatnonzero(vectors[:, 0] == value)
            fill[rows] = (vectors[rows] == value).all(axis=1)
    return missing, fill


def check_finite(
    vectors: np.ndarray, names: list[str] | tuple[str, ...], ids: np.ndarray, where: str
) -> None:
    """Raises an InputError if a value is infinite or beyond float32's range; NaN may stand."""
    if not vectors.size:
        return
    largest = np.fmax.reduce(vectors, axis=None)
    smallest = np.fmin.reduce(vectors, axis=None)
    if not (largest > _FLOAT32_MAX or smallest < -_FLOAT32_MAX):  # both are NaN if all values are
        return
    rows, places = np.nonzero(np.abs(vectors) > _FLOAT32_MAX)
    raise InputError(
        f"{where}: {counted(len(rows), 'value')} infinite or beyond float32's range "
        f"({_FLOAT32_MAX:.3g}), first {vectors[rows[0], places[0]]} in column "
        f"{quote(names[places[0]])} at id {quote(ids[rows[0]])}; correct them, or leave them "
        "empty (NaN) so that these rows are masked"
    )


def check_ids(ids: np.ndarray, where: str) -> None:
    """Raises an InputError that shows three ids if any is given twice."""
    if (ids[1:] > ids[:-1]).all():
        return
    repeated = pd.Index(ids).duplicated(keep="first")
    if repeated.any():
        shown = list(dict.fromkeys(ids[repeated]))
        raise InputError(
            f"{where}: {counted(len(shown), 'duplicate id')} ({listing(shown)}) in "
            f"{counted(len(ids), 'row')}; keep one row of each"
        )


def coordinate(
    values: pd.Series, name: str, limit: float, ids: np.ndarray, where: str
) -> np.ndarray:
    """Returns a coordinate column as (n,) float64 degrees within ±limit.

    Raises:
        InputError: A value is no number, missing, or out of range.
    """
    if not pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        read = pd.to_numeric(values.astype(object), errors="coerce").to_numpy(np.float64)
        bad = np.flatnonzero(np.isnan(read)) if np.isnan(read).any() else np.arange(len(read))
        raise InputError(
            f"{where}: column {quote(name)} has {counted(len(bad), 'value')} not read as a number, "
            f"first {quote(values.iloc[bad[0]])} at id {quote(ids[bad[0]])}; give decimal degrees, "
            "or leave out lat and lon"
        )
    degrees = values.to_numpy(np.float64, na_value=np.nan)
    bad = ~(np.abs(degrees) <= limit)
    if bad.any():
        first, hint = int(np.flatnonzero(bad)[0]), hint_of_degrees(degrees, limit)
        raise InputError(
            f"{where}: column {quote(name)} has {counted(int(bad.sum()), 'value')} missing or "
            f"outside ±{limit} degrees, first {degrees[first]} at id {quote(ids[first])}{hint}; "
            "correct them or remove those rows; a task may also do without lat and lon"
        )
    return degrees


def hint_of_degrees(values: np.ndarray, limit: float) -> str:
    """What coordinates beyond the limit may be instead, for messages; "" where nobody can tell."""
    largest = np.nanmax(np.abs(values), initial=0)
    if limit == 90 < largest <= 180:
        return "; perhaps lat and lon are swapped"
    if largest > 360:
        return "; perhaps they are metres: transform them to EPSG:4326"
    if largest > limit == 180 and np.nanmin(values) >= 0:
        return "; perhaps they go from 0 to 360: subtract 360 from those above 180"
    return ""


def check_not_swapped(lat: str, lon: str, where: str) -> None:
    """Raises an InputError if lat is a column named like a longitude, or lon the other way."""
    if lat.lower() in columns.LONGITUDES or lon.lower() in columns.LATITUDES:
        raise InputError(
            f"{where}: lat = {quote(lat)} and lon = {quote(lon)} look swapped by their names; "
            "exchange them, or rename the columns"
        )


def regression_target(values: pd.Series, ids: np.ndarray, where: str) -> np.ndarray:
    """Returns a target as (n,) float64, NaN where missing.

    Raises:
        InputError: A value is text, true/false or infinite.
    """
    if pd.api.types.is_bool_dtype(values.dtype):
        raise InputError(
            f'{where}: true/false in a regression task; use kind = "classification" or give 0 and 1'
        )
    if pd.api.types.is_numeric_dtype(values.dtype):
        target = values.to_numpy(np.float64, na_value=np.nan)
    else:
        target = _from_objects(values, ids, where)
    infinite = np.flatnonzero(np.isinf(target))
    if len(infinite):
        raise InputError(
            f"{where} has {counted(len(infinite), 'infinite value')}, first at id "
            f"{quote(ids[infinite[0]])}; correct them, or leave them empty to drop these rows"
        )
    return target


def _from_objects(values: pd.Series, ids: np.ndarray, where: str) -> np.ndarray:
    """(n,) float64 from a column that is not numeric throughout."""
    given = values.notna().to_numpy()
    objects = values.astype(object).to_numpy()
    number = np.array([isinstance(v, numbers.Real) and not isinstance(v, bool) for v in objects])
    bad = np.flatnonzero(given & ~number & (objects != ""))
    if pd.api.types.is_string_dtype(values.dtype):
        unread = pd.to_numeric(values, errors="coerce").isna().to_numpy() & (objects != "")
        bad = np.flatnonzero(given & unread) if (given & unread).any() else bad
    if len(bad):
        raise InputError(
            f"{where} has {counted(len(bad), 'value')} not read as a number, first "
            f"{quote(objects[bad[0]])} at id {quote(ids[bad[0]])}, in a regression task; correct "
            'them, or use kind = "classification"'
        )
    target = np.full(len(objects), np.nan)
    target[given & number] = objects[given & number].astype(np.float64)
    return target


def class_target(
    values: pd.Series, ids: np.ndarray, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns class codes (n,) int32, -1 where missing, and the class labels as text.

    Labels are sorted, whole numbers by size; empty text is missing.

    Raises:
        InputError: The labels are numbers of which some are not whole.
    """
    labels = values.astype(object).to_numpy()
    missing = pd.isna(labels) | (labels == "")
    given = labels[~missing]
    if len(given) and all(
        isinstance(v, numbers.Real) and not isinstance(v, bool | np.bool_) for v in given
    ):
        broken = np.flatnonzero(~missing)[[not float(v).is_integer() for v in given]]
        if len(broken):
            raise InputError(
                f"{where} has {counted(len(broken), 'non-integer number')}, first "
                f"{labels[broken[0]]} at id {quote(ids[broken[0]])}, in a classification task; use "
                'kind = "regression", or labels that are whole numbers or text'
            )
        given = np.array([int(v) for v in given], object)
    else:
        given = np.array([str(v) for v in given], object)
    codes, classes = pd.factorize(given, sort=True)
    result = np.full(len(labels), -1, np.int32)
    result[~missing] = codes
    return result, tuple(str(label) for label in classes)


def infer_kind(values: pd.Series, where: str) -> str:
    """Returns the kind of a target by its type.

    Raises:
        InputError: The values are integers, or of a type that is neither numbers nor labels.
    """
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(kind):
        return "classification"
    if pd.api.types.is_integer_dtype(kind):
        raise InputError(
            f"{where}: integers may be amounts or class labels; say which with "
            'kind="regression" or kind="classification" in ecjax.Task'
        )
    if pd.api.types.is_float_dtype(kind):
        return "regression"
    given = [v for v in values.astype(object) if not pd.isna(v)]
    if given and all(isinstance(v, str | bool | np.bool_) for v in given):
        return "classification"
    raise InputError(
        f"{where}: values of type {kind} are neither floats (a regression target) nor text, "
        "true/false or categories (class labels); convert them, or give kind in ecjax.Task"
    )
