"""Files as the model hub serves them, of a made data set in CoordBench's layout."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecjax import addresses
from ecjax.label_sets import LabelSet, label_sets

COMMIT = "2838844" + "0" * 33
API = f"api/datasets/{addresses.COORDBENCH}"
DATA = f"datasets/{addresses.COORDBENCH}/resolve/{COMMIT}"
N = 40


def hub(tables: dict[str, pa.Table], revision: str = "main") -> dict[str, bytes]:
    """{path: content}: the commit of a revision, the listings at that commit, and the files."""
    folders = [{"type": "directory", "path": f"data/{name}"} for name in tables]
    files = {
        f"{API}/revision/{revision}": json.dumps({"sha": COMMIT}).encode(),
        f"{API}/tree/{COMMIT}/data": json.dumps(folders).encode(),
    }
    for name, table in tables.items():
        content = io.BytesIO()
        pq.write_table(table, content)
        path = f"data/{name}/data.parquet"
        files[f"{DATA}/{path}"] = content.getvalue()
        files[f"{API}/tree/{COMMIT}/data/{name}"] = listed(path, content.getvalue())
    return files


def listed(path: str, content: bytes) -> bytes:
    """The listing of a folder that holds one file."""
    checksum = hashlib.sha256(content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "lfs": {"oid": checksum}}
    return json.dumps([entry]).encode()


def canonical(columns: dict, n: int = N, seed: int = 0, **others) -> pa.Table:
    """A table as CoordBench has them: lon, lat, timestamp, timestamp_end, split, id, then more."""
    rng = np.random.default_rng(seed)
    made = {
        "lon": rng.uniform(-180, 180, n),
        "lat": rng.uniform(-90, 90, n),
        "timestamp": pa.nulls(n, pa.int64()),
        "timestamp_end": pa.nulls(n, pa.int64()),
        "split": pa.nulls(n, pa.string()),
        "id": pa.nulls(n, pa.string()),
    }
    return pa.table({**made, **others, **columns})


def all_tables() -> dict[str, pa.Table]:
    """All 40 tables, each with the columns that its label sets need, and one of no use."""
    columns: dict[str, dict] = {}
    for number, one in enumerate(label_sets().values()):
        columns.setdefault(one.table, {"comment": ["…"] * N}).update(_targets(one, number))
    ids = np.arange(N).astype(str)
    columns["bt_landcover"] |= {"random_sample": np.arange(N) % 2}
    given = {name: {"id": ids} for name in columns if name.startswith("bt_")}
    given["sustainbench"] = {"split": np.where(np.arange(N) < 30, "trainval", "test")}
    return {name: canonical(made, **given.get(name, {})) for name, made in columns.items()}


def _targets(one: LabelSet, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    if one.targets == ("*",):
        names = ["asthma", "elevation", "Count_Person", "imputation_split"]
    else:
        names = one.targets[:1] if one.first else one.targets
    made = {}
    for name in (name.strip("*") for name in names):
        made[name] = rng.integers(1, 4, N) if one.kind == "classification" else rng.uniform(size=N)
    return made
