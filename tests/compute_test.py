"""A run that is ended at any cell goes on, computes nothing twice and ends in the same tables."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from quick import quickly_compiled

import ecjax
from ecjax import cell_file, cell_keys, compute, engine, processes, results
from ecjax.atomic import WriteError
from ecjax.cell_file import Damaged
from ecjax.manifest import flags_of
from ecjax.peers import Alone
from ecjax.progress import Silent
from ecjax.settings import from_arguments

N = 48
RNG = np.random.default_rng(3)
X = {"a": RNG.normal(size=(N, 3)), "b": RNG.normal(size=(N, 2)), "c": RNG.normal(size=(N, 2))}
RIDGE = {
    "height": X["a"][:, 0] + RNG.normal(size=N),
    "soil": X["b"][:, :1] * [1, 0.3] + RNG.normal(size=(N, 2)),
}
CROP = {"crop": np.array(["maize", "rice"])[(X["c"][:, 0] > 0).astype(int)]}
SWEPT = {"protocol": "paper", "folds": 4, "seeds": 2, "ridge_lambda": [0.1, 1.0, 10.0]}
STRICT = {"folds": 4, "seeds": 3}


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


@pytest.fixture
def calls(monkeypatch):
    """The pieces' shapes of each call of the compiled function."""
    made, study = [], engine.study

    def counted(programs, samples, penalties):
        made.append(
            [
                (len(p.lattice.subsets), len(s.held_out))
                for p, s in zip(programs, samples, strict=True)
            ]
        )
        return study(programs, samples, penalties)

    monkeypatch.setattr(engine, "study", counted)
    return made


def tables(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).iterdir())
        if path.suffix in (".parquet", ".csv")
    }


def cells(folder):
    return sorted(path.name for path in (Path(folder) / "cells").glob("*.cell"))


@pytest.mark.parametrize("arguments", [SWEPT, STRICT])
def test_tables_from_cells_are_those_from_memory(tmp_path, calls, arguments):
    kept = ecjax.evaluate(X, RIDGE, out=tmp_path, **arguments)
    whole = ecjax.evaluate(X, RIDGE, **arguments)
    assert kept.tables.keys() == whole.tables.keys()
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(kept.tables[name], table, check_exact=True)
    made, before = len(calls), tables(tmp_path)
    ecjax.evaluate(X, RIDGE, out=tmp_path, **arguments)
    assert len(calls) == made and tables(tmp_path) == before


def test_a_run_that_ends_after_any_cell_goes_on(tmp_path, calls, monkeypatch):
    arguments = SWEPT | {"ridge_lambda": [0.1, 10.0], "control": "permuted", "subsets": ["a+b"]}
    ecjax.evaluate(X, RIDGE, out=tmp_path / "whole", **arguments)
    whole, count = tables(tmp_path / "whole"), len(calls)
    assert count == len(cells(tmp_path / "whole")) > 4
    save = compute.CellStore.save
    for stop in range(count):
        out = tmp_path / str(stop)
        saved = []

        def ending(self, *given, stop=stop, saved=saved):
            if len(saved) == stop:
                raise KeyboardInterrupt
            saved.append(given)
            return save(self, *given)

        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(compute.CellStore, "save", ending)
            with pytest.raises(KeyboardInterrupt):
                ecjax.evaluate(X, RIDGE, out=out, **arguments)
        assert len(cells(out)) == stop and not tables(out)
        ecjax.evaluate(X, RIDGE, out=out, **arguments)
        assert len(calls) == count + 1  # the one that was not kept is computed twice
        assert tables(out) == whole and cells(out) == cells(tmp_path / "whole")


def test_more_of_all_kinds_computes_only_what_is_new(tmp_path, calls):
    base = {"protocol": "paper", "folds": 4, "seeds": 1, "subsets": ["a+b"]}
    ecjax.evaluate(X, RIDGE, out=tmp_path, **base)
    assert calls == [[(3, 1)]]

    def new(**more):
        calls.clear()
        found = ecjax.evaluate(X, RIDGE, out=tmp_path, **(base | more))
        made = calls.copy()
        fresh = ecjax.evaluate(X, RIDGE, **(base | more))
        for name, table in fresh.tables.items():
            # Losses of rows are added up by cells: the last digits may differ.
            pd.testing.assert_frame_equal(found.tables[name], table, rtol=1e-9, obj=name)
        return made

    assert new(seeds=3) == [[(3, 2)]]
    assert new(seeds=2) == [[(3, 1)]]  # the second seed is in one cell with the third
    assert new(subsets=[]) == [[(4, 1)]]
    assert new(subsets=["b+c"]) == []
    assert new(ridge_lambda=[1.0, 5.0]) == [[(3, 1)]]
    assert new(confidence=0.9) == []
    assert new(predictions=True) == [[(3, 1)]]


