"""What GeoCLIP and SatCLIP have in common: networks that are computed here, from coordinates.

Axes: n places, p columns.
"""

from __future__ import annotations

import abc
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ecjax.errors import InputError, listing, quote
from ecjax.models import Estimate, Model, Places, Vectors
from ecjax.torch_file import Checkpoint
from ecjax.torch_pickle import Tensor

BATCH = 1024  # places a call: the fastest on 1 and 2 cores, where 512 to 2,048 are within 10 %
PART = 8 * BATCH  # places that are read together, a second or two


class LocationEncoder(Model):
    """A model that needs nothing but weights and coordinates.

    Attributes:
      file: the name of the weights' file.
      sha256: of that file, in hexadecimal digits.
    """

    file: str
    sha256: str

    @property
    def version(self) -> str:
        return f"{self.file} sha256:{self.sha256}"

    @abc.abstractmethod
    def encode(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """(n, p) float32 vectors of places, given in degrees within ±90 and ±180."""

    def parts(self, places: Places) -> Sequence[np.ndarray]:
        n = len(places.lat)
        return [np.arange(start, min(start + PART, n)) for start in range(0, n, PART)]

    def estimate(self, places: Places) -> Estimate:
        batches = -(-len(places.lat) // BATCH)
        seconds = batches * self._seconds_a_batch if batches else 0.0
        return Estimate(0, 0, seconds, "nothing: computed on this machine")

    @functools.cached_property
    def _seconds_a_batch(self) -> float:
        """Measured, after a first call that compiles."""
        lat, lon = np.linspace(-80, 80, BATCH), np.linspace(-180, 180, BATCH)
        self.encode(lat, lon)
        start = time.perf_counter()
        self.encode(lat, lon)
        return time.perf_counter() - start

    def read(self, places: Places) -> Vectors:
        values = self.encode(places.lat, places.lon)
        tile, checksum, reason = (
            np.full(len(values), text, object) for text in (self.file, f"sha256:{self.sha256}", "")
        )
        return Vectors(values, tile, checksum, reason)


class Layer(NamedTuple):
    """x ↦ x weightᵀ + bias; weight (outputs, inputs), bias (outputs,)."""

    weight: Any
    bias: Any


class State:
    """The tensors of a checkpoint by their names, each checked as it is taken.

    Args:
      checkpoint: Open as long as this is used.
      tensors: That part of its values that holds them.
      prefixes: What may stand before the names that are asked for; the first that `known` follows.
      known: A tensor that every such model has.
      model: What it should be, for messages.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tensors: Any,
        prefixes: Sequence[str],
        known: str,
        model: str,
    ):
        self._checkpoint = checkpoint
        self._tensors = tensors if isinstance(tensors, dict) else {}
        found = [prefix for prefix in prefixes if prefix + known in self._tensors]
        if not found:
            held = [name for name, value in self._tensors.items() if isinstance(value, Tensor)]
            raise InputError(
                f"{checkpoint.path}: holds no weights of {model}: {quote(prefixes[0] + known)} is "
                f"not among its tensors ({listing(held) or 'none'}); give the file that it was "
                "published in"
            )
        self._prefix = found[0]

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def array(self, name: str, kind: type, *shape: int | None) -> np.ndarray:
        """One tensor's numbers as `kind`; None in `shape` is any size.

        Raises:
          InputError: it is not there, of another shape, or has numbers that are not finite.
        """
        name = self._prefix + name
        tensor, path = self._tensors.get(name), self._checkpoint.path
        if not isinstance(tensor, Tensor):
            raise InputError(f"{path}: lacks the tensor {quote(name)}; get the file again")
        sizes = zip(tensor.shape, shape, strict=False)
        if len(tensor.shape) != len(shape) or any(want not in (None, has) for has, want in sizes):
            wanted = " × ".join("any" if size is None else str(size) for size in shape)
            found = " × ".join(map(str, tensor.shape))
            raise InputError(f"{path}: {quote(name)} is {found}, not {wanted}; get the file again")
        values = self._checkpoint.array(tensor).astype(kind)
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {quote(name)} holds what is no number; get the file again")
        return values

    def layer(self, name: str, kind: type, inputs: int) -> Layer:
        """The weight and bias of one layer."""
        weight = self.array(f"{name}.weight", kind, None, inputs)
        return Layer(weight, self.array(f"{name}.bias", kind, len(weight)))


def in_batches(
    function: Callable[[np.ndarray], Any], inputs: np.ndarray, columns: int
) -> np.ndarray:
    """(n, columns) float32: what a function of BATCH rows gives, of any number of rows (n, k).

    The rows are always as many, so that it is compiled once, and a row's numbers do not depend on
    how many others there are.
    """
    values = np.empty((len(inputs), columns), np.float32)
    for start in range(0, len(inputs), BATCH):
        rows = inputs[start : start + BATCH]
        filled = np.zeros((BATCH, inputs.shape[1]), inputs.dtype)
        filled[: len(rows)] = rows
        values[start : start + BATCH] = np.asarray(function(filled))[: len(rows)]
    return values
