"""Are GeoCLIP's and SatCLIP's vectors the published ones, and how fast are they?

    pip install -e '.[benchmark]' && pip install --no-deps geoclip
    ECJAX_PAPER_DATA=../shared/data/better_together python experiments/encoders.py

Prints
- how far GeoCLIP's vectors are from the two tables that the public package computed: the relative
  difference of a vector must be at most 1e-5 in the median and 1e-3 at most, the cosine at least
  0.999999; expect 9e-7, 4e-4 and 0.9999999;
- the seconds for 100,000 places, and those of the package on PyTorch at its best of four batch
  sizes, each in a process of its own with the same cores and threads: under 60 s on 2 cores, and at
  most 1.2 of PyTorch's. Expect 5 s against 10 s, 0.5, on 2 quiet cores with AVX-512;
- how far SatCLIP's harmonics are from SciPy's (at most 1e-10 at L = 40; expect 1e-13), and its
  vectors, of checkpoints with random weights that PyTorch saved, from the published expressions on
  PyTorch in float64 (at most 1e-5 at L = 10; expect 1e-7, the rounding to float32);
- the same at L = 40 by latitude, where the published expressions, polynomials with 15 digits a
  coefficient, are themselves off: by 1e-5 of a vector at 45°, 1e-3 at 60° and 4e-2 at 85°.
Exits with 1 where a bound fails. Takes two minutes on 2 cores.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import types
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from absl import app, flags
from scipy import special

from ecjax.geoclip import GeoCLIP
from ecjax.satclip import SatCLIP, harmonics

PLACES = flags.DEFINE_integer("places", 100_000, "Places to time.")
THREADS = flags.DEFINE_integer("threads", 2, "Cores, and threads of PyTorch.")
CHILD = flags.DEFINE_string("child", "", "What to time, in a process of its own.")
BATCHES = (256, 512, 1024, 4096)
REPEATS = 2
TABLES = {
    "biomass": "biomass_cleaned_centre",
    "cropharvest200": "cropharvest_cleaned_global_threshold-200-sample",
}
FAILED: list[str] = []


def bound(what: str, value: float, most: float) -> None:
    """Prints a figure, and keeps in mind where it is too large."""
    print(f"{what}: {value:.2e}, at most {most:g}", flush=True)
    if not value <= most:
        FAILED.append(what)


def differences(found: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) relative lengths of the differences of vectors, and 1 - cosines."""
    found, expected = np.float64(found), np.float64(expected)
    length = np.linalg.norm(expected, axis=1)
    cosine = (found * expected).sum(axis=1) / length / np.linalg.norm(found, axis=1)
    return np.linalg.norm(found - expected, axis=1) / length, 1 - cosine


# GeoCLIP


def real_tables() -> None:
    """Against the tables of 8,185 places that the public package computed."""
    beside = Path(__file__).resolve().parents[2] / "shared/data/better_together"
    data = Path(os.environ.get("ECJAX_PAPER_DATA") or beside) / "data"
    model = GeoCLIP()
    print(f"GeoCLIP: {model.version}")
    for sample, labels in TABLES.items():
        table = pd.read_parquet(data / "geoclip" / f"{sample}_geoclip.parquet").set_index("id")
        places = pd.read_csv(data / "downstream_tasks" / f"{labels}.csv").set_index("index")
        places = places.loc[table.index]
        found = model.encode(places.lat.to_numpy(), places.lon.to_numpy())
        relative, turned = differences(found, table.to_numpy())
        bound(f"{sample}, {len(table):,} places: median difference", np.median(relative), 1e-5)
        bound(f"{sample}: largest difference", relative.max(), 1e-3)
        bound(f"{sample}: largest 1 - cosine", turned.max(), 1e-6)


def published_encoder() -> torch.nn.Module:
    """The package's, without the rest of the package, which imports what is not installed."""
    (folder,) = importlib.util.find_spec("geoclip").submodule_search_locations
    for name, path in (("geoclip", Path(folder)), ("geoclip.model", Path(folder, "model"))):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(path)]
    return importlib.import_module("geoclip.model.location_encoder").LocationEncoder().eval()


