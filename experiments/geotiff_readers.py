"""Which library reads blocks of GeoTIFFs from servers that fail and files that lie?

    pip install rasterio async-geotiff obstore      # of the extra `benchmark`; ecjax needs none
    PYTHONPATH=tests python experiments/geotiff_readers.py      # some 5 minutes

24 places in 3 made files in AlphaEarth's layout, from a server on the loopback. Every case runs in
a process of its own, with 4 GiB of address space and 60 s. Expected: all three read the right
values where nothing is wrong; ecjax's alone refuses another version of a file in mid-read, which
the others mix with the first; async-tiff is ended, or kept busy, by files that lie, and reads wrong
values where bands that lie apart hold differences (predictor 2). The ratio is of bytes sent to
those of the blocks touched; obstore joins what lies less than 1 MiB apart, as in files this small.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import resource
import struct
import subprocess
import sys
import time

import make_geotiffs
import numpy as np
import pyarrow as pa
from make_geotiffs import Square, pixel_codes
from tile_server import Fault, TileServer

from ecjax import geotiff
from ecjax.http_range import Patience, Web

READERS = ("ecjax", "rasterio", "async-geotiff")
SIDE, BLOCK = 512, 128  # pixels
LIMIT = 60  # seconds
FAULTS = {
    "429 and Retry-After": (Fault(status=429, headers={"Retry-After": "3"}), 1),
    "500 twice": (Fault(status=500), 2),
    "cut body": (Fault(cut=0.5), 1),
    "silence": (Fault(delay=60), 1),
    "another version": (Fault(etag='"new"', body=lambda data: data[::-1]), None),
}
FILES = ("differences", "tag of 2**40 values", "directory in a loop", "block of 1 GiB")


def ecjax_reader(url: str, paths: list[str], pixels: np.ndarray) -> np.ndarray:
    web = Web(Patience(silence=5))
    found = []
    for path, places in zip(paths, pixels, strict=True):
        file = web.file(f"{url}/{path}")
        layout = geotiff.read_layout(file.read, file.size)
        for row, column in places:
            (down, inner_row), (across, inner_column) = divmod(row, BLOCK), divmod(column, BLOCK)
            planes = [file.read(*piece) for piece in geotiff.ranges(layout, down, across)]
            at = np.array([inner_row]), np.array([inner_column])
            found.append(np.concatenate([geotiff.values(layout, p, *at) for p in planes], axis=1))
    return np.concatenate(found)


def rasterio_reader(url: str, paths: list[str], pixels: np.ndarray) -> np.ndarray:
    import rasterio
    from rasterio.windows import Window

    options = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": "5",
        "GDAL_HTTP_RETRY_DELAY": "1",
        "GDAL_HTTP_TIMEOUT": "5",
    }
    found = []
    with rasterio.Env(**options):
        for path, places in zip(paths, pixels, strict=True):
            with rasterio.open(f"/vsicurl/{url}/{path}") as file:
                found += [file.read(window=Window(c, r, 1, 1))[:, 0, 0] for r, c in places.tolist()]
    return np.array(found)


def async_reader(url: str, paths: list[str], pixels: np.ndarray) -> np.ndarray:
    from async_geotiff import GeoTIFF
    from obstore.store import HTTPStore

    options = {"allow_http": True, "timeout": "5s"}
    store = HTTPStore.from_url(url, client_options=options, retry_config={"max_retries": 5})

    async def read() -> list:
        found = []
        for path, places in zip(paths, pixels, strict=True):
            file = await GeoTIFF.open(path, store=store)
            for row, column in places.tolist():
                tile = await file.fetch_tile(column // BLOCK, row // BLOCK)
                found.append(tile.array.data[:, row % BLOCK, column % BLOCK])
        return found

    return np.array(asyncio.run(read()))


def files_of(case: str) -> tuple[dict, list[str], np.ndarray, np.ndarray]:
    """Files, their paths, the pixels asked for (files, places, 2), and their right values."""
    rng = np.random.default_rng(0)
    side, count, places = (BLOCK, 1, 1) if case in FILES else (SIDE, 3, 8)
    squares = [Square("10N", 2021, side * i, 500_000, side) for i in range(1, count + 1)]
    options = {"block": BLOCK, "predictor": 2 if case == "differences" else 1}
    options["compression"] = "none" if case == "another version" else "zstd"
    if case == "block of 1 GiB":
        bomb = pa.Codec("zstd", 1).compress(bytes(1 << 30), asbytes=True)
        make_geotiffs._compressed = lambda data, compression: bomb
    files = {square.key: square.content(**options) for square in squares}
    if case == "tag of 2**40 values":
        many = side // BLOCK * side // BLOCK * make_geotiffs.BANDS
        lie = struct.pack("<HHQ", 324, 16, 1 << 40)
        files = {p: f.replace(struct.pack("<HHQ", 324, 16, many), lie) for p, f in files.items()}
    if case == "directory in a loop":
        for path, content in files.items():
            at = 24 + 20 * struct.unpack_from("<Q", content, 16)[0]
            files[path] = content[:at] + struct.pack("<Q", 16) + content[at + 8 :]
    blocks = np.tile(np.arange((side // BLOCK) ** 2), (count, 1))
    blocks = rng.permuted(blocks, axis=1)[:, :places]
    pixels = rng.integers(0, BLOCK, (count, places, 2))
    pixels += BLOCK * np.stack(np.divmod(blocks, side // BLOCK), axis=-1)
    right = [
        pixel_codes("10N", 2021, square.column + at[:, 1], square.row + at[:, 0]).T
        for square, at in zip(squares, pixels, strict=True)
    ]
    return files, list(files), pixels, np.concatenate(right)


def answer(reader: str, case: str, url: str) -> dict:
    """What came of one case, in this process."""
    _, paths, pixels, right = files_of(case)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    read = {"ecjax": ecjax_reader, "rasterio": rasterio_reader, "async-geotiff": async_reader}
    began = time.perf_counter()
    try:
        found = read[reader](url, paths, pixels)
        outcome = "right values" if np.array_equal(found, right) else "WRONG VALUES"
    except Exception as error:
        outcome = f"refused: {type(error).__name__}: {str(error).splitlines()[0][-90:]}"
    return {"outcome": outcome, "seconds": round(time.perf_counter() - began, 1)}


def run_case(reader: str, case: str) -> dict:
    """What came of one case, in a process of its own."""
    files, paths, pixels, _ = files_of(case)
    with TileServer(files) as server:
        if case in FAULTS:
            fault, times = FAULTS[case]
            server.misbehave(fault, path=paths[1], times=times, after=3)
        command = [sys.executable, __file__, f"--reader={reader}", f"--case={case}"]
        try:
            done = subprocess.run(
                [*command, f"--url={server.url}"], capture_output=True, text=True, timeout=LIMIT
            )
            lines = done.stdout.splitlines()
            told = json.loads(lines[-1]) if lines else {"outcome": "no answer"}
            if done.returncode:
                told["outcome"] = f"PROCESS ENDED with {done.returncode}: {told['outcome']}"
        except subprocess.TimeoutExpired:
            told = {"outcome": f"STILL AT IT after {LIMIT} s"}
        blocks = sum(len(np.unique(at // BLOCK, axis=0)) for at in pixels)
        nbytes = blocks * BLOCK**2 * make_geotiffs.BANDS  # they do not compress
        ratio = round(server.nbytes / nbytes, 2)
        return {**told, "requests": len(server.requests), "bytes_ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("reader", "case", "url"):
        parser.add_argument(f"--{name}")
    asked = parser.parse_args()
    if asked.url:
        print(json.dumps(answer(asked.reader, asked.case, asked.url)))
        return
    for package in ("pyarrow", "rasterio", "async-geotiff", "async-tiff", "obstore"):
        print(package, importlib.metadata.version(package))
    for case in [asked.case] if asked.case else ("nothing wrong", *FAULTS, *FILES):
        for reader in READERS:
            told = run_case(reader, case)
            print(f"{case:20} {reader:14}", *(f"{k} {v}" for k, v in told.items()), flush=True)


if __name__ == "__main__":
    main()
