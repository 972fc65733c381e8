"""A task's tables joined: which rows come, in which batches, and what is said of them."""

import os
import time

import numpy as np
import pytest
from make_streams import N, write_study

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
    def items():
        for i in range(4):
            time.sleep(0.05)
            yield i

    started = time.perf_counter()
    for i, item in enumerate(ahead(items())):
        assert item == i
        time.sleep(0.05)
    assert time.perf_counter() - started < 0.36  # of 0.4 one after the other


def test_what_goes_wrong_ahead_is_told():
    def items():
        yield 1
        raise InputError("gone")

    with pytest.raises(InputError, match="gone"):
        list(ahead(items()))