def test_classes_are_kept_when_regressions_are_swept(tmp_path, calls):
    tasks = {"height": RIDGE["height"]} | CROP
    base = {"protocol": "paper", "folds": 4, "subsets": ["a"], "out": tmp_path}
    ecjax.evaluate(X, tasks, **base)
    before = set(cells(tmp_path))
    found = ecjax.evaluate(X, tasks, ridge_lambda=[0.5, 1.0, 2.0], **base)
    assert len(found.scores) == 3 * (2 + 3)
    for name in set(cells(tmp_path)) - before:
        header, _ = cell_file.unpack((tmp_path / "cells" / name).read_bytes())
        assert header["what"].startswith("height, 1 set,") and len(header["entries"]) == 1


def test_cells_are_cut_by_time_and_serve_runs_that_cut_otherwise(tmp_path, calls, monkeypatch):
    arguments = {"folds": 4, "seeds": 2}
    whole = ecjax.evaluate(X, RIDGE, **arguments)
    calls.clear()
    monkeypatch.setattr(compute, "CELL_SECONDS", 1e-9)
    cut = ecjax.evaluate(X, RIDGE, out=tmp_path, **arguments)
    assert len(calls) == 2 * 7  # seeds and sets
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(cut.tables[name], table, rtol=1e-12, atol=1e-12, obj=name)
    monkeypatch.undo()
    before, entries = tables(tmp_path), cells(tmp_path)
    ecjax.evaluate(X, RIDGE, out=tmp_path, max_memory_gib=2.0, **arguments)
    assert tables(tmp_path) == before and cells(tmp_path) == entries


@pytest.mark.parametrize(
    "interval", [{"interval": "refit", "bootstraps": 20}, {"interval": "nested"}]
)
def test_fits_that_intervals_repeat_are_kept(tmp_path, monkeypatch, interval):
    arguments = {"folds": 4, "out": tmp_path} | interval
    ecjax.evaluate(X, RIDGE, **arguments)
    before = tables(tmp_path)
    monkeypatch.setattr(compute.Runner, "call", None)
    ecjax.evaluate(X, RIDGE, **arguments)
    assert tables(tmp_path) == before


@pytest.mark.parametrize("more", [{}, {"control": "permuted", "subsets": ["a+b"]}])
def test_shards_divide_the_cells_and_the_last_run_makes_the_tables(tmp_path, calls, more):
    arguments = SWEPT | more
    ecjax.evaluate(X, RIDGE, out=tmp_path / "whole", **arguments)
    count, out = len(calls), tmp_path / "parts"
    calls.clear()
    own = []
    for _ in range(2 if more else 1):  # the control needs all cells before it
        for part in (2, 0, 1):
            before = len(calls)
            assert ecjax.evaluate(X, RIDGE, out=out, shard=f"{part}/3", **arguments) is None
            own.append(len(calls) - before)
    assert own[:2] == [1, 1] and own[2] >= 1 and not tables(out)
    told = json.loads((out / "progress.json").read_text("utf-8"))
    assert told["state"] == "waiting" and told["done"] == told["cells"] >= 3
    made = len(calls)
    assert ecjax.evaluate(X, RIDGE, out=out, **arguments) is not None
    assert len(calls) == made == count
    assert tables(out) == tables(tmp_path / "whole")
    assert cells(out) == cells(tmp_path / "whole")


def test_shards_divide_the_fits_that_intervals_repeat(tmp_path, monkeypatch):
    arguments = {"folds": 4, "interval": "refit", "bootstraps": 40}
    ecjax.evaluate(X, RIDGE, out=tmp_path / "whole", **arguments)
    out = tmp_path / "parts"
    for _ in range(2):
        for part in range(2):
            assert ecjax.evaluate(X, RIDGE, out=out, shard=f"{part}/2", **arguments) is None
    monkeypatch.setattr(compute.Runner, "call", None)
    ecjax.evaluate(X, RIDGE, out=out, **arguments)
    assert tables(out) == tables(tmp_path / "whole")


def test_a_run_is_not_shared_without_a_directory():
    with pytest.raises(ecjax.UsageError, match="--out"):
        ecjax.evaluate(X, RIDGE, shard="0/2", **SWEPT)
    with pytest.raises(ecjax.UsageError, match="shard"):
        ecjax.evaluate(X, RIDGE, shard="0/2", num_processes=2, **SWEPT)


def test_cells_that_are_damaged_or_lost_meanwhile_are_computed_again(tmp_path, calls, monkeypatch):
    ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)
    before, count = tables(tmp_path), len(calls)
    read, broken = compute.CellStore.load, []

    def breaking(self, file):
        path = tmp_path / "cells" / file
        if len(broken) == 0:
            path.write_bytes(path.read_bytes()[:-1])
        elif len(broken) == 1:
            path.unlink()
        broken.append(file)
        return read(self, file)

    monkeypatch.setattr(compute.CellStore, "load", breaking)
    ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)
    assert len(calls) == count + 2 and tables(tmp_path) == before
    told = json.loads((tmp_path / "progress.json").read_text("utf-8"))
    assert told["state"] == "done" and told["cells"] == told["done"] == 3  # none counted twice


