"""Encoders of other packages, which register themselves by an entry point.

A package names its encoder in its `pyproject.toml`:

    [project.entry-points."ecjax.encoders"]
    mymodel = "mypackage.vectors:encode"

and `ecjax fetch PLACES --models=mymodel` calls it:

    def encode(lat, lon, year):
        # lat, lon: (n,) float64 degrees; year: (n,) int64
        return vectors  # (n, p) floats; a row of NaN where there is no vector

What is named is such a function, an object or module with such a method `encode`, or a class of
such objects. It may have attributes: `dims` (p), `version` (of the weights; without it, that of
the package), `licence`, and `timeless`, true of what knows no years.

It is called from one thread at a time, with at most ROWS places.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from ecjax.errors import InputError, counted, quote
from ecjax.models import Estimate, Model, Places, Vectors

GROUP = "ecjax.encoders"
ROWS = 1024  # that are encoded together


def registered() -> dict[str, list[EntryPoint]]:
    """Name → the entry points that bear it, more than one where packages clash."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


class Encoder(Model):
    """An encoder that another package registers.

    Raises:
      InputError: it cannot be loaded, or is nothing that can be called.
    """

    def __init__(self, entry: EntryPoint):
        self.name = entry.name
        self._where = f"encoder {quote(entry.name)} (entry point {quote(entry.value)})"
        found = self._loaded(entry)
        self._encode = getattr(found, "encode", found)
        if not callable(self._encode):
            raise InputError(
                f"{self._where}: is a {type(found).__name__}, but a function of lat, lon and year "
                "is wanted, or an object with such a method encode"
            )
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        self.dims = getattr(found, "dims", None)
        self.version = str(getattr(found, "version", package))
        self.licence = str(getattr(found, "licence", "not stated"))
        self.timeless = bool(getattr(found, "timeless", False))
        self._alone = threading.Lock()

    def _loaded(self, entry: EntryPoint) -> Any:
        try:
            found = entry.load()
            return found() if inspect.isclass(found) else found
        except Exception as error:  # it is another package's code
            raise InputError(
                f"{self._where}: cannot be loaded ({_told(error)}); mend or update its package"
            ) from error

    def parts(self, places: Places) -> Sequence[np.ndarray]:
        rows = np.arange(len(places.lat))
        return [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]

    def estimate(self, places: Places) -> Estimate:
        return Estimate(0, 0, None, "computed on this machine")

    def read(self, places: Places) -> Vectors:
        with self._alone:
            try:
                found = self._encode(*(column.copy() for column in places))
            except Exception as error:  # it is another package's code
                raise InputError(
                    f"{self._where}: failed for {counted(len(places.lat), 'place')} "
                    f"({_told(error)}); mend or update its package"
                ) from error
        values = self._checked(found, places)
        absent = np.isnan(values).all(axis=1)
        given = np.full(len(values), "", object)
        return Vectors(values, given, given, np.where(absent, "none from the encoder", given))

    def _checked(self, found: Any, places: Places) -> np.ndarray:
        """(n, p) float32, as it was promised."""
        n, values = len(places.lat), np.asarray(found)
        dims = self.dims or max(1, values.shape[-1] if values.ndim else 1)
        if values.shape != (n, dims):
            raise InputError(
                f"{self._where}: returned an array of shape {values.shape} for "
                f"{counted(n, 'place')}, but ({n}, {self.dims or 'p'}) is wanted; mend its package"
            )
        if values.dtype.kind not in "fiu":
            raise InputError(
                f"{self._where}: returned an array of {values.dtype}, but floats are wanted; mend "
                "its package"
            )
        self.dims = dims
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused
            values = values.astype(np.float32)
        finite = np.isfinite(values)
        bad = np.flatnonzero(~finite.all(axis=1) & ~np.isnan(values).all(axis=1))
        if len(bad):
            first = bad[0]
            raise InputError(
                f"{self._where}: {counted(len(bad), 'vector')} of {n:,} hold values that are not "
                f"finite, first {values[first][~finite[first]][0]} at lat {places.lat[first]}, lon "
                f"{places.lon[first]}; only rows of NaN throughout may, where there is no vector"
            )
        return values


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
