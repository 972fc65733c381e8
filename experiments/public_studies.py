"""Ten studies as people publish them, each from raw files and at most ten lines of TOML.

What is made up here has the shape, the names, the keys and the gaps of public tables; whether
`ecjax validate` and `ecjax evaluate` take them as they are is the question.

    python experiments/public_studies.py            # all, 2 minutes
    python experiments/public_studies.py --only=panel,quantised --keep=DIR

For each study: lines of TOML, what `validate` and `evaluate` exit with (0, or 3 where a number is
undefined for a reason in the data), rows used, and the index of the set of all embeddings.
Exits 1 where one of them exits with anything else, or has other rows than it must have.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from absl import app, flags

from ecjax import cli

_ONLY = flags.DEFINE_list("only", [], "studies; empty: all")
_KEEP = flags.DEFINE_string("keep", "", "directory for the files; by default they are removed")

LATENT = 12  # dimensions of what the world is made of
MOST_LINES = 10


class World(NamedTuple):
    """Places and what can be seen of them.

    Attributes:
      lat, lon: (n,) degrees.
      latent: (n, LATENT) what all embeddings and labels are made from.
    """

    lat: np.ndarray
    lon: np.ndarray
    latent: np.ndarray


class Made(NamedTuple):
    """A study that is ready to run.

    Attributes:
      toml: the study file.
      rows: that each of its tasks must have.
      arguments: of `ecjax evaluate`.
      before: runs before `validate`, as `ecjax fetch` does; its arguments.
    """

    toml: str
    rows: dict[str, int]
    arguments: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


def world(n: int, rng: np.random.Generator) -> World:
    """A made-up world, smooth over the map."""
    lat, lon = rng.uniform(-55, 70, n), rng.uniform(-180, 180, n)
    return World(lat, lon, _latent(lat, lon, rng))


def _latent(lat: np.ndarray, lon: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    phase = np.stack([np.radians(lat), np.radians(lon)], 1) @ rng.integers(-6, 7, (2, LATENT))
    return np.sin(phase + rng.uniform(0, 6, LATENT)) + 0.5 * rng.normal(size=phase.shape)


def seen(of: World, dims: int, rng: np.random.Generator, blind: int = 4) -> np.ndarray:
    """(n, dims) float32 of unit norm: all but some dimensions of the world, and noise."""
    weights = rng.normal(size=(LATENT, dims))
    weights[rng.choice(LATENT, blind, replace=False)] = 0
    vectors = np.tanh(of.latent @ weights / 4) + 0.1 * rng.normal(size=(len(of.lat), dims))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def labels(of: World, rng: np.random.Generator, t: int = 1, noise: float = 0.5) -> np.ndarray:
    """(n, t) numbers that rest on the world."""
    return of.latent @ rng.normal(size=(LATENT, t)) + noise * rng.normal(size=(len(of.lat), t))


def wide(vectors: np.ndarray, name: str = "A{:02d}") -> pd.DataFrame:
    """Vectors, a column for each dimension."""
    return pd.DataFrame(vectors, columns=[name.format(j) for j in range(vectors.shape[1])])


def listed(vectors: np.ndarray, **columns) -> pa.Table:
    """Vectors in one column `embedding` of lists, beside others."""
    kind = pa.list_(pa.from_numpy_dtype(vectors.dtype), vectors.shape[1])
    return pa.table(columns | {"embedding": pa.array(list(vectors), kind)})


def counties(folder: Path, rng: np.random.Generator) -> Made:
    """County-level labels with text keys that begin with zeros, left out state by state."""
    of = world(400, rng)
    geoid = [f"{1 + i // 10:02d}{1 + 2 * (i % 10):03d}" for i in range(400)]
    wide(seen(of, 64, rng)).assign(GEOID=geoid).to_csv(folder / "alphaearth.csv", index=False)
    pq.write_table(listed(seen(of, 128, rng), GEOID=geoid), folder / "tessera.parquet")
    table = pd.DataFrame({"GEOID": geoid, "STATEFP": [g[:2] for g in geoid]})
    table["median_income"] = 50_000 * np.exp(0.1 * labels(of, rng)[:, 0])
    table.sample(frac=1, random_state=1).to_csv(folder / "acs.csv", index=False)
    return Made(
        """
