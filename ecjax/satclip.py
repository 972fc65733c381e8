"""SatCLIP's location encoder (Klemmer, Rolf, Robinson, Mackey and Rußwurm, 2023), in JAX.

A place's real spherical harmonics of degree l < L go through a sinusoidal network (SIREN: Sitzmann
et al., 2020). All in float64, as published. The published encoder takes longitude first; here it is
latitude first, as everywhere in ecjax.

Axes: n places, h units, p columns.
"""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import coordinates
from ecjax.errors import InputError, listing, quote
from ecjax.filesystems import CLOUD
from ecjax.location_encoder import Layer, LocationEncoder, State, in_batches
from ecjax.models import Unavailable
from ecjax.torch_file import Checkpoint, open_checkpoint

PUBLISHED = tuple(
    f"SatCLIP-{vision}-{degrees}"
    for vision in ("ResNet18", "ResNet50", "ViT16")
    for degrees in ("L10", "L40")
)
OWNER = "microsoft"  # on the model hub
DEFAULT = "SatCLIP-ViT16-L40"
CALCULATIONS = ("analytic", "closed-form")
FIRST_FREQUENCY = 30.0  # of the first layer's sine; the others' are 1
MAX_DEGREES = 100
PREFIXES = ("model.location.nnet.", "location.nnet.", "model.nnet.", "nnet.")


