"""GeoCLIP's location encoder (Vivanco Cepeda, Nayak and Shah, 2023), in JAX.

A place is projected to a plane (equal earth: Šavrič, Patterson and Jenny, 2018), and for each of a
few scales its random Fourier features go through a network of four layers, a capsule; the vector is
their sum. Weights are those of the public package `geoclip`, where it is installed.

The phases of the finest scale are thousands of radians, so that the last bit of a projected
coordinate, 6e-8 of it, moves a vector by up to 4e-4 of its length. Vectors as the package computes
them therefore need the coordinates as it rounds them: to float32 after each step.

Axes: n places, f features, h units, p columns.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax.errors import InputError
from ecjax.location_encoder import Layer, LocationEncoder, State, in_batches
from ecjax.torch_file import Checkpoint, open_checkpoint

WEIGHTS = Path("model", "weights", "location_encoder_weights.pth")  # in the package
INSTALL = "pip install --no-deps geoclip"
A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796  # of the projection
SCALE = 66.50336  # brings the projected latitude and longitude to degrees or so


class Capsule(NamedTuple):
    """The network of one scale: frequencies (f, 2), three layers with ReLU, and one without."""

    frequencies: Array
    hidden: tuple[Layer, ...]
    head: Layer


class GeoCLIP(LocationEncoder):
    """GeoCLIP's vectors of places.

    Args:
      weights: The file that holds the location encoder's; by default that of the package `geoclip`,
        which is found without being imported.

    Raises:
      InputError: There is none, or it holds something else.
    """

    name = "geoclip"
    licence = "MIT; GeoCLIP, Vivanco Cepeda, Nayak and Shah (2023), arXiv 2309.16020"

    def __init__(self, weights: str | os.PathLike | None = None):
        path = installed_weights() if weights is None else weights
        with open_checkpoint(path) as checkpoint:
            capsules = _capsules(checkpoint)
        self.file, self.sha256 = Path(path).name, checkpoint.sha256
        self.dims = len(capsules[0].head.bias)
        self._capsules = jax.device_put(capsules)

    def encode(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        angles = np.float32(2 * np.pi) * projected(lat, lon)
        network = functools.partial(_network, self._capsules)
        return in_batches(network, angles, self.dims)


def installed_weights() -> Path:
    """The weights that the installed package `geoclip` brings. Raises InputError without it."""
    found = importlib.util.find_spec("geoclip")
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        if (path := Path(folder) / WEIGHTS).is_file():
            return path
    raise InputError(
        f"geoclip: its weights are not here: the package geoclip brings them ({INSTALL}), or "
        "give the path of its location_encoder_weights.pth"
    )


def _capsules(checkpoint: Checkpoint) -> tuple[Capsule, ...]:
    """The weights of all scales, checked."""
    first = "LocEnc0.capsule.0.b"
    state = State(checkpoint, checkpoint.values, ("", "location_encoder."), first, "GeoCLIP")
    capsules: list[Capsule] = []
    columns = None
    while f"LocEnc{len(capsules)}.capsule.0.b" in state:
        name = f"LocEnc{len(capsules)}"
        frequencies = state.array(f"{name}.capsule.0.b", np.float32, None, 2)
        hidden, inputs = [], 2 * len(frequencies)
        for place in (1, 3, 5):
            hidden.append(state.layer(f"{name}.capsule.{place}", np.float32, inputs))
            inputs = len(hidden[-1].bias)
        head = Layer(
            state.array(f"{name}.head.0.weight", np.float32, columns, inputs),
            state.array(f"{name}.head.0.bias", np.float32, columns),
        )
        columns = len(head.bias)
        capsules.append(Capsule(frequencies, tuple(hidden), head))
    return tuple(capsules)


def projected(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """(n, 2) float32, x and y in the plane, rounded to float32 after each step as published.

    The functions are computed in float64 and rounded: libraries differ in the last bit of a sine in
    float32, and a compiler may leave out a rounding.
    """
    one = np.float32
    root = one(np.sqrt(3.0))
    latitude, longitude = (np.asarray(axis, one) * one(np.pi / 180) for axis in (lat, lon))
    theta = _rounded(np.arcsin, root / one(2) * _rounded(np.sin, latitude))
    power = {k: _rounded(lambda t, k=k: t**k, theta) for k in (2, 3, 6, 7, 8, 9)}
    slope = one(9 * A4) * power[8] + one(7 * A3) * power[6] + one(3 * A2) * power[2] + one(A1)
    x = one(2) * root * longitude * _rounded(np.cos, theta) / (one(3) * slope)
    y = one(A4) * power[9] + one(A3) * power[7] + one(A2) * power[3] + one(A1) * theta
    return np.stack([x, y], axis=1) * one(SCALE) / one(180)


def _rounded(function, values: np.ndarray) -> np.ndarray:
    return function(values.astype(np.float64)).astype(np.float32)


@jax.jit
def _network(capsules: tuple[Capsule, ...], angles: Array) -> Array:
    """(n, p) vectors of 2π times the projected coordinates (n, 2)."""
    vectors = jnp.zeros((), angles.dtype)
    for frequencies, hidden, head in capsules:
        phases = _times(angles, frequencies)
        units = jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=1)  # (n, 2 f)
        for layer in hidden:
            units = jax.nn.relu(_times(units, layer.weight) + layer.bias)  # (n, h)
        vectors = vectors + _times(units, head.weight) + head.bias
    return vectors


def _times(rows: Array, weight: Array) -> Array:
    """rows weightᵀ, in full float32 on every device."""
    return jnp.matmul(rows, weight.T, precision=lax.Precision.HIGHEST)