[embeddings]
alphaearth = { path = "alphaearth.csv", id = "GEOID" }
tessera = { path = "tessera.parquet", id = "GEOID" }
[tasks.income]
path = "acs.csv"
id = "GEOID"
target = "median_income"
kind = "regression"
group = "STATEFP"
""",
        {"income": 400},
        ("--split=group", "--folds=10"),
    )


def panel(folder: Path, rng: np.random.Generator) -> Made:
    """Two years side by side: columns A00_2017 … in one table, a table a year in the other."""
    of = world(500, rng)
    table, vectors = pd.DataFrame({"field": np.arange(500) * 7}), []
    for year in (2017, 2018):
        own = of._replace(latent=of.latent + 0.3 * rng.normal(size=of.latent.shape))
        table[f"yield_{year}"] = labels(own, rng)
        vectors.append(wide(seen(own, 64, rng), "A{:02d}_" + str(year)))
        tessera = listed(seen(own, 128, rng), field=table["field"].to_numpy())
        pq.write_table(tessera, folder / f"tessera_{year}.parquet")
    table.to_csv(folder / "yields.csv", index=False)
    pd.concat([table[["field"]], *vectors], axis=1).to_csv(folder / "aef.csv.gz", index=False)
    return Made(
        """
embeddings.alphaearth = { path = "aef.csv.gz", id = "field", columns = "A*_2017" }
embeddings.tessera = { path = "tessera_2017.parquet", id = "field" }
tasks.y2017 = { path = "yields.csv", id = "field", target = "yield_2017", kind = "regression" }
[tasks.y2018]
path = "yields.csv"
id = "field"
target = "yield_2018"
kind = "regression"
embeddings = { alphaearth = { columns = "A*_2018" }, tessera = "tessera_2018.parquet" }
""",
        {"y2017": 500, "y2018": 500},
        ("--folds=5",),
    )


def imbalanced(folder: Path, rng: np.random.Generator) -> Made:
    """Classes of 90, 8 and 2 per cent, as flooded, burnt or mined land is."""
    of = world(1_500, rng)
    score = labels(of, rng)[:, 0]
    names = np.select(
        [score > np.quantile(score, 0.98), score > np.quantile(score, 0.9)],
        ["mine", "built"],
        "other",
    )
    ids = np.arange(1_500)
    pd.DataFrame({"id": ids, "cover": names}).to_csv(folder / "points.csv", index=False)
    pa.feather.write_feather(listed(seen(of, 64, rng), id=ids), folder / "alphaearth.feather")
    np.save(folder / "tessera.npy", seen(of, 128, rng))
    np.save(folder / "tessera_ids.npy", ids)
    return Made(
        """
embeddings.alphaearth.path = "alphaearth.feather"
embeddings.tessera = { path = "tessera.npy", ids = "tessera_ids.npy" }
tasks.cover = { path = "points.csv", target = "cover", kind = "classification" }
""",
        {"cover": 1_500},
        ("--split=stratified", "--folds=5"),
    )


def sixty_rows(folder: Path, rng: np.random.Generator) -> Made:
    """Sixty field plots, fewer than columns."""
    of = world(60, rng)
    plots = [f"plot {i}" for i in range(60)]
    table = pd.DataFrame({"plot": plots, "Lat": of.lat, "Lon": of.lon})
    table["agb"] = np.exp(0.3 * labels(of, rng)[:, 0])
    table.to_csv(folder / "plots.csv", index=False)
    for name, dims in (("alphaearth", 64), ("geoclip", 512)):
        vectors = wide(seen(of, dims, rng), "emb_{}")
        vectors.assign(plot=plots).to_csv(folder / f"{name}.csv", index=False)
    return Made(
        """
