"""Tessera's vectors of 10,000 places from a made store in the published layout: are they exact?

    pip install zarr pyproj && PYTHONPATH=tests python experiments/fetch_tessera.py

The store is written by the zarr package as `geotessera` does: 128 bands, chunks of 32 x 32 pixels,
shards of 4096 x 4096. It has zones of both hemispheres, beside each other, and at the date line,
and one whose shards hold a chunk each; there is water, there are holes, a shard is missing. A
server on the loopback gives it out, rightly at first, then with every tenth answer wrong: 429, 500,
cut short, dropped, of another version, late. Compared are

- each vector with what zarr reads at the pixel, to the bit, and the reasons of those without one;
- the tables of a fetch that was killed 20 times with those of one that was not;
- the bytes that were read with those of the chunks (at most 1.5 times as many);
- `ecjax.utm` with PROJ, at a million places;
- where `geotessera` 0.10 or newer is installed (it wants Python 3.12), with its `sample_points`.

Exits with 1 if something differs. Takes a minute on one core and 0.7 GB of memory; with the
package, which was 0.11.0, another minute.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.metadata
import importlib.util
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import zarr
from absl import app, flags
from client_kills import survives
from make_zarr import inverse, project
from tile_server import Fault, TileServer
from zarr.codecs import BloscCodec

from ecjax import utm, web
from ecjax.models import Places, Unavailable, Vectors
from ecjax.tessera import DIMS, OUTSIDE, UNWRITTEN, WATER, Tessera

PLACES = flags.DEFINE_integer("places", 10_000, "How many are asked for.", 100)
THREADS = flags.DEFINE_integer("threads", 8, "That read at once.", 1)

CHUNK, SHARD, SIZE, BLOCK = 32, 4096, 8192, 192  # pixels
PIXEL = 10.0  # metres
ZONES = {31: (52.0, 0.05), 30: (52.0, -0.05), 20: (-10.0, -62.5), 60: (-17.0, 179.99),
         1: (-17.0, -179.99), 33: (70.0, 15.0), 45: (-45.0, 87.0)}  # fmt: skip
SCATTERED, ACROSS = 10, 12  # a zone, and shards along its side with a chunk each
CHUNKS: set[tuple[int, int, int]] = set()  # that hold places: zone, and place in its grid
FAULTS = (Fault(status=429, headers={"Retry-After": "0"}), Fault(status=500), Fault(cut=0.4),
          Fault(drop=True), Fault(etag='"of another version"'), Fault(delay=0.2))  # fmt: skip


class Grid:
    """One zone of the store: its corner in metres, and where its blocks are."""

    def __init__(self, number: int, lat: float, lon: float, size: int):
        east, north = project([lat], [lon], number)
        self.number, self.size = number, size
        self.west = round(float(east[0]) / PIXEL) * PIXEL - size // 2 * PIXEL
        self.north = round(float(north[0]) / PIXEL) * PIXEL + size // 2 * PIXEL
        self.blocks: list[tuple[int, int]] = []

    def write(self, root: zarr.Group, rng: np.random.Generator, block: int) -> None:
        """A block of pixels in each shard, around the middle of the grid where shards meet."""
        group = root.create_group(f"utm{self.number:02d}")
        how = {"compressors": BloscCodec(cname="zstd", clevel=3)}
        shape = self.size, self.size
        embeddings = group.create_array(
            "embeddings", shape=(1, DIMS, *shape), chunks=(1, DIMS, CHUNK, CHUNK),
            shards=(1, DIMS, SHARD, SHARD), dtype=np.int8, fill_value=np.int8(0),
            dimension_names=["time", "band", "y", "x"], **how,
        )  # fmt: skip
        scales = group.create_array(
            "scales", shape=(1, *shape), chunks=(1, CHUNK, CHUNK), shards=(1, SHARD, SHARD),
            dtype=np.float32, fill_value=np.float32("inf"), dimension_names=["time", "y", "x"],
            **how,
        )  # fmt: skip
        centres = (np.arange(self.size) + 0.5) * PIXEL
        axes = {"time": np.array([2021], np.int32), "band": np.arange(DIMS, dtype=np.int32),
                "y": self.north - centres, "x": self.west + centres}  # fmt: skip
        for name, values in axes.items():
            axis = group.create_array(
                name, shape=values.shape, dtype=values.dtype, dimension_names=[name], **how
            )
            axis[:] = values
        transform = [PIXEL, 0, self.west, 0, -PIXEL, self.north]
        group.attrs.update({"proj:code": f"EPSG:{32600 + self.number}"})
        group.attrs.update({"spatial:transform": transform})
        for y, x in self.blocks:
            vectors = np.clip(np.round(rng.normal(0, 20, (DIMS, block, block))), -127, 127)
            scale = rng.uniform(0.01, 0.1, (block, block)).astype(np.float32)
            scale[rng.random(scale.shape) < 0.02] = np.nan
            scale[rng.random(scale.shape) < 0.02] = np.inf
            embeddings[0, :, y : y + block, x : x + block] = vectors.astype(np.int8)
            scales[0, y : y + block, x : x + block] = scale


def main(_) -> None:
    rng = np.random.default_rng(0)
    faults = check_projection(rng)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        grids = make_store(Path(folder), rng)
        root = zarr.open_group(folder, mode="r")
        files = {p.relative_to(folder).as_posix(): p.read_bytes()
                 for p in Path(folder).rglob("*") if p.is_file()}  # fmt: skip
        size = sum(map(len, files.values()))
        print(f"store: {len(files)} files, {size:,} bytes, {time.monotonic() - started:.0f} s")
        del files["utm33/embeddings/c/0/0/0/0"], files["utm33/scales/c/0/0/0"]
        wanted, truth, reasons = make_places(grids, root, rng)
        with TileServer(files) as server:
            for name in ("right", "with faults"):
                faults += check(server, wanted, truth, reasons, name)
                web.PAUSE = 0.01
                for seed, fault in enumerate(FAULTS):
                    server.misbehave(fault, times=None, share=0.1 / len(FAULTS), seed=seed)
            server.behave()
            faults += check_package(server.url, wanted, truth)
            faults += [] if survives("tessera", server, wanted) else ["kills leave a trace"]
    print("\n".join(faults) or "all agree")
    if faults:
        raise SystemExit(1)


def make_store(folder: Path, rng: np.random.Generator) -> dict[int, Grid]:
    """Writes the store and returns its zones by number."""
    root = zarr.open_group(folder, mode="w", zarr_format=3)
    root.attrs.update({"geoemb:model": "https://geotessera.org/model/1.0",
                       "geoemb:dimensions": DIMS, "geoemb:build_version": "made"})  # fmt: skip
    grids = {}
    for number, (lat, lon) in ZONES.items():
        grid = grids[number] = Grid(number, lat, lon, SIZE)
        grid.blocks = [(y, x) for y in (SHARD - BLOCK, SHARD) for x in (SHARD - BLOCK, SHARD)]
        grid.write(root, rng, BLOCK)
    grid = grids[SCATTERED] = Grid(SCATTERED, 40.0, -123.0, ACROSS * SHARD)
    grid.blocks = [
        (SHARD * y + CHUNK * int(rng.integers(128)), SHARD * x + CHUNK * int(rng.integers(128)))
        for y in range(ACROSS) for x in range(0, ACROSS, 2)
    ]  # fmt: skip
    grid.write(root, rng, CHUNK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(folder)
    return grids


def make_places(grids, root: zarr.Group, rng) -> tuple[Places, np.ndarray, np.ndarray]:
    """Places, half of them at pixels' centres; what zarr reads there, and why there is none.

    Those whose pixel was never written, and those near a zone's edge whose own zone has another
    value, are settled as `geotessera` does: by the package where it is installed, else left out of
    the comparison (NaN and no reason).
    """
    lats, lons, values, reasons = [], [], [], []
    share = PLACES.value * 95 // 100 // len(ZONES)
    for number, grid in grids.items():
        scattered = number == SCATTERED
        side, count = (CHUNK, len(grid.blocks)) if scattered else (BLOCK, share)
        chosen = np.arange(count) if scattered else rng.integers(len(grid.blocks), size=count)
        inside = rng.integers(side, size=(count, 2))
        rows, columns = (np.array(grid.blocks)[chosen] + inside).T
        off = np.where(rng.random((2, count)) < 0.5, 0.0, rng.uniform(-0.49, 0.49, (2, count)))
        east = grid.west + (columns + 0.5 + off[0]) * PIXEL
        north = grid.north - (rows + 0.5 + off[1]) * PIXEL
        lat, lon = inverse(east, north, number)
        group = root[f"utm{number:02d}"]
        zero = np.zeros(count, int)
        scale = group["scales"].vindex[zero, rows, columns]
        index = np.broadcast_arrays(0, np.arange(DIMS), rows[:, None], columns[:, None])
        with np.errstate(invalid="ignore"):
            found = group["embeddings"].vindex[tuple(index)].astype(np.float32) * scale[:, None]
        gone = (number == 33) & (rows < SHARD) & (columns < SHARD)
        beside = np.isinf(scale) | gone | (utm.zones(lon) != number)
        beside |= np.isnan(scale) & (number in (60, 1))  # whose blocks overlap
        why = np.where(beside, "?", np.where(np.isnan(scale), WATER, ""))
        found[why != ""] = np.nan
        CHUNKS.update((number, int(y), int(x)) for y, x in np.stack([rows, columns], 1) // CHUNK)
        lats, lons = [*lats, lat], [*lons, lon]
        values, reasons = [*values, found], [*reasons, why.astype(object)]
    rest = PLACES.value - sum(map(len, lats))
    lats.append(rng.uniform(-90, 90, rest))
    lats[-1][:2] = 90, -90
    lons.append(np.full(rest, 100.0))  # a zone that the store lacks
    values.append(np.full((rest, DIMS), np.nan, np.float32))
    reasons.append(np.full(rest, OUTSIDE, object))
    order = rng.permutation(PLACES.value)
    lat, lon, truth, why = (np.concatenate(c)[order] for c in (lats, lons, values, reasons))
    return Places(lat, lon, np.full(len(lat), 2021)), truth, why


def check(server: TileServer, wanted: Places, truth, reasons, name: str) -> list[str]:
    """Reads all places and says what differs."""
    model = Tessera(server.url)
    estimate, parts = model.estimate(wanted), model.parts(wanted)
    requests, nbytes, started = len(server.requests), server.nbytes, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(THREADS.value) as threads:
        read = list(threads.map(lambda rows: persistently(model, wanted.at(rows)), parts))
    seconds = time.monotonic() - started
    order = np.argsort(np.concatenate(parts))
    found = Vectors(*(np.concatenate(columns)[order] for columns in zip(*read, strict=True)))
    answered = server.requests[requests:]
    ratio = (server.nbytes - nbytes) / chunk_bytes(server.files)
    judged = reasons != "?"
    wrong = judged & (found.reason != reasons)
    unequal = ~(found.values == truth).all(axis=1) & (reasons == "")
    mended = ((reasons == "?") & (found.reason == "")).sum()
    never = (found.reason == UNWRITTEN).sum()
    print(
        f"{name}: {len(wanted.lat):,} places in {len(parts)} parts, {seconds:.1f} s with "
        f"{THREADS.value} threads; {len(answered):,} requests (estimate {estimate.requests:,}), "
        f"{server.nbytes - nbytes:,} bytes (estimate {estimate.nbytes:,}), {ratio:.3f} times those "
        f"of the chunks; exact {((reasons == '') & ~unequal).sum():,}, differ "
        f"{unequal.sum()}, other reason {wrong.sum()}; of holes and edges {mended} found beside, "
        f"{never} never written"
    )
    faults = [f"{name}: {unequal.sum()} vectors differ"] if unequal.any() else []
    faults += [f"{name}: {wrong.sum()} reasons differ"] if wrong.any() else []
    return faults + ([f"{name}: {ratio:.2f} times the bytes"] if ratio > 1.5 else [])


def persistently(model: Tessera, places: Places) -> Vectors:
    """A part, which is asked for again where it fails, as `ecjax fetch` does when it goes on."""
    for _ in range(4):
        with contextlib.suppress(Unavailable):
            return model.read(places)
    return model.read(places)


def chunk_bytes(files: dict[str, bytes]) -> int:
    """Of all chunks that hold places, as they are compressed, by their shards' indices."""
    across, total = SHARD // CHUNK, 0
    for zone, y, x in CHUNKS:
        for name, between in (("embeddings", "0/"), ("scales", "")):
            key = f"utm{zone:02d}/{name}/c/0/{between}{y // across}/{x // across}"
            if key in files:
                index = np.frombuffer(files[key][-(across**2 * 16 + 4) : -4], "<u8").reshape(-1, 2)
                total += int(index[y % across * across + x % across, 1])
    return total