class SatCLIP(LocationEncoder):
    """SatCLIP's vectors of places.

    Args:
      weights: The path of a published checkpoint, or the name of one, such as "SatCLIP-ViT16-L40",
        which is fetched from the model hub (the extra `cloud`) unless it was before.
      download: Whether it may be.

    Raises:
      InputError: There is none, or it holds something else.
      Unavailable: The hub does not give it.
    """

    name = "satclip"
    licence = "MIT; SatCLIP, Klemmer et al. (2023), arXiv 2311.17179"

    def __init__(self, weights: str | os.PathLike = DEFAULT, download: bool = True):
        name = os.fspath(weights).removeprefix(f"{OWNER}/")
        path = from_hub(name, download) if name in PUBLISHED else weights
        if not Path(name).suffix and "/" not in name and not Path(path).exists():
            raise InputError(
                f"satclip: {quote(name)} is neither a file nor a published checkpoint; those are "
                f"{listing(PUBLISHED, 9)}"
            )
        with open_checkpoint(path) as checkpoint:
            layers, self.degrees, self.calculation = _weights(checkpoint)
        self.file, self.sha256 = Path(path).name, checkpoint.sha256
        self.dims = len(layers[-1].bias)
        with jax.enable_x64(True):
            self._layers = jax.device_put(layers)

    def encode(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        def network(places: np.ndarray) -> Array:
            features = harmonics(*places.T, self.degrees, self.calculation)
            return _siren(self._layers, features)

        with jax.enable_x64(True):
            return in_batches(network, np.stack([lat, lon], axis=1).astype(float), self.dims)


def from_hub(name: str, download: bool = True) -> Path:
    """The file of a published checkpoint, fetched from the model hub or kept since an earlier time.

    Args:
      download: False: it must have been fetched before, and nothing is asked for.

    Raises:
      InputError: the hub's package is not installed.
      Unavailable: the hub does not give it.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import logging
    except ImportError:
        raise InputError(
            f"satclip: fetching {quote(name)} needs huggingface_hub, which {CLOUD} brings; or give "
            "the path of a checkpoint"
        ) from None
    repository, file = f"{OWNER}/{name}", f"{name.lower()}.ckpt"
    loud = logging.get_verbosity()
    logging.set_verbosity_error()  # what fails is told below, once
    try:
        return Path(hf_hub_download(repository, file, local_files_only=not download))
    except Exception as error:  # of many kinds, the HTTP client's own among them
        if not download:
            raise Unavailable(
                f"satclip: {file} is not here yet; a fetch without --dry_run gets it from the "
                "model hub"
            ) from None
        fault = " ".join(str(error).split())[:300] or type(error).__name__
        raise Unavailable(
            f"satclip: the model hub does not give {file} of {repository} ({fault}); fetch it "
            "elsewhere and give its path"
        ) from None
    finally:
        logging.set_verbosity(loud)


def _weights(checkpoint: Checkpoint) -> tuple[tuple[Layer, ...], int, str]:
    """The layers, the number of degrees L, and the way that harmonics are calculated."""
    values = checkpoint.values if isinstance(checkpoint.values, dict) else {}
    tensors = values.get("state_dict", values)
    state = State(checkpoint, tensors, PREFIXES, "last_layer.weight", "SatCLIP")
    inputs = state.array("layers.0.weight", np.float64, None, None).shape[1]
    degrees = math.isqrt(inputs)
    calculation = _checked(checkpoint.path, values.get("hyper_parameters"), inputs, degrees)
    layers: list[Layer] = []
    while f"layers.{len(layers)}.weight" in state:
        layers.append(state.layer(f"layers.{len(layers)}", np.float64, inputs))
        inputs = len(layers[-1].bias)
    return (*layers, state.layer("last_layer", np.float64, inputs)), degrees, calculation


def _checked(path: str, settings: Any, inputs: int, degrees: int) -> str:
    """How harmonics are calculated, after a look at the settings that the model was made with."""
    settings = settings if isinstance(settings, dict) else {}
    wanted = {
        "le_type": ("sphericalharmonics",),
        "pe_type": ("siren",),
        "harmonics_calculation": CALCULATIONS,
        "legendre_polys": (degrees,),
    }
    for key, accepted in wanted.items():
        value = settings.get(key, accepted[0])
        if type(value) not in (str, int) or value not in accepted:
            raise InputError(
                f"{path}: {key} = {quote(str(value)[:80])} in its hyper_parameters is not what is "
                f"computed here, {listing(accepted)}; give a published SatCLIP checkpoint"
            )
    if degrees**2 != inputs or not 1 <= degrees <= MAX_DEGREES:
        raise InputError(
            f"{path}: its first layer takes {inputs:,} features, which is no square of a number of "
            f"degrees up to {MAX_DEGREES}; give a published SatCLIP checkpoint"
        )
    return settings.get("harmonics_calculation", CALCULATIONS[0])


def harmonics(
    lat: np.ndarray, lon: np.ndarray, degrees: int, calculation: str = CALCULATIONS[0]
) -> np.ndarray:
    """The real spherical harmonics that SatCLIP takes, in its order and with its signs.

    They are Y(l, m) of l = 0 … L - 1 and of m = -l … l within each, at the colatitude latitude +
    90° and the longitude + 180°: the south pole is on top, the date line in the middle. In terms of
    those of `coordinates.harmonics`, which are orthonormal and without the Condon-Shortley phase,
    they are (-1)^l Y(l, m). Two ways to calculate them were published:

    - "analytic", of the published checkpoints: those of order 0 are π times as large;
    - "closed-form": with the Condon-Shortley phase, another (-1)^m.

    The published analytic expressions are polynomials that lose digits as l grows, towards the
    poles: at l = 39 they are off by 5e-8 at 30°, 1e-2 at 60° and 0.6 at 85°, which moves vectors by
    1e-3 of their length at 60° (`experiments/encoders.py`). These here are exact to 1e-13.

    Returns:
      (n, L²) float64.
    """
    values = np.empty((len(lat), degrees**2))
    values[:, 0] = math.sqrt(1 / (4 * math.pi))
    values[:, 1:] = coordinates.harmonics(lat, lon, degrees - 1)
    return values * _factors(degrees, calculation)


@functools.cache
def _factors(degrees: int, calculation: str) -> np.ndarray:
    """(L²,) what the columns are multiplied by."""
    pairs = [(0, 0), *coordinates.degrees_and_orders(degrees - 1)]
    if calculation == "analytic":
        return np.array([(-1.0) ** d * (1 if m else math.pi) for d, m in pairs])
    return np.array([(-1.0) ** (d + m) for d, m in pairs])


@jax.jit
def _siren(layers: tuple[Layer, ...], features: Array) -> Array:
    """(n, p) float32 vectors of harmonics (n, L²)."""
    frequency = FIRST_FREQUENCY
    *hidden, last = layers
    for layer in hidden:
        features = jnp.sin(frequency * (_times(features, layer.weight) + layer.bias))  # (n, h)
        frequency = 1.0
    return (_times(features, last.weight) + last.bias).astype(jnp.float32)


def _times(rows: Array, weight: Array) -> Array:
    return jnp.matmul(rows, weight.T, precision=lax.Precision.HIGHEST)