embeddings.alphaearth = { path = "alphaearth.csv", id = "plot" }
embeddings.geoclip = { path = "geoclip.csv", id = "plot" }
[tasks.biomass]
path = "plots.csv"
id = "plot"
target = "agb"
kind = "regression"
transform = "log1p"
lat = "Lat"
lon = "Lon"
""",
        {"biomass": 60},
        ("--folds=5", "--seeds=3"),
    )


def many_targets(folder: Path, rng: np.random.Generator) -> Made:
    """The abundance of 300 species at 800 sites."""
    of = world(800, rng)
    table = pd.DataFrame(labels(of, rng, 300), columns=[f"sp_{j:03d}" for j in range(300)])
    table.insert(0, "site", np.arange(800))
    pq.write_table(pa.Table.from_pandas(table), folder / "species.parquet")
    for name, dims in (("alphaearth", 64), ("satclip", 256)):
        pq.write_table(listed(seen(of, dims, rng), site=np.arange(800)), folder / f"{name}.parquet")
    return Made(
        """
embeddings.alphaearth = { path = "alphaearth.parquet", id = "site" }
embeddings.satclip = { path = "satclip.parquet", id = "site" }
[tasks.species]
path = "species.parquet"
id = "site"
target = "sp_*"
kind = "regression"
""",
        {"species": 800},
        ("--folds=5",),
    )


def global_grid(folder: Path, rng: np.random.Generator) -> Made:
    """A grid of 5 degrees with points as GeoParquet has them, left out in blocks."""
    lat, lon = (a.ravel() for a in np.meshgrid(np.arange(-57.5, 75, 5), np.arange(-177.5, 180, 5)))
    of = World(lat, lon, _latent(lat, lon, rng))
    cells = [f"{i:+05.1f}{j:+06.1f}" for i, j in zip(lat, lon, strict=True)]
    head = np.frombuffer(b"\x01\x01\x00\x00\x00", np.uint8)
    points = [head.tobytes() + np.array(p, "<f8").tobytes() for p in zip(lon, lat, strict=True)]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {}}
    geo["columns"]["geometry"] = {"encoding": "WKB", "geometry_types": ["Point"]}
    table = pa.table({"cell": cells, "npp": labels(of, rng)[:, 0], "geometry": points})
    table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, folder / "grid.parquet")
    pq.write_table(listed(seen(of, 256, rng), cell=cells), folder / "satclip.parquet")
    return Made(
        """
embeddings.satclip = { path = "satclip.parquet", id = "cell" }
embeddings.place.source = "coordinates"
[tasks.npp]
path = "grid.parquet"
id = "cell"
target = "npp"
kind = "regression"
geometry = "geometry"
""",
        {"npp": len(lat)},
        ("--split=spatial", "--block_km=2000", "--folds=5"),
    )


def revisits(folder: Path, rng: np.random.Generator) -> Made:
    """Sites visited again and again: the same coordinates, and so the same vectors."""
    of = world(200, rng)
    site = np.repeat(np.arange(200), 5)
    again = World(*(column[site] for column in of))
    ids = [f"{s}-{v}" for s, v in zip(site, np.tile(np.arange(5), 200), strict=True)]
    table = pd.DataFrame({"visit": ids, "site": site, "latitude": again.lat})
    table["longitude"], table["richness"] = again.lon, labels(again, rng)[:, 0]
    table.to_csv(folder / "visits.csv", index=False)
    for name, dims in (("alphaearth", 64), ("geoclip", 512)):
        vectors = listed(seen(of, dims, rng)[site], visit=ids)
        pq.write_table(vectors, folder / f"{name}.parquet")
    return Made(
        """
embeddings.alphaearth = { path = "alphaearth.parquet", id = "visit" }
embeddings.geoclip = { path = "geoclip.parquet", id = "visit" }
[tasks.richness]
path = "visits.csv"
id = "visit"
target = "richness"
kind = "regression"
group = "site"
lat = "latitude"
lon = "longitude"
""",
        {"richness": 1_000},
        ("--split=group", "--folds=5"),
    )


def missing_tiles(folder: Path, rng: np.random.Generator) -> Made:
    """One model lacks tiles: some ids are absent, others have no numbers."""
    of = world(900, rng)
    ids = np.arange(900)
    alphaearth = wide(seen(of, 64, rng))
    alphaearth.insert(0, "system:index", ids)
    alphaearth.to_csv(folder / "alphaearth.csv", index=False)
    vectors = seen(of, 128, rng)
    vectors[:30] = np.nan
    (folder / "tessera").mkdir()
    for part in range(3):
        own = (ids % 3 == part) & (ids < 800)
        pq.write_table(listed(vectors[own], id=ids[own]), folder / f"tessera/{part}.parquet")
    table = pd.DataFrame({"id": ids, "height": labels(of, rng)[:, 0]})
    table.loc[ids >= 880, "height"] = -9999
    table.to_csv(folder / "canopy.csv", index=False)
    return Made(
        """
