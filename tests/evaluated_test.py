"""Results of an evaluation: read for the study that they are of, and refused for another."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import ecjax
from ecjax import evaluated, store
from ecjax.align import by_id
from ecjax.arrays import align_arrays
from ecjax.fingerprints import of_rows

N = 30
INDEX = pd.DataFrame({"task": ["t"], "subset": ["a+b"], "eci": [0.5]})


def tasks(seed=0, **changed):
    rng = np.random.default_rng(seed)
    x = {name: rng.normal(size=(N, 2)) for name in "ab"}
    own = {"t": ecjax.Task(rng.normal(size=N), id=rng.permutation(N)), "u": rng.normal(size=N)}
    return align_arrays(x, own | changed)


def manifest_of(own, protocol="paper", hashed=True):
    return {
        "name": "study", "created": "today", "protocol": protocol, "swept": ["seed"],
        "study": {"rows": {task.name: of_rows(task)["rows"] for task in own}} if hashed else {},
        "tasks": {task.name: {"rows": len(task.ids)} for task in own},
    }  # fmt: skip


def in_memory(own, **how):
    frames = dict.fromkeys(("scores", "folds", "index", "targets"), INDEX)
    return ecjax.Result(**frames, manifest=manifest_of(own, **how))


def test_nothing_given_is_nothing():
    assert evaluated.read(None, tasks(), ["index"]) is None


def test_a_directory_gives_the_tables_wanted_and_what_is_kept_of_its_manifest(tmp_path):
    store.write_results(tmp_path, {"index": INDEX, "scores": INDEX}, manifest_of(tasks()))
    found = evaluated.read(tmp_path, tasks(), ["index"])
    assert list(found.tables) == ["index"] and found.swept == ["seed"]
    pd.testing.assert_frame_equal(found.tables["index"], INDEX, check_dtype=False)
    assert found.kept == {
        "name": "study", "created": "today", "protocol": "paper", "swept": ["seed"],
    }  # fmt: skip


def test_results_in_memory_are_of_as_many_rows_where_nothing_was_hashed():
    found = evaluated.read(in_memory(tasks(), hashed=False), tasks(seed=1), ["index"])
    assert found.tables["index"] is INDEX
    short = [dataclasses.replace(tasks()[0], ids=np.arange(N - 1))]
    with pytest.raises(ecjax.InputError, match='results: results of task "t" are of other ids'):
        evaluated.read(in_memory(short, hashed=False), tasks(), ["index"])


def test_results_of_other_rows_or_tasks_are_refused():
    with pytest.raises(ecjax.InputError, match='task "t" are of other ids, targets or vectors'):
        evaluated.read(in_memory(tasks(seed=1)), tasks(), ["index"])
    with pytest.raises(ecjax.InputError, match="none of this study's tasks"):
        evaluated.read(in_memory(tasks()[:1]), tasks()[1:], ["index"])
    assert evaluated.read(in_memory(tasks()[:1]), tasks(), ["index"])  # one of them is enough
    assert evaluated.read(in_memory(tasks()), tasks()[:1], ["index"])


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_the_order_of_rows_is_nothing(protocol):
    own = in_memory(by_id(tasks()), protocol=protocol)
    assert evaluated.read(own, tasks(), ["index"]).tables["index"] is INDEX