def check_package(url: str, wanted: Places, truth) -> list[str]:
    """Says what differs from the vectors that `geotessera` reads from the same server."""
    if importlib.util.find_spec("geotessera") is None:
        print("geotessera: not installed")
        return []
    version = importlib.metadata.version("geotessera")
    if importlib.util.find_spec("geotessera.store") is None:
        print(f"geotessera {version}: has no reader of Zarr stores; 0.10 has")
        return []
    from geotessera.store import GeoTesseraZarr
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    store = ObjectStore(HTTPStore(url, client_options={"allow_http": True}), read_only=True)
    rows = np.flatnonzero(np.abs(wanted.lat) < 89)[:2000]
    some, model = wanted.at(rows), Tessera(url)
    theirs = GeoTesseraZarr(store).sample_points(list(zip(some.lon, some.lat, strict=True)), 2021)
    ours = np.full_like(theirs, np.nan)
    for part in model.parts(some):
        ours[part] = model.read(some.at(part)).values
    unequal = ~np.all((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), axis=1)
    print(f"geotessera {version}: {len(rows):,} places, {unequal.sum()} differ")
    return [f"geotessera {version}: {unequal.sum()} vectors differ"] if unequal.any() else []


def check_projection(rng) -> list[str]:
    """Says where the projection differs from PROJ's by more than a micrometre."""
    from pyproj import Transformer

    worst = 0.0
    for zone in range(1, 61):
        lon = 6 * zone - 183 + rng.uniform(-3.2, 3.2, 17_000)
        lat = rng.uniform(-84, 84, 17_000)
        lon = (lon + 180) % 360 - 180
        theirs = Transformer.from_crs("EPSG:4326", f"EPSG:{32600 + zone}", always_xy=True)
        east, north = theirs.transform(lon, lat)
        ours = project(lat, lon, zone)
        worst = max(worst, np.abs(ours[0] - east).max(), np.abs(ours[1] - north).max())
    print(f"projection: {60 * 17_000:,} places differ from PROJ's by at most {worst:.1e} m")
    return ["the projection differs from PROJ's"] if worst > 1e-6 else []


if __name__ == "__main__":
    app.run(main)
