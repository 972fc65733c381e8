"""Streamed runs: which studies are streamed, what is written, how they are refused and ended."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from make_streams import Threads, write_study
from quick import quickly_compiled

import ecjax
from ecjax import cli, status, store, stream_evaluate, stream_task
from ecjax.calls import Interrupted
from ecjax.errors import InputError, UsageError
from ecjax.evaluate import run_of
from ecjax.memory import GIB
from ecjax.peers import Alone
from ecjax.processes import Shard
from ecjax.progress import Silent
from ecjax.settings import from_arguments
from ecjax.stream_run import StreamedRun

ARGUMENTS = {"split": "hash", "folds": 4, "protocol": "paper"}
LITTLE = 4e4 / GIB  # less than the tables take in memory


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), gaps=True, shuffled=True)


@pytest.fixture(scope="module")
def expected(study):
    with quickly_compiled():
        return ecjax.evaluate(study, predictions=True, **ARGUMENTS)


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def assert_alike(ours: pd.DataFrame, theirs: pd.DataFrame):
    assert list(ours.columns) == list(theirs.columns)
    for name, column in theirs.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(ours[name], column, rtol=1e-9, atol=1e-9, err_msg=name)
        else:
            assert ours[name].astype(object).where(ours[name].notna(), None).tolist() == (
                column.astype(object).where(column.notna(), None).tolist()
            )


def test_a_directory_holds_what_memory_gives(study, expected, tmp_path, capsys):
    flags = [f"--{key}={value}" for key, value in ARGUMENTS.items()]
    command = ["evaluate", study.path, "--stream", "--predictions", *flags, f"--out={tmp_path}"]
    assert run(*command) == cli.DONE
    assert "rows are streamed" in capsys.readouterr().err
    tables, manifest = store.read_results(tmp_path)
    for name in ("scores", "folds", "index", "targets", "gains", "shapley", "commonality"):
        assert_alike(tables[name], getattr(expected, name))
    keys = ["seed", "subset", "id", "target"]
    pair = (tables["predictions"], expected.predictions)
    assert_alike(*(frame.sort_values(keys, ignore_index=True) for frame in pair))
    for task in (manifest["tasks"]["t"], expected.manifest["tasks"]["t"]):
        task.pop("map_km")  # there are no maps
        [task.pop(key, None) for key in ("question", "correlation_km", "correlation_reason")]
    assert manifest["tasks"] == expected.manifest["tasks"]
    assert manifest["arguments"]["stream"] and manifest["timings"]["first_pass"] > 0
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "done"
    assert run("report", tmp_path) == cli.DONE
    assert run("compare", tmp_path, tmp_path) == cli.DONE


def test_a_study_that_does_not_fit_is_streamed_by_itself(study, tmp_path, capsys):
    flags = ["--split=hash", "--folds=3", f"--max_memory_gib={LITTLE}"]
    assert run("evaluate", study.path, f"--out={tmp_path}", *flags) == cli.DONE
    assert "does not fit into the memory that may be used: rows are" in capsys.readouterr().err
    assert run("evaluate", study.path, f"--out={tmp_path}", *flags[1:]) == cli.BAD_INPUT
    refused = capsys.readouterr().err
    assert "raise --max_memory_gib" in refused and "or use --split=hash --stream" in refused


def test_a_study_whose_tables_fit_but_whose_calls_do_not_is_streamed(study, tmp_path, capsys):
    """Between what the vectors take and what a call takes."""
    budget = f"--max_memory_gib={1.1 * stream_evaluate.bytes_in_memory(study) / GIB}"
    flags = budget, "--folds=3"
    assert run("evaluate", study.path, f"--out={tmp_path}", *flags, "--split=hash") == cli.DONE
    assert "does not fit into the memory that may be used: rows are" in capsys.readouterr().err
    others = (), ("--split=hash", "--control=permuted")  # which no stream can have
    for other in others:
        assert run("plan", study.path, *flags, *other) == cli.BAD_INPUT
        refused = capsys.readouterr().err
        assert "one seed of" in refused and "or use --split=hash --stream" in refused
    assert run("plan", study.path, *flags, "--split=hash") == cli.DONE
    assert "passes" in capsys.readouterr().out


def test_rows_that_pass_once_give_gains_without_intervals(study):
    arguments = ARGUMENTS | {"stream": True, "protocol": "strict"}
    once, twice = (ecjax.evaluate(study, passes=n, **arguments).gains for n in (1, 2))
    assert once["eci_low"].isna().all()
    assert set(once["reason"]) == {"no interval: the rows passed only once"}
    np.testing.assert_allclose(once["eci_pooled"], twice["eci_pooled"], rtol=1e-9)


def test_another_study_s_directory_is_refused_before_anything_is_fitted(
    study, tmp_path, monkeypatch
):
    out, changed = tmp_path / "out", write_study(tmp_path, gaps=True, shuffled=True)
    ecjax.evaluate(study, out=out, stream=True, **ARGUMENTS)
    before = store.read_results(out)[1]
    ecjax.evaluate(changed, out=out, stream=True, **ARGUMENTS)  # the same rows elsewhere
    frame = pd.read_parquet(tmp_path / "a.parquet")
    frame.loc[200, "e3"] *= 1 + 1e-6
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    monkeypatch.setattr("ecjax.stream_task.fit", None)
    with pytest.raises(InputError, match='the data of task "t"'):
        ecjax.evaluate(changed, out=out, stream=True, **ARGUMENTS)
    monkeypatch.setattr("ecjax.stream_evaluate.Joined", None)  # nor are its rows read
    with pytest.raises(InputError, match="other settings: protocol"):
        ecjax.evaluate(study, out=out, stream=True, **ARGUMENTS | {"protocol": "strict"})
    assert store.read_results(out)[1]["study"] == before["study"]


def test_a_stream_and_memory_are_one_study(study, tmp_path):
    ecjax.evaluate(study, out=tmp_path, stream=True, **ARGUMENTS)
    with quickly_compiled():
        assert ecjax.evaluate(study, out=tmp_path, **ARGUMENTS) is not None


def test_a_run_ends_between_batches(study, tmp_path):
    class Asks(Silent):
        """Asks to end after so many batches."""

        def __init__(self, batches):
            self.left = batches

        @property
        def asked(self):
            self.left -= 1
            return self.left < 0

    settings = from_arguments(ARGUMENTS | {"stream": True, "max_memory_gib": 5 * LITTLE})
    with pytest.raises(Interrupted, match="t: first pass, .*% of 420 rows; 0 of 1 cells are"):
        run_of(study, settings, Asks(3)).evaluate(tmp_path)
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "interrupted"
    assert store.state_of(tmp_path) == "none"
    with pytest.raises(Interrupted, match="second pass"):
        run_of(study, settings, Asks(30)).evaluate(tmp_path)
    assert store.state_of(tmp_path) == "unfinished"
    assert list(tmp_path.glob(".writing*")) == []
    assert ecjax.evaluate(study, out=tmp_path, stream=True, **ARGUMENTS).scores is not None


def test_a_run_that_ends_while_tables_are_made_tells_what_is_kept(study, tmp_path, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ecjax.results.frames_of", interrupted)
        with pytest.raises(KeyboardInterrupt, match="^assembling; 1 of 1 cells are done and kept"):
            ecjax.evaluate(study, out=tmp_path, stream=True, **ARGUMENTS)
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "interrupted"
    assert list(tmp_path.glob(".writing*")) == []
    assert ecjax.evaluate(study, out=tmp_path, stream=True, **ARGUMENTS).scores is not None


class AsksInLastPass(Silent):
    """Asks to end as the last pass does, which is not thrown away."""

    asked = False

    def run(self, work, label, seconds):
        found = work()
        self.asked = True
        return found


def test_an_end_that_is_asked_for_in_the_last_pass_is_heard(study, tmp_path):
    settings = from_arguments(ARGUMENTS | {"stream": True})
    with pytest.raises(Interrupted, match="100% of 420 rows; 1 of 1 cells are done and kept"):
        run_of(study, settings, AsksInLastPass()).evaluate(tmp_path)
    assert store.state_of(tmp_path) == "unfinished"
    whole = from_arguments(ARGUMENTS | {"stream": True, "predictions": True})  # of which none is
    assert run_of(study, whole, AsksInLastPass()).evaluate(tmp_path) is not None


class AsksInSecondSetting(Silent):
    """Asks to end in the second pass of the second setting."""

    asked, batches = False, 0

    def run(self, work, label, seconds):
        self.label = label
        return work()

    def check(self):
        self.batches += "second pass" in self.label()  # of which each pass has one here
        if self.batches == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_what_was_done_is_not_computed_again(study, tmp_path, monkeypatch, protocol):
    grids = [1.0, 30.0] if protocol == "paper" else None
    arguments = ARGUMENTS | {"protocol": protocol, "stream": True, "ridge_lambda": grids}
    if protocol == "strict":
        study = dataclasses.replace(study, sweep={"ridge_lambda": ((1.0, 9.0), (0.1, 3.0))})
    whole = ecjax.evaluate(study, out=tmp_path / "whole", **arguments)
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="second pass.*1 of 2 cells are done and kept"):
        run_of(study, from_arguments(arguments), AsksInSecondSetting()).evaluate(out)
    known = status.status(out)
    assert (known.cells, known.done, known.stored, known.state) == (2, 1, 1, "interrupted")
    fits, fit = [], stream_task.fit
    monkeypatch.setattr(stream_task, "fit", lambda *given: (fits.append(0), fit(*given))[1])
    ecjax.evaluate(study, out=out, **arguments)
    assert len(fits) == 1
    monkeypatch.setattr(stream_task, "fit", None)
    again = ecjax.evaluate(study, out=out, confidence=0.95, **arguments)
    for name, table in whole.tables.items():
        assert_alike(again.tables[name], table)
        written = [d / f"{name}.parquet" for d in (tmp_path / "whole", out)]
        assert written[0].read_bytes() == written[1].read_bytes()
    narrow = ecjax.evaluate(study, out=out, confidence=0.5, **arguments)
    assert (narrow.index["eci_low"] >= again.index["eci_low"]).all()
    assert status.compact(out).endswith("2 cells in 1 file")
    assert ecjax.evaluate(study, out=out, **arguments).scores.equals(again.scores)


@pytest.mark.parametrize(
    "change", [{"folds": 5}, {"seed": 1}, {"passes": 1}, {"bootstrap_unit": "group"},
               {"ridge_lambda": 2.0}, {"subsets": ["a+b"]}],
)  # fmt: skip
def test_what_may_change_a_number_is_computed_again(study, tmp_path, monkeypatch, change):
    ecjax.evaluate(study, out=tmp_path, stream=True, **ARGUMENTS)
    cells = set((tmp_path / "cells").glob("*.cell"))
    arguments = ARGUMENTS | {"stream": True} | change
    expected = ecjax.evaluate(study, **arguments)
    (tmp_path / "manifest.json").unlink()
    [file.unlink() for file in tmp_path.glob("*.parquet")]
    [file.unlink() for file in tmp_path.glob("*.csv")]
    assert ecjax.evaluate(study, out=tmp_path, **arguments).index.equals(expected.index)
    assert len(set((tmp_path / "cells").glob("*.cell")) - cells) == 1


def test_of_other_rows_nothing_is_taken(tmp_path):
    study = write_study(tmp_path, targets=("u",))
    out = tmp_path / "out"
    ecjax.evaluate(study, out=out, stream=True, **ARGUMENTS)
    frame = pd.read_parquet(tmp_path / "a.parquet")
    frame.loc[200, "e3"] *= 1.5
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    [file.unlink() for file in out.glob("*.*")]
    expected = ecjax.evaluate(study, stream=True, **ARGUMENTS)
    assert ecjax.evaluate(study, out=out, stream=True, **ARGUMENTS).index.equals(expected.index)
    assert len(list((out / "cells").glob("*.cell"))) == 2


def test_a_damaged_cell_is_computed_again(study, tmp_path, capsys):
    ecjax.evaluate(study, out=tmp_path, stream=True, **ARGUMENTS)
    (cell,) = (tmp_path / "cells").glob("*.cell")
    content = cell.read_bytes()
    cell.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    ecjax.evaluate(study, out=tmp_path, stream=True, progress=True, **ARGUMENTS)
    assert "is damaged" in capsys.readouterr().err and cell.read_bytes() == content


def test_classes_are_kept_too(tmp_path, monkeypatch):
    study = write_study(tmp_path, targets=("biome",), kind="classification")
    arguments = ARGUMENTS | {"stream": True, "out": tmp_path / "out", "subsets": ["b+c"]}
    first = ecjax.evaluate(study, **arguments)
    with monkeypatch.context() as without:
        without.setattr("ecjax.stream_class_task.fit", None)
        again = ecjax.evaluate(study, **arguments)
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table)
    assert first.scores["score"].notna().all()
    once = ecjax.evaluate(study, **arguments | {"out": tmp_path / "once", "passes": 1})
    assert once.scores.equals(first.scores)  # their fits take passes anyway


def test_a_budget_that_fits_need_more_of_is_refused_before_any_pass(tmp_path):
    study = write_study(tmp_path, targets=("biome",), kind="classification")
    settings = from_arguments(ARGUMENTS | {"stream": True, "max_memory_gib": 1e4 / GIB})
    run = run_of(study, settings, Silent())
    for refuses in (run.plan, lambda: run.evaluate(None)):
        with pytest.raises(InputError, match='task "t": a budget of .* holds too few rows in mem'):
            refuses()


def test_processes_share_the_rows_and_the_first_writes(study, expected, tmp_path):
    def work(peer):
        settings = from_arguments(ARGUMENTS | {"stream": True, "max_memory_gib": LITTLE})
        return StreamedRun(study, settings, Silent(), peer).evaluate(tmp_path)

    first, *others = Threads(3).run(work)
    assert others == [None, None]
    assert_alike(first.scores, expected.scores)
    assert_alike(store.read_results(tmp_path)[0]["index"], expected.index)


@pytest.mark.parametrize(
    ("arguments", "peers", "words"),
    [
        ({"stream": True}, Shard(0, 2), "leave --shard out"),
        ({"stream": True, "predictions": True}, Shard(0, 1), "leave --shard out"),
        ({"passes": 1}, Alone(), "passes=1 is of a stream"),
        ({"stream": True, "split": "random"}, Alone(), "use --split=hash or column"),
    ],
)
def test_what_no_stream_can_be_is_refused(study, arguments, peers, words):
    with pytest.raises(UsageError, match=words):
        run_of(study, from_arguments(ARGUMENTS | arguments), Silent(), peers)


def test_arrays_are_not_streamed():
    with pytest.raises(UsageError, match="arrays are in memory already"):
        ecjax.evaluate({"a": np.zeros((9, 2))}, {"t": np.zeros(9)}, split="hash", stream=True)
