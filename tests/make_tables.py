"""Small tables and study files for the tests."""

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


def write(table: pd.DataFrame | pa.Table, path: Path) -> Path:
    """Writes a table as the extension says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
        pq.write_table(arrow.replace_schema_metadata(None), path)
    return path


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