def time_one(kind: str, places: int) -> None:
    """Prints the best seconds, on the clock and of the CPU, of "ecjax" or of a batch size."""
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-85, 85, places), rng.uniform(-180, 180, places)
    if kind == "ecjax":
        encode = GeoCLIP().encode
    else:
        torch.set_num_threads(THREADS.value)
        encode = functools.partial(encode_published, published_encoder(), int(kind))
    encode(lat[:5000], lon[:5000])
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter(), time.process_time()
        vectors = encode(lat, lon)
        seconds.append([time.perf_counter() - start[0], time.process_time() - start[1]])
    assert vectors.shape == (places, 512)
    print(json.dumps(min(seconds)))


def encode_published(
    encoder: torch.nn.Module, batch: int, lat: np.ndarray, lon: np.ndarray
) -> np.ndarray:
    """What the package gives, in batches."""
    places = torch.from_numpy(np.float32(np.stack([lat, lon], axis=1)))
    with torch.inference_mode():
        return np.concatenate([encoder(rows).numpy() for rows in places.split(batch)])


def timed(kind: str, places: int) -> tuple[float, float]:
    """As `time_one`, in a process with THREADS cores."""
    cores = sorted(os.sched_getaffinity(0))[: THREADS.value]
    done = subprocess.run(
        [sys.executable, __file__, f"--child={kind}", f"--places={places}"]
        + [f"--threads={THREADS.value}"],
        env=os.environ | {"OMP_NUM_THREADS": str(THREADS.value)},
        preexec_fn=functools.partial(os.sched_setaffinity, 0, cores),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    clock, cpu = json.loads(done.stdout.splitlines()[-1])
    print(f"{kind:>6}: {places:,} places in {clock:.1f} s, {cpu:.1f} s of CPU", flush=True)
    return clock, cpu


def speed() -> None:
    """ecjax against the package at its best batch size."""
    few = max(PLACES.value // 5, 5000)
    best = min(BATCHES, key=lambda batch: timed(str(batch), few))
    rival, ours = timed(str(best), PLACES.value), timed("ecjax", PLACES.value)
    bound(f"seconds for {PLACES.value:,} places", ours[0], 60 * PLACES.value / 100_000)
    bound(f"seconds per second of PyTorch, batches of {best}", ours[0] / rival[0], 1.2)
    print(f"the same of the CPU: {ours[1] / rival[1]:.2f}")


# SatCLIP


def scipys(lat: np.ndarray, lon: np.ndarray, degrees: int) -> np.ndarray:
    """(n, L²) SciPy's harmonics, with the signs of the published ones, order 0 times π."""
    columns = []
    for degree in range(degrees):
        for order in range(-degree, degree + 1):
            m = abs(order)
            y = special.sph_harm_y(degree, m, np.radians(90 - lat), np.radians(lon))
            part = y.imag if order < 0 else y.real
            scale = math.sqrt(2) * (-1) ** m if m else math.pi
            columns.append((-1) ** degree * scale * part)
    return np.stack(columns, axis=1)


def expression(degree: int, order: int, x: torch.Tensor, phi: torch.Tensor) -> torch.Tensor:
    """A published expression: a polynomial in x = cos θ, its coefficients rounded to 15 digits."""
    m, half = abs(order), range(degree // 2 + 1)
    factorial = math.factorial
    powers = {  # of the m-th derivative of the Legendre polynomial
        degree - 2 * k - m: Fraction(
            (-1) ** k * factorial(2 * degree - 2 * k),
            2**degree * factorial(k) * factorial(degree - k) * factorial(degree - 2 * k - m),
        )
        for k in half
        if degree - 2 * k >= m
    }
    if not m:
        scale = math.sqrt((2 * degree + 1) / 4 * math.pi)
        terms = (digits(scale * float(c)) * x**k for k, c in powers.items())
        return sum(terms, torch.zeros_like(x))
    scale = (2 * degree + 1) / (2 * math.pi) * factorial(degree - m) / factorial(degree + m)
    polynomial = sum((digits(float(c)) * x**k for k, c in powers.items()), torch.zeros_like(x))
    turn = torch.cos(m * phi) if order > 0 else torch.sin(m * phi)
    return digits(math.sqrt(scale)) * (1.0 - x**2) ** (m / 2) * polynomial * turn


def digits(value: float) -> float:
    return float(f"{value:.15g}")


def published(state: dict, lat: np.ndarray, lon: np.ndarray, degrees: int) -> np.ndarray:
    """The published encoder in float64."""
    phi, theta = (torch.deg2rad(torch.from_numpy(a)) for a in (lon + 180, lat + 90))
    orders = ((degree, m) for degree in range(degrees) for m in range(-degree, degree + 1))
    units = torch.stack([expression(*pair, torch.cos(theta), phi) for pair in orders], dim=-1)
    for name, frequency in (("layers.0", 30), ("layers.1", 1), ("last_layer", 0)):
        weight, bias = (state[f"model.location.nnet.{name}.{part}"] for part in ("weight", "bias"))
        units = torch.nn.functional.linear(units, weight, bias)
        units = torch.sin(frequency * units) if frequency else units
    return units.numpy()


def random_checkpoint(path: Path, degrees: int) -> dict:
    """Saves a checkpoint in the published layout; returns its tensors."""
    generator, inputs, state = torch.Generator().manual_seed(degrees), degrees**2, {}
    for name, outputs in (("layers.0", 512), ("layers.1", 512), ("last_layer", 256)):
        reach = 1 / inputs if name == "layers.0" else math.sqrt(6 / inputs)
        for part, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
            for owner in ("model.nnet", "model.location.nnet"):
                state[f"{owner}.{name}.{part}"] = (2 * drawn - 1) * reach
        inputs = outputs
    settings = {"le_type": "sphericalharmonics", "pe_type": "siren", "legendre_polys": degrees}
    settings["harmonics_calculation"] = "analytic"
    torch.save({"state_dict": state, "hyper_parameters": settings}, path)
    return state


def satclip() -> None:
    """Harmonics against SciPy's, vectors against the published expressions."""
    lat, lon = np.meshgrid(np.linspace(-90, 90, 37), np.linspace(-180, 180, 25))
    lat, lon = lat.ravel(), lon.ravel()
    error = np.abs(harmonics(lat, lon, 40) - scipys(lat, lon, 40)).max()
    bound(f"SatCLIP: harmonics of L = 40 at {len(lat)} places", error, 1e-10)
    with tempfile.TemporaryDirectory() as folder:
        for degrees in (10, 40):
            state = random_checkpoint(Path(folder, "satclip.ckpt"), degrees)
            model = SatCLIP(Path(folder, "satclip.ckpt"))
            relative = differences(model.encode(lat, lon), published(state, lat, lon, degrees))[0]
            if degrees == 10:
                bound("SatCLIP: largest difference of a vector, L = 10", relative.max(), 1e-5)
            for north in (0, 30, 45, 60, 75, 85) if degrees == 40 else ():
                print(f"at L = 40 and {north}°: {relative[np.abs(lat) == north].max():.1e}")
            start = time.perf_counter()
            model.encode(np.tile(lat, 12), np.tile(lon, 12))
            print(f"L = {degrees}: {12 * len(lat) / (time.perf_counter() - start):,.0f} places/s")


def main(argv: list[str]) -> None:
    del argv
    if CHILD.value:
        time_one(CHILD.value, PLACES.value)
        return
    real_tables()
    satclip()
    speed()
    sys.exit(f"too large: {', '.join(FAILED)}" if FAILED else 0)


if __name__ == "__main__":
    app.run(main)
