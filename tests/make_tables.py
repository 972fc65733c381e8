"""Small tables and study files for the tests."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

N = 60


def vectors(p=4, n=N, seed=0, prefix="emb_", ids=None) -> pd.DataFrame:
    """Random vectors, one wide column each, and ids 100, 101, … in front."""
    values = np.random.default_rng(seed).normal(size=(n, p))
    frame = pd.DataFrame(values, columns=[f"{prefix}{j}" for j in range(p)])
    frame.insert(0, "id", np.arange(100, 100 + n) if ids is None else ids)
    return frame


def labels(n=N, seed=9) -> pd.DataFrame:
    """Ids 100, 101, …, a regression target, a class of four, and places."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(100, 100 + n),
            "height": rng.normal(size=n),
            "crop": rng.choice(["maize", "rice", "rye", "wheat"], size=n),
            "lat": rng.uniform(-60, 60, size=n),
            "lon": rng.uniform(-170, 170, size=n),
        }
    )


def lists(frame: pd.DataFrame, fixed=False) -> pa.Table:
    """The same table with its vectors as one column `embedding` of lists."""
    rows = frame.drop(columns="id").to_numpy(np.float32)
    kind = pa.list_(pa.float32(), rows.shape[1] if fixed else -1)
    return pa.table({"id": frame["id"].to_numpy(), "embedding": pa.array(list(rows), kind)})


def write_table(table: pd.DataFrame | pa.Table, path: Path) -> Path:
    """Writes a table in the container that the end of the name says; returns the path.

    `.csv`, `.csv.gz`; `.arrow`, `.feather`, `.ipc` (Arrow IPC's file format), `.stream.arrow` (its
    stream); `.npy`: all columns but `id` as one array, and the ids beside it, see `ids_of`;
    `.geo.parquet`: `lat` and `lon` as points in a column `geometry`. All else is Parquet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    if path.name.endswith((".csv", ".csv.gz")):
        text = frame.to_csv(index=False).encode()
        path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    elif path.suffix == ".npy":
        _write_arrays(frame, path)
    elif path.name.endswith(".geo.parquet"):
        pq.write_table(with_points(frame), path)
    else:
        _write_arrow(table, path)
    return path


write = write_table


def _write_arrow(table: pd.DataFrame | pa.Table, path: Path) -> None:
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    arrow = arrow.replace_schema_metadata(None)
    if path.suffix not in (".arrow", ".feather", ".ipc"):
        pq.write_table(arrow, path)
        return
    stream = path.name.endswith(".stream.arrow")
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, arrow.schema) as writer:
        writer.write_table(arrow)


def _write_arrays(frame: pd.DataFrame, path: Path) -> None:
    columns = frame.drop(columns="id")
    if len(columns.columns) == 1 and columns.iloc[:, 0].dtype == object:  # of lists
        np.save(path, np.stack(list(columns.iloc[:, 0])))
    else:
        np.save(path, columns.to_numpy())
    ids = frame["id"]
    np.save(ids_of(path), ids.to_numpy(np.int64 if ids.dtype.kind in "iu" else np.str_))


def ids_of(path: Path) -> Path:
    """Where the ids of an array are written."""
    return path.with_name(f"{path.stem}_ids.npy")


def with_points(frame: pd.DataFrame, crs: dict | None = None, column="geometry") -> pa.Table:
    """GeoParquet: points (WKB) in the place of `lat` and `lon`; without `crs` it is OGC:CRS84."""
    rest = pa.Table.from_pandas(frame.drop(columns=["lat", "lon"])).replace_schema_metadata(None)
    about = {"encoding": "WKB", "geometry_types": ["Point"]} | ({"crs": crs} if crs else {})
    geo = {"version": "1.1.0", "primary_column": column, "columns": {column: about}}
    places = pa.array([point(x, y) for x, y in zip(frame["lon"], frame["lat"], strict=True)])
    return rest.append_column(column, places).replace_schema_metadata({"geo": json.dumps(geo)})


def point(x: float, y: float) -> bytes:
    """A point as well-known binary."""
    return struct.pack("<BIdd", 1, 1, x, y)


def study(
    folder: Path,
    a="a.parquet",
    b="b.csv",
    task="labels.csv",
    target="height",
    kind="regression",
    top="",
    a_keys="",
    b_keys="",
    task_keys="",
) -> Path:
    """Writes a study of embeddings a and b and one task, and the tables that are not there yet."""
    tables = {a: vectors(4, seed=1), b: vectors(3, seed=2), task: labels()}
    for name, table in tables.items():
        path = folder / name
        if not any(c in name for c in "*?:") and not path.exists() and path.suffix:
            write(table, path)
    path = folder / "study.toml"
    path.write_text(
        f'{top}\n[embeddings.a]\npath = "{a}"\n{a_keys}\n[embeddings.b]\npath = "{b}"\n{b_keys}\n'
        f'[tasks.t]\npath = "{task}"\ntarget = "{target}"\nkind = "{kind}"\n{task_keys}\n',
        encoding="utf-8",
    )
    return path
