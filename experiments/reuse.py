"""Which changes of a study or a command reuse cells, and which do not.

    python experiments/reuse.py

A study of a regression of two targets and a classification is evaluated once. For each change, its
cells are copied into a new directory, and the changed study is evaluated into that:
- what can alter a number of a cell must compute as many calls as in an empty directory, and write
  the same new cells: none of the old ones may serve;
- what alters only what is made of cells (intervals, maps), or nothing at all, must compute nothing,
  and what changes nothing must give the same tables as before, byte for byte.
In all cases the tables must be those of a run into an empty directory. Exits with 1 where one of
these fails. Takes three minutes on 2 cores, most of it for compiling.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import ecjax
from ecjax import cell_keys, engine

N = 60
STUDY = """
name = "reuse"
[embeddings.alpha]
path = "alpha.parquet"
[embeddings.beta]
path = "beta.parquet"
[tasks.soil]
path = "labels.parquet"
target = ["ph", "carbon"]
kind = "regression"
lat = "lat"
lon = "lon"
group = "region"
[tasks.crop]
path = "labels.parquet"
target = "crop"
kind = "classification"
lat = "lat"
lon = "lon"
group = "region"
"""
BASE = {"folds": 4, "seeds": 2}


class Calls:
    """Counts the calls of the compiled function."""

    def __init__(self):
        self.count, self._study = 0, engine.study
        engine.study = self

    def __call__(self, *arguments):
        self.count += 1
        return self._study(*arguments)


CALLS = Calls()


def write_tables(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(N, 5)), np.arange(100, 100 + N)
    for name, columns in {"alpha": slice(0, 3), "beta": slice(3, 5)}.items():
        table = pd.DataFrame(x[:, columns]).add_prefix("emb_")
        table.insert(0, "id", ids)
        table.to_parquet(folder / f"{name}.parquet", index=False)
    y = x[:, :1] + x[:, 3:4] + rng.normal(size=(N, 2))
    labels = {
        "id": ids, "ph": y[:, 0], "carbon": y[:, 1], "crop": np.where(y[:, 0] > 0, "rice", "rye"),
        "lat": rng.uniform(40, 60, N), "lon": rng.uniform(0, 30, N), "region": np.arange(N) % 8,
    }  # fmt: skip
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet", index=False)
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")


def change_table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame | None]):
    """A change of one table; `change` alters what it is given or returns another."""

    def apply(folder: Path) -> None:
        path = folder / f"{name}.parquet"
        table = pd.read_parquet(path)
        changed = change(table)
        (table if changed is None else changed).to_parquet(path, index=False)

    return apply


def change_study(old: str, new: str):
    def apply(folder: Path) -> None:
        text = (folder / "study.toml").read_text("utf-8")
        if old not in text:
            raise SystemExit(f"FAILED: the study has no {old}")
        (folder / "study.toml").write_text(text.replace(old, new), encoding="utf-8")

    return apply


def put(column: str, row: int, value) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[row, column] = value

    return change


def ids_of_all_tables(change: Callable[[np.ndarray], np.ndarray]):
    def apply(folder: Path) -> None:
        for name in ("alpha", "beta", "labels"):
            change_table(name, lambda t: t.assign(id=change(t["id"].to_numpy())))(folder)

    return apply


def to_csv(folder: Path) -> None:
    for name in ("alpha", "beta"):
        pd.read_parquet(folder / f"{name}.parquet").to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.parquet").unlink()
        change_study(f"{name}.parquet", f"{name}.csv")(folder)


def to_parts(folder: Path) -> None:
    table = pd.read_parquet(folder / "alpha.parquet")
    (folder / "alpha.parquet").unlink()
    for i in range(3):
        table[i::3].to_parquet(folder / f"alpha-{i}.parquet", index=False, row_group_size=7)
    change_study("alpha.parquet", "alpha-*.parquet")(folder)


def shuffle(folder: Path) -> None:
    for i, name in enumerate(("alpha", "beta", "labels")):
        change_table(name, lambda t, i=i: t.sample(frac=1, random_state=i))(folder)


def touch(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (1, 1))


def nothing(folder: Path) -> None:
    pass


def all_of(*changes):
    """Several changes, one after the other."""

    def apply(folder: Path) -> None:
        for change in changes:
            change(folder)

    return apply


def swept(folder: Path) -> None:
    grids = "ridge_lambda = [[0.5, 50.0], [0.6, 60.0]]\nlogistic_c = [[0.2, 2.0]]"
    (folder / "study.toml").write_text(f"{STUDY}\n[sweep]\n{grids}\n", encoding="utf-8")


def other_crop(table: pd.DataFrame) -> None:
    table.loc[5, "crop"] = {"rice": "rye", "rye": "rice"}[table.loc[5, "crop"]]


def last_bit(table: pd.DataFrame) -> None:
    table.loc[3, "emb_1"] = np.nextafter(table.loc[3, "emb_1"], 9)


def exchanged(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"emb_0": "emb_1", "emb_1": "emb_0"})


def third_crop(table: pd.DataFrame) -> None:
    table.loc[::5, "crop"] = "oats"


# Name → (change of the study's folder, arguments).
BETA = '[embeddings.beta]\npath = "beta.parquet"\n'
ALTERING = {
    "a value of an embedding": (change_table("alpha", put("emb_1", 3, 0.5)), {}),
    "its last bit": (change_table("alpha", last_bit), {}),
    "a value of the other embedding": (change_table("beta", put("emb_0", 59, -1.0)), {}),
    "a column less": (change_table("alpha", lambda t: t.drop(columns="emb_2")), {}),
    "columns in another order": (change_table("alpha", exchanged), {}),
    "a dtype": (change_table("beta", lambda t: t.astype({"emb_0": "f4", "emb_1": "f4"})), {}),
    "an embedding's name": (change_study("embeddings.beta", "embeddings.gamma"), {}),
    "embeddings in another order": (
        all_of(
            change_study(BETA, ""), change_study("[embeddings.alpha]", f"{BETA}[embeddings.alpha]")
        ),
        {},
    ),
    "a row less": (change_table("labels", lambda t: t[:-1]), {}),
    "a vector less": (change_table("beta", lambda t: t[1:]), {}),
    "a row's id": (ids_of_all_tables(lambda ids: np.where(ids == 100, 7, ids)), {}),
    "ids that order the rows otherwise": (ids_of_all_tables(lambda ids: ids.max() - ids), {}),
    "ids as text": (ids_of_all_tables(lambda ids: np.array([f"p{i}" for i in ids], object)), {}),
    "tasks' names": (
        all_of(change_study("tasks.soil", "tasks.earth"), change_study("tasks.crop", "tasks.rye")),
        {},
    ),
    "a target and a label": (
        all_of(change_table("labels", put("ph", 5, 0.25)), change_table("labels", other_crop)),
        {},
    ),
    "names of a target and of a class": (
        all_of(
            change_table("labels", lambda t: t.rename(columns={"ph": "acid"})),
            change_table("labels", lambda t: t.replace({"crop": {"rye": "wheat"}})),
            change_study('"ph"', '"acid"'),
        ),
        {},
    ),
    "a target less, a class more": (
        all_of(change_study('["ph", "carbon"]', '["ph"]'), change_table("labels", third_crop)),
        {},
    ),
    "--seed": (nothing, {"seed": 45}),
    "--folds": (nothing, {"folds": 5}),
    "--split=hash": (nothing, {"split": "hash"}),
    "--split=group": (nothing, {"split": "group"}),
    "--split=spatial": (nothing, {"split": "spatial", "block_km": 200.0}),
    "--block_km": (nothing, {"split": "spatial", "block_km": 400.0}),
    "--buffer_km": (nothing, {"split": "spatial", "block_km": 200.0, "buffer_km": 20.0}),
    "--protocol=paper": (nothing, {"protocol": "paper"}),
    "--inner_folds": (nothing, {"inner_folds": 2}),
    "--ridge_lambda and --logistic_c": (
        nothing, {"ridge_lambda": [1.0, 9.0], "logistic_c": [0.1, 1.0]}
    ),
    "--penalty=banded and --logistic_tolerance": (
        nothing, {"penalty": "banded", "logistic_tolerance": 1e-6}
    ),
    "swept grids": (swept, {}),
    "the engine": (nothing, {"engine": "another"}),
}  # fmt: skip
OF_SPLITS = {  # against a base of the same split
    "groups": (
        change_table("labels", lambda t: t.assign(region=t["region"].to_numpy()[::-1] // 2)),
        {"split": "group"},
    ),
    "places": (
        change_table("labels", lambda t: t.assign(lat=-t["lat"], lon=t["lon"] * 3)),
        {"split": "spatial", "block_km": 200.0},
    ),
}
OF_TABLES = {
    "--confidence": {"confidence": 0.9},
    "--interval=bootstrap": {"interval": "bootstrap", "bootstraps": 200},
    "--bootstrap_unit": {"bootstrap_unit": "group"},
    "--map_by": {"map_by": "group"},
    "--map_km": {"map_km": 1000.0},
}
SAME = {
    "the path": (nothing, {}),
    "CSV for Parquet": (to_csv, {}),
    "several parts and small row groups": (to_parts, {}),
    "row order": (shuffle, {}),
    "time stamps": (touch, {}),
    "the study's name": (change_study('"reuse"', '"another"'), {}),
    "columns that nobody reads": (change_table("labels", lambda t: t.assign(note="x")), {}),
    "--max_memory_gib": (nothing, {"max_memory_gib": 1.0}),
    "--require_platform=cpu": (nothing, {"require_platform": "cpu"}),
    "--precision=float64": (nothing, {"precision": "float64"}),
    "progress": (nothing, {"progress": True}),
}


def tables_of(out: Path) -> dict[str, bytes]:
    files = [*out.glob("*.csv"), *out.glob("*.parquet")]
    return {file.name: file.read_bytes() for file in sorted(files)}


def cells_of(out: Path) -> set[str]:
    return {file.name for file in (out / "cells").glob("*.cell")}


def evaluate(folder: Path, out: Path, given: dict) -> int:
    """Calls that it took."""
    before, given = CALLS.count, BASE | given
    engine, known = given.pop("engine", None), cell_keys.engine_digest
    if engine is not None:
        cell_keys.engine_digest = lambda: engine
    try:
        ecjax.evaluate(ecjax.read_study(folder / "study.toml"), out=out, **given)
    finally:
        cell_keys.engine_digest = known
    return CALLS.count - before


def check(base: Path, given: dict, kind: str, label: str, apply, more: dict) -> bool:
    """Whether a change does what it should, which is told.

    Args:
      base: folder of a study that was evaluated into `out` with arguments `given`.
      kind: "alters", "tables" (what is made from cells) or "same".
      apply: changes the study's folder.
      more: arguments of the changed run.
    """
    folder = base.parent / f"{kind}: {label}"
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("out"))
    apply(folder)
    shutil.copytree(base / "out" / "cells", folder / "out" / "cells")
    out, fresh = folder / "out", folder / "fresh"
    calls, all_calls = (evaluate(folder, where, given | more) for where in (out, fresh))
    good = tables_of(out) == tables_of(fresh)
    if kind == "alters":
        good &= calls == all_calls > 0
        good &= cells_of(out) - cells_of(base / "out") == cells_of(fresh)
    else:
        good &= calls == 0
    if kind == "same":
        good &= tables_of(out) == tables_of(base / "out")
    verdict = "ok" if good else "FAILED"
    print(f"{verdict:7}{kind:8}{calls} of {all_calls} calls  {label}", flush=True)
    return good


def write_base(base: Path, given: dict) -> Path:
    """A study that is evaluated in one call, with a table."""
    base.mkdir()
    write_tables(base)
    if evaluate(base, base / "out", given) != 1 or not tables_of(base / "out"):
        raise SystemExit("FAILED: the base is not one call with tables")
    return base


def main() -> None:
    jax.config.update("jax_disable_most_optimizations", True)  # how well it runs is not tested
    with tempfile.TemporaryDirectory() as name:
        base, none = write_base(Path(name) / "base", {}), {}
        good = [check(base, none, "alters", *change) for change in _flat(ALTERING)]
        for label, (apply, given) in OF_SPLITS.items():
            of_split = write_base(Path(name) / f"base of {label}", given)
            good.append(check(of_split, given, "alters", label, apply, none))
        altering = len(good)
        good += [check(base, none, "tables", k, nothing, given) for k, given in OF_TABLES.items()]
        good += [check(base, none, "same", *change) for change in _flat(SAME)]
    print(
        f"{altering} changes that alter numbers, {len(OF_TABLES)} of what is made from cells, "
        f"{len(SAME)} of nothing; {good.count(False)} failed"
    )
    sys.exit(not all(good))


def _flat(changes: dict) -> list[tuple]:
    return [(label, apply, given) for label, (apply, given) in changes.items()]


if __name__ == "__main__":
    main()
