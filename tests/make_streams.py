"""Studies in files that are read as streams, and processes that share one, for the tests."""

import threading
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ecjax.peers import Alone
from ecjax.study import read_study

N = 420
STUDY = """\
[embeddings.a]
path = "a.parquet"
[embeddings.b]
path = "b"
[embeddings.c]
path = "c.csv"
[tasks.t]
path = "labels.parquet"
target = {targets}
kind = "{kind}"
lat = "lat"
lon = "lon"
group = "region"
split = "part"
"""


def write_study(
    folder: Path,
    n=N,
    targets=("u", "w"),
    shuffled=False,
    gaps=False,
    parts=("10", "2", "3", "4"),
    seed=0,
    kind="regression",
):
    """A study of embeddings a (wide float32), b (parts of lists) and c (CSV), and its tables.

    Args:
        targets: Of u, w, flat (one value throughout) and half (one value in the second part), and
            of classes: biome (text), code (numbers, 10 after 9) and local (one in the second part).
        shuffled: whether each table has its rows in an order of its own.
        gaps: whether values, vectors and ids are missing here and there.
        parts: values of the column that `--split=column` takes.
    """
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3))
    ids = np.sort(rng.choice(10 * n, n, replace=False))

    def vectors(p: int) -> np.ndarray:
        noise = rng.normal(size=(n, p)) + rng.choice([0, 50], p)
        return (hidden @ rng.normal(size=(3, p)) + noise) * 10.0 ** rng.uniform(-2, 2, p)

    a, b, c = vectors(6).astype(np.float32), vectors(3), vectors(2)
    labels = {
        "id": ids,
        "u": hidden[:, 0] + rng.normal(size=n),
        "w": 1e4 + 30 * (hidden[:, 1] - hidden[:, 2] + 2 * rng.normal(size=n)),
        "lat": rng.uniform(-50, 50, n),
        "lon": rng.uniform(-50, 50, n),
        "region": rng.choice([f"r{i}" for i in range(30)], n),
        "part": rng.choice(parts, n),
    }
    labels["flat"] = np.full(n, 0.3)
    labels["half"] = np.where(labels["part"] == parts[1], 1e4 / 3, labels["u"])
    shown = np.stack([labels["u"], labels["w"] / 60, 0 * labels["u"] + 0.3])
    shown = shown - shown.mean(1, keepdims=True)
    labels["biome"] = np.array(["wood", "lake", "town"])[shown.argmax(0)]
    labels["code"] = np.array([9, 10])[(shown[0] > 0.2) * 1]
    labels["local"] = np.where(labels["part"] == parts[1], shown.argmax(0), shown[0] > 0)
    if gaps:
        a[3] = b[5, 1] = np.nan
        a[8] = 0
        labels["u"][[1, 11]] = np.nan
        labels["region"][3] = "no"  # a group without rows that are used
    orders = [rng.permutation(n) if shuffled else np.arange(n) for _ in range(3)]
    left = [order[order != 20 + i] if gaps else order for i, order in enumerate(orders)]
    wide = {f"e{j}": a[left[0], j] for j in range(6)}
    pq.write_table(pa.table({"id": ids[left[0]], **wide}), folder / "a.parquet", row_group_size=90)
    flat = pa.array(b[left[1]].astype(np.float32).ravel())
    lists = pa.table({"id": ids[left[1]], "v": pa.FixedSizeListArray.from_arrays(flat, 3)})
    (folder / "b").mkdir()
    pq.write_table(lists.slice(0, 150), folder / "b" / "0.parquet")
    pq.write_table(lists.slice(150), folder / "b" / "1.parquet", row_group_size=77)
    frame = pd.DataFrame(c[left[2]], columns=["x1", "x2"])
    frame.insert(0, "id", ids[left[2]])
    frame.to_csv(folder / "c.csv", index=False)
    pq.write_table(pa.table(labels), folder / "labels.parquet", row_group_size=100)
    (folder / "study.toml").write_text(STUDY.format(targets=list(targets), kind=kind))
    return read_study(folder / "study.toml")


class Threads:
    """Threads of one process in the place of processes, of which one is at `index`."""

    def __init__(self, count: int):
        self.count, self.given = count, [None] * count
        self.barrier = threading.Barrier(count)

    def peer(self, index: int):
        return _Thread(self, index)

    def run(self, work) -> list:
        """What `work` returns for the peer of each thread."""
        found = [None] * self.count

        def one(index: int) -> None:
            try:
                found[index] = work(self.peer(index))
            except BaseException as error:
                found[index] = error
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(i,)) for i in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        errors = [result for result in found if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        return found


class _Thread(Alone):
    def __init__(self, all_of_them: Threads, index: int):
        self.all, self.count, self.index = all_of_them, all_of_them.count, index

    def summed(self, arrays):
        assert {leaf.dtype for leaf in jax.tree.leaves(arrays)} <= {np.dtype(int), np.dtype(float)}
        self.all.given[self.index] = arrays
        self.all.barrier.wait()
        total = jax.tree.map(lambda *parts: sum(parts[1:], start=parts[0]), *self.all.given)
        self.all.barrier.wait()
        return total
