"""Are AlphaEarth's vectors right and its bytes few, on a server that fails and a world with edges?

    PYTHONPATH=tests python experiments/fetch_alphaearth.py --places=10000      # some 2 minutes

Made files in the published layout (int8, 64 bands apart, blocks, Zstandard, bottom-up, UTM), from a
server on the loopback, at borders of zones on both sides of the equator and far north, the date
line, the equator, UTM's ends, and between. Places lie at the centres of pixels, so that the right
vector is known without any projection by ecjax; further ones have no file, no year or no UTM, or a
file that the index names and nobody has. Read in four threads, part by part, twice: from a server
that behaves, and from one where every tenth answer is a fault; a part that fails is asked for
again, as `ecjax fetch` does. What must hold, else the script ends with 1:

- every vector and every reason is the expected one, both times;
- bytes read are at most 1.5 times those of the blocks touched (index and heads included);
- a second model with the same cache asks for no index;
- 20 kills of `ecjax fetch` change no byte, and when all is there it asks for nothing.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from client_kills import survives
from make_geotiffs import BANDS, PIXEL, Square, index, pixel_codes, place_of
from tile_server import Fault, TileServer

from ecjax import geotiff, utm, web
from ecjax.alphaearth import AlphaEarth
from ecjax.models import Places, Unavailable, Vectors
from ecjax.quantised import dequantised

SIDE, BLOCK, YEARS = 256, 128, (2020, 2021)
# On or beside these lie the squares; where a border is, one in the zone on each side of it.
BORDERS = [(10, 6), (45, 12), (70, -120), (-1, 30), (-33, 18), (-55, -66), (10, 180), (-17, 180)]
INNER = [(83.9, 45), (-79.8, 100), (52.2, -1.1), (-23.5, 134), (64, 10), (0.05, 21), (-0.05, 21)]
LONELY = (35, 78)  # a border whose eastern zone has no file: the western one's is used
FAULTS = [
    Fault(status=429, headers={"Retry-After": "0.05"}),
    Fault(status=500),
    Fault(status=503),
    Fault(cut=0.6),
    Fault(short=0.3),
    Fault(drop=True),
    Fault(etag='"another"'),
    Fault(delay=1.5),
]
SAID = {True: "equal", False: "DIFFER"}
KINDS = ("inner", "at a border", "over a lonely border", "file gone", "no file", "no year", "pole")


class Wanted:
    """Places, and what is to come of each."""

    def __init__(self):
        self.rows = []  # lat, lon, year, kind
        self.codes, self.reasons, self.blocks = [], [], []

    def add(self, lat, lon, year, kind, codes, reason, block):
        self.rows.append((lat, lon, year, kind))
        self.codes.append(codes)
        self.reasons.append(reason)
        self.blocks.append(block)

    def places(self) -> Places:
        lat, lon, year, _ = zip(*self.rows, strict=True)
        return Places(np.array(lat), np.array(lon), np.array(year))


def squares_of(lat: float, lon: float, zone: int, year: int) -> Square:
    """The square of a grid that holds a point, which only says where the world has files."""
    at = utm.project(np.array([lat]), np.array([lon]), np.array([zone]), np.array([lat < 0]))
    column, row = (int(side[0] // (PIXEL * SIDE)) * SIDE for side in at)
    return Square(f"{zone}{'S' if lat < 0 else 'N'}", year, column, row, SIDE)


def world() -> dict[str, list[Square]]:
    """The squares, by kind."""
    own = {at: int(utm.zones(np.array([float(at[1])]))[0]) for at in [*BORDERS, *INNER, LONELY]}
    west = {at: (zone - 2) % 60 + 1 for at, zone in own.items()}
    made = collections.defaultdict(list)
    for year in YEARS:
        made["inner"] += [squares_of(*at, own[at], year) for at in INNER]
        made["at a border"] += [squares_of(*at, own[at], year) for at in BORDERS]
        made["at a border"] += [squares_of(*at, west[at], year) for at in BORDERS]
        made["over a lonely border"].append(squares_of(*LONELY, west[LONELY], year))
    made["file gone"].append(squares_of(20, 20, 34, 2021))
    return made


def drawn(squares: dict[str, list[Square]], count: int) -> Wanted:
    """Places at the centres of pixels, and some that are nowhere."""
    rng, wanted = np.random.default_rng(0), Wanted()
    nothing = np.full(BANDS, -128, np.int8)
    some = [(kind, square) for kind, those in squares.items() for square in those]
    while len(wanted.rows) < count - 60:
        kind, square = some[rng.integers(len(some))]
        inner = rng.integers(0, SIDE, 2)
        east, north = inner + (square.column, square.row)
        lat, lon = (float(a) for a in place_of(square.zone, east + 0.5, north + 0.5))
        own = int((lon + 180) // 6) % 60 + 1 == int(square.zone[:-1])
        if (kind != "over a lonely border") != own or (lat < 0) != square.zone.endswith("S"):
            continue  # it is another square's, or nobody's
        codes = pixel_codes(square.zone, square.year, east, north)
        reason = "masked pixel" if codes[0] == -128 else ""
        block = square.key, *(inner[::-1] // BLOCK).tolist()
        if kind == "file gone":
            codes, block = nothing, None
            reason = "the index names a file that is not there"
        wanted.add(lat, lon, square.year, kind, codes, reason, block)
    for i in range(20):
        lat, lon = rng.uniform(-60, 60), rng.uniform(-175, -125)
        wanted.add(lat, lon, 2021, "no file", nothing, "no file of 2021 holds this place", None)
        wanted.add(10.0, 6.0, 1990, "no year", nothing, "no file of 1990 is in the index", None)
        pole = "beyond UTM, which ends at 80° S and 84° N"
        wanted.add([84.1, 90, -80.1, -90][i % 4], lon, 2021, "pole", nothing, pole, None)
    return wanted


def read(model: AlphaEarth, places: Places) -> tuple[Vectors, int]:
    """All vectors, and how many times a part failed and was asked for again."""
    parts, again = list(model.parts(places)), 0
    columns = [[None] * len(places.lat) for _ in Vectors._fields]

    def one(part):
        try:
            return part, model.read(places.at(part))
        except Unavailable:
            return part, None

    while parts:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(one, parts))
        parts = [part for part, vectors in done if vectors is None]
        again += len(parts)
        for part, vectors in done:
            for column, found in zip(columns, vectors or (), strict=False):
                for row, value in zip(part, found, strict=True):
                    column[row] = value
    return Vectors(np.array(columns[0]), *(np.array(c, object) for c in columns[1:])), again


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--places", type=int, default=10_000)
    count = parser.parse_args().places
    squares = world()
    wanted = drawn(squares, count)
    places, kinds = wanted.places(), collections.Counter(row[3] for row in wanted.rows)
    gone = squares["file gone"][0]
    listed = [square for those in squares.values() for square in those]
    files = {square.key: square.content(block=BLOCK) for square in listed if square != gone}
    files["aef_index.parquet"] = index(listed)
    touched = {block for block in wanted.blocks if block}
    nbytes = 0
    for key, down, across in touched:
        content = files[key]
        layout = geotiff.read_layout(lambda start, stop, of=content: of[start:stop], len(content))
        nbytes += int(layout.counts[:, down, across].sum())
    print(f"{len(places.lat):,} places:", ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS))
    print(f"{len(listed)} files, {len(touched)} blocks touched, {nbytes / 1e6:.1f} MB")

    ok = True
    web.PAUSE, web.SILENCE = 0.02, 1.0
    with TileServer(files) as server, tempfile.TemporaryDirectory() as folder:
        for faults in ([], FAULTS):
            for number, fault in enumerate(faults):
                server.misbehave(fault, share=0.1 / len(faults), times=None, seed=number)
            server.requests.clear()
            began = time.perf_counter()
            model = AlphaEarth(server.url, cache=Path(folder) if not faults else None)
            vectors, again = read(model, places)
            seconds = time.perf_counter() - began
            right = np.array_equal(
                vectors.values, dequantised(np.array(wanted.codes)), equal_nan=True
            )
            right_reasons = vectors.reason.tolist() == wanted.reasons
            ratio = server.nbytes / nbytes
            failed = sum(request.status not in (206, 404) for request in server.requests)
            print("one answer in ten a fault:" if faults else "a server that behaves:")
            print(
                f"  values {SAID[right]}, reasons {SAID[right_reasons]}; {server.nbytes / 1e6:.1f} "
                f"MB, {ratio:.3f} of the blocks'; {len(server.requests):,} requests, {failed:,} "
                f"refused or dropped; {again} parts asked for again; {seconds:.0f} s",
                flush=True,
            )
            ok = ok and right and right_reasons and (ratio <= 1.5 or bool(faults))
        server.behave()
        before = sum(request.path == "aef_index.parquet" for request in server.requests)
        AlphaEarth(server.url, cache=Path(folder)).estimate(places)
        asked = sum(request.path == "aef_index.parquet" for request in server.requests) - before
        print(f"a second model with the same cache: {asked} requests for the index")
        ok = ok and not asked
        ok = survives("alphaearth", server, places) and ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