embeddings.alphaearth = { path = "alphaearth.csv", id = "system:index" }
embeddings.tessera.path = "tessera/*.parquet"
[tasks.canopy]
path = "canopy.csv"
target = "height"
kind = "regression"
missing = -9999
""",
        {"canopy": 770},
        ("--folds=5",),
    )


def quantised(folder: Path, rng: np.random.Generator) -> Made:
    """Both rasters as they are published: int8."""
    of = world(800, rng)
    ids = np.arange(800)
    unit = seen(of, 64, rng)
    stored = np.rint(127.5 * np.sqrt(np.abs(unit)) * np.sign(unit)).clip(-127, 127)
    stored[:5] = -128  # masked
    names = [f"A{j:02d}" for j in range(64)]
    columns = dict(zip(names, stored.T.astype(np.int8), strict=True))
    pq.write_table(pa.table({"id": ids} | columns), folder / "aef.parquet")
    vectors = seen(of, 128, rng)
    scale = np.abs(vectors).max(axis=1) / 127
    tessera = listed(np.rint(vectors / scale[:, None]).astype(np.int8), id=ids, scales=scale)
    pq.write_table(tessera, folder / "tessera.parquet")
    table = pd.DataFrame({"id": ids, "carbon": labels(of, rng)[:, 0]})
    table.to_csv(folder / "soil.csv", index=False)
    return Made(
        """
embeddings.alphaearth = { path = "aef.parquet", dequantise = "alphaearth" }
embeddings.tessera = { path = "tessera.parquet", scale = "scales" }
tasks.carbon = { path = "soil.csv", target = "carbon", kind = "regression" }
""",
        {"carbon": 795},
        ("--folds=5",),
    )


STUDIES: dict[str, Callable[[Path, np.random.Generator], Made]] = {
    made.__name__: made
    for made in (
        counties, panel, imbalanced, sixty_rows, many_targets, global_grid, revisits,
        missing_tiles, quantised,
    )
}  # fmt: skip


def run(name: str, folder: Path) -> bool:
    """Makes and runs one study; whether all came out as it must."""
    folder.mkdir(parents=True, exist_ok=True)
    made = STUDIES[name](folder, np.random.default_rng(len(name)))
    lines = [line for line in made.toml.splitlines() if line.strip()]
    study, out = folder / "study.toml", folder / "out"
    study.write_text("\n".join(lines) + "\n")
    codes = [quietly(list(made.before))] if made.before else []
    codes += [quietly(["validate", str(study)])]
    codes += [quietly(["evaluate", str(study), f"--out={out}", *made.arguments])]
    fits = len(lines) <= MOST_LINES and all(code in (cli.DONE, cli.UNDEFINED) for code in codes)
    rows = {}
    if fits:
        scores = pd.read_parquet(out / "scores.parquet")
        rows = scores.groupby("task")["n_rows"].first().to_dict()
        index = pd.read_parquet(out / "index.parquet")
        index = index[index["target"].isna() & index["metric"].isin(["r2", "accuracy"])]
        for row in index.itertuples():
            print(f"    {row.task}: {row.subset} {row.eci:+.3f} over {row.best_single}")
    exits = ", ".join(map(str, codes))
    print(f"{name}: {len(lines)} lines; exits {exits}; rows {rows}, wanted {made.rows}", flush=True)
    return fits and rows == made.rows


def quietly(arguments: list[str]) -> int:
    """Runs a command, and shows what it says only where it fails."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(arguments)
    if code not in (cli.DONE, cli.UNDEFINED):
        print(f"ecjax {' '.join(arguments)}\n{said.getvalue()}")
    return code


def main(_) -> None:
    names = _ONLY.value or list(STUDIES)
    with tempfile.TemporaryDirectory() as folder:
        good = [run(name, Path(_KEEP.value or folder) / name) for name in names]
    sys.exit(0 if good and all(good) else 1)


if __name__ == "__main__":
    app.run(main)
