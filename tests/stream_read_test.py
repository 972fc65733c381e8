"""A task's tables joined: which rows come, in which batches, and what is said of them."""

import os
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_streams import N, write_study
from make_tables import with_points

from ecjax.align import align
from ecjax.errors import InputError
from ecjax.peers import Alone
from ecjax.row_digest import RowDigest
from ecjax.stream_read import Joined, ahead
from ecjax.study import read_study


def join(folder, study, most=50, part=(0, 1)):
    joined = Joined(study.tasks["t"], study.join)
    folder.mkdir()
    joined.arrange(folder, most, 1e3, part)
    return joined


@pytest.mark.parametrize("most", [13, 50, 10_000])
def test_batches_are_the_aligned_rows(tmp_path, most):
    write_study(tmp_path, gaps=True, shuffled=True)
    with (tmp_path / "study.toml").open("a") as text:
        text.write('[embeddings.d]\nsource = "coordinates"\nencoding = "latlon"\n')
    study = read_study(tmp_path / "study.toml")
    (task,) = align(study)
    joined = join(tmp_path / "order", study, most)
    for again in (False, True):
        batches = list(joined.batches())
        if not again:
            joined.agree(Alone())
            digest = joined.digest.texts()
        assert (joined.ids[np.concatenate([b.rows for b in batches])] == task.ids).all()
        assert (np.concatenate([b.y for b in batches]) == task.y).all()
        assert (np.concatenate([b.task.lat for b in batches]) == task.lat).all()
        for name, matrix in task.embeddings.items():
            found = np.concatenate([b.matrices[name] for b in batches])
            assert found.dtype == matrix.dtype and (found == matrix).all()
    assert digest == joined.digest.texts()
    expected = RowDigest()
    expected.add(task.ids, task.y, list(task.embeddings.values()))
    assert digest == expected.texts()


def test_processes_read_rows_of_their_own(tmp_path):
    study = write_study(tmp_path, shuffled=True)
    found = []
    for i in range(3):
        joined = join(tmp_path / f"order{i}", study, 50, (i, 3))
        found += [batch.rows for batch in joined.batches()]
    assert np.concatenate(found).tolist() == list(range(N))


def test_a_batch_at_some_rows(tmp_path):
    batch = next(join(tmp_path / "order", write_study(tmp_path)).batches())
    some = np.arange(len(batch.rows)) % 3 == 0
    few = batch.at(some)
    assert (few.y == batch.y[some]).all() and (few.task.ids == batch.task.ids[some]).all()
    assert (few.matrices["a"] == batch.matrices["a"][some]).all()


@pytest.mark.parametrize("change", [os.remove, lambda file: os.utime(file, ns=(1, 1))])
def test_a_table_that_changes_between_passes_is_noticed(tmp_path, change):
    joined = join(tmp_path / "order", write_study(tmp_path))
    for _ in joined.batches():
        pass
    joined.agree(Alone())
    change(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="while it was read"):
        list(joined.batches())


def test_the_next_item_is_made_meanwhile():
    made = [threading.Event() for _ in range(4)]

    def items():
        for i, event in enumerate(made):
            event.set()
            yield i

    for i, item in enumerate(ahead(items())):
        assert item == i
        assert all(event.wait(10) for event in made[: i + 2])
        assert not any(event.is_set() for event in made[i + 2 :])  # else memory for them all
    assert item == 3


def test_what_goes_wrong_ahead_is_told():
    def items():
        yield 1
        raise InputError("gone")

    with pytest.raises(InputError, match="gone"):
        list(ahead(items()))


def test_whole_numbers_points_and_declared_values_stream_as_in_memory(tmp_path):
    rng, n = np.random.default_rng(0), 300
    q = rng.integers(-128, 128, (n, 6)).astype(np.int8)
    q[[3, 9]] = -128
    vectors = pa.array(list(q), pa.list_(pa.int8(), 6))
    ids, scale = pa.array(range(n)), rng.uniform(1, 2, n).astype(np.float32)
    table = pa.table({"id": ids, "v": vectors, "scale": scale})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=70)
    table = pa.table({"id": ids, "e": vectors})
    pq.write_table(table.take(rng.permutation(n)), tmp_path / "b.parquet")
    np.save(tmp_path / "c.npy", rng.normal(size=(n, 3)))
    np.save(tmp_path / "c_ids.npy", np.arange(n))
    frame = pd.DataFrame({"id": range(n), "y": rng.normal(size=n), "kind": list("abc") * (n // 3)})
    frame["lat"], frame["lon"] = rng.uniform(-60, 60, (2, n))
    frame.loc[[5, 200], "y"] = -999.0
    pq.write_table(with_points(frame), tmp_path / "t.parquet", row_group_size=64)
    for target, kind, missing in (("y", "regression", "-999"), ("kind", "classification", '"a"')):
        (tmp_path / "study.toml").write_text(
            '[embeddings.a]\npath = "a.parquet"\nscale = "scale"\n'
            '[embeddings.b]\npath = "b.parquet"\ndequantise = "alphaearth"\n'
            '[embeddings.c]\npath = "c.npy"\nids = "c_ids.npy"\n'
            f'[tasks.t]\npath = "t.parquet"\ntarget = "{target}"\nkind = "{kind}"\n'
            f'geometry = "geometry"\nmissing = {missing}\n'
        )
        study = read_study(tmp_path / "study.toml")
        (task,) = align(study)
        joined = join(tmp_path / kind, study)
        for again in (False, True):
            batches = list(joined.batches())
            if not again:
                joined.agree(Alone())
            for name, matrix in task.embeddings.items():
                found = np.concatenate([b.matrices[name] for b in batches])
                assert found.dtype == matrix.dtype and (found == matrix).all()
            assert (np.concatenate([b.task.lat for b in batches]) == task.lat).all()
        assert joined.classes == task.classes
        few = ("id absent", "missing value", "masked row", "missing target", "declared missing")
        of_rows = [note for note in task.notes if note.reason in few]
        assert [note for note in joined.notes if note.reason in few] == of_rows
        assert {note.reason for note in of_rows} == {
            "masked row",
            "missing value",
            "declared missing",
        }
