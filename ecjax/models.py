"""What a model is that vectors are fetched from, or computed by, for given places.

`fetch` knows models by this alone: AlphaEarth and Tessera are read from where they are published,
GeoCLIP and SatCLIP are computed here, and whoever has another encoder registers it.

Axes: n places, p columns.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Places(NamedTuple):
    """Where, and of which year, vectors are wanted.

    Attributes:
      lat, lon: (n,) float64 degrees, within ±90 and ±180.
      year: (n,) int64; models that know no years leave it alone.
    """

    lat: np.ndarray
    lon: np.ndarray
    year: np.ndarray

    def at(self, rows: np.ndarray) -> Places:
        """Some of them."""
        return Places(*(column[rows] for column in self))


class Vectors(NamedTuple):
    """What was found.

    Attributes:
      values: (n, p) float32; NaN throughout where there is no vector.
      tile: (n,) object, the tile, file or weights that each came from; "" where there is none.
      checksum: (n,) object, of the bytes that each came from, as its source gives or we took it.
      reason: (n,) object, why there is none, in a few words; "" where there is one.
    """

    values: np.ndarray
    tile: np.ndarray
    checksum: np.ndarray
    reason: np.ndarray


class Estimate(NamedTuple):
    """What it would take.

    Attributes:
      requests: to a store or server; 0 for what is computed here.
      nbytes: to be read from there.
      seconds: in all, on this machine; None where nobody can tell.
      cost: who pays what, in a few words.
    """

    requests: int
    nbytes: int
    seconds: float | None
    cost: str


class Unavailable(Exception):
    """A source that does not answer, or says that it cannot now; the message says which and how.

    What was had before is kept, and the same command goes on later.
    """


class Model(abc.ABC):
    """One model.

    Attributes:
      name: as in `--models`.
      dims: p.
      version: of the data set and its variant, or of the weights; vectors of different versions
        are never mixed in a table.
      licence: of the vectors, and whom to name.
      timeless: whether it knows no years.
    """

    name: str
    dims: int
    version: str
    licence: str
    timeless: bool = False

    @abc.abstractmethod
    def parts(self, places: Places) -> Sequence[np.ndarray]:
        """Rows that are best read together, such as those of one tile; each row once.

        The same places always make the same parts, whatever was read before.
        """

    @abc.abstractmethod
    def estimate(self, places: Places) -> Estimate:
        """What `read` would take for these places; asks for no more than an index."""

    @abc.abstractmethod
    def read(self, places: Places) -> Vectors:
        """The vectors of one part. May run in several threads at once.

        Raises:
          Unavailable: after polite retries.
        """