def test_processes_agree_on_all_flags_but_those_of_machines():
    def of(**arguments):
        return flags_of(from_arguments({"split": "hash"} | arguments))

    process = {"coordinator": "a:1", "num_processes": 2, "process_id": 1}
    for alike in ({"max_memory_gib": 1.0}, {"profile": "trace"}, process):
        assert of(**alike) == of()
    others = [{"ridge_lambda": [2.0, 3.0]}, {"confidence": 0.9}, {"stream": True}, {"seeds": 2},
              {"stream": True, "passes": 1}]  # fmt: skip
    assert len({of(), *(of(**other) for other in others)}) == 6
    assert of(seeds=2) == " seeds=2 split=hash"


def test_processes_meet_on_what_they_are_to_compute(tmp_path, monkeypatch):
    """Else one with other flags waits for calls that nobody makes, and so do the others."""

    class Meets(Alone):
        index, count = 0, 2

        def meet(self, name):
            if name.startswith("cells "):
                raise ecjax.UsageError(name)

    monkeypatch.setattr(processes, "of", lambda settings: Meets())

    def met(**arguments):
        with pytest.raises(ecjax.UsageError, match="^cells ") as caught:
            ecjax.evaluate(X, RIDGE, out=tmp_path, **(SWEPT | arguments))
        assert not (tmp_path / "cells" / "plan.json").exists()
        return str(caught.value)

    other = {"seeds": 3}, {"subsets": ["a+b"]}, {"predictions": True}, {"ridge_lambda": [0.1, 1.0]}
    assert len({met(), *(met(**arguments) for arguments in other)}) == 5
    assert met() == met(confidence=0.9) == met(bootstraps=10)


def test_a_store_that_damages_everything_ends_the_run(tmp_path, monkeypatch):
    def broken(self, file):
        raise Damaged("it is broken")

    monkeypatch.setattr(compute.CellStore, "load", broken)
    with pytest.raises(WriteError, match=r"again and again \(it is broken\)$"):
        ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)


@pytest.mark.parametrize("place", ["ecjax.results.frames_of", "ecjax.store.write_results"])
def test_a_run_that_ends_while_tables_are_made_tells_what_is_kept(tmp_path, monkeypatch, place):
    def interrupted(*given):
        raise KeyboardInterrupt

    for _ in range(2):  # then by a rerun, which finds all cells
        with monkeypatch.context() as patch:
            patch.setattr(place, interrupted)
            with pytest.raises(KeyboardInterrupt) as caught:
                ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)
        assert str(caught.value) == "3 of 3 cells are done and kept; the same command goes on"
        state = json.loads((tmp_path / "progress.json").read_text("utf-8"))["state"]
        assert state == "interrupted" and len(cells(tmp_path)) == 3
    ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)


@pytest.mark.parametrize("owner, name", [(compute.CellStore, "save"), (results, "frames_of")])
def test_an_interrupt_that_is_swallowed_ends_the_run_before_tables_are_written(
    tmp_path, calls, monkeypatch, owner, name
):
    """As in a callback of the garbage collector, or in the last call, which may end."""
    heard = []
    monkeypatch.setattr(Silent, "asked", property(lambda self: bool(heard)))
    function = getattr(owner, name)

    def hearing(*given):
        if len(cells(tmp_path)) >= 2:
            heard.append(name)
        return function(*given)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, hearing)
        with pytest.raises(KeyboardInterrupt, match="3 of 3 cells are done and kept; the same"):
            ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)
    assert len(cells(tmp_path)) == len(calls) == 3 and not tables(tmp_path)
    heard.clear()
    ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)
    assert len(calls) == 3 and tables(tmp_path)


def test_a_disk_that_is_full_when_tables_are_written_is_told_with_what_is_kept(
    tmp_path, monkeypatch
):
    def full(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(WriteError, match="No space.*; 3 of 3 cells are done and kept; the same"):
        ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)


def test_the_directory_of_an_unfinished_run_knows_its_study(tmp_path, monkeypatch):
    def full(self, *given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(compute.CellStore, "save", full)
        with pytest.raises(OSError, match="No space"):
            ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)
    with pytest.raises(ecjax.InputError, match="folds"):
        ecjax.evaluate(X, RIDGE, out=tmp_path, **(SWEPT | {"folds": 5}))
    ecjax.evaluate(X, RIDGE, out=tmp_path, **SWEPT)


def test_a_moved_directory_is_reused(tmp_path, calls):
    ecjax.evaluate(X, RIDGE, out=tmp_path / "here", **SWEPT)
    shutil.move(tmp_path / "here", tmp_path / "there")
    calls.clear()
    ecjax.evaluate(X, RIDGE, out=tmp_path / "there", **SWEPT)
    assert not calls


def test_with_a_function_of_the_users_own_a_run_computes_anew_in_each_process(tmp_path, calls):
    def mean(x, y, weights, tested, penalty):
        mean = (weights[:, None] * y).sum(0) / weights.sum()
        return jax.numpy.broadcast_to(mean, (tested.shape[0], y.shape[1]))

    for process in ("one", "two"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cell_keys, "RUN", process)
            ecjax.evaluate(X, RIDGE, out=tmp_path, folds=4, protocol="paper", probe=mean)
    assert len(calls) == 2
