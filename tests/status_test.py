"""What is told about a directory: how far its run is, while it runs and when it was ended."""

import json

import numpy as np
import pytest
from quick import quickly_compiled

import ecjax
from ecjax import compute, journal
from ecjax.status import compact, not_done, status

RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(40, 3)), "b": RNG.normal(size=(40, 2))}
TASKS = {"height": X["a"][:, 0] + RNG.normal(size=40)}
SWEPT = {"protocol": "paper", "folds": 4, "ridge_lambda": [0.1, 1.0, 10.0, 100.0]}


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def test_a_run_from_its_first_cell_to_its_tables(tmp_path, monkeypatch):
    with pytest.raises(ecjax.InputError, match="no run"):
        status(tmp_path)
    with pytest.raises(ecjax.InputError, match="no run"):
        compact(tmp_path)
    save, seen = compute.CellStore.save, []

    def looking(self, *given):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(status(tmp_path))
        return save(self, *given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compute.CellStore, "save", looking)
        ecjax.evaluate(X, TASKS, out=tmp_path, **SWEPT)
    assert [(s.done, s.missing, s.cells, s.state) for s in seen] == [
        (0, 4, 4, "running"), (1, 3, 4, "running"), (2, 2, 4, "running")
    ]  # fmt: skip
    ended = status(tmp_path)
    assert (ended.done, ended.state, ended.tables) == (3, "interrupted", "unfinished")
    assert ended.seconds_left > 0 and "3 of 4 cells done, 1 missing" in str(ended)
    path = next((tmp_path / "cells").glob("*.cell"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = status(tmp_path)
    assert (damaged.done, damaged.damaged, damaged.stored) == (2, 1, 2)
    assert path.exists() and "1 damaged" in str(damaged)  # looking changes nothing
    ecjax.evaluate(X, TASKS, out=tmp_path, **SWEPT)
    done = status(tmp_path)
    assert (done.done, done.missing, done.damaged, done.state) == (4, 0, 0, "done")
    assert done.tables == "whole"
    scores = tmp_path / "scores.parquet"
    content = scores.read_bytes()
    for change in (lambda: scores.write_bytes(content[:100]), scores.unlink):
        change()
        assert status(tmp_path).tables == "damaged"
    scores.write_bytes(content)
    assert "4 cells in 1 file" in compact(tmp_path) and status(tmp_path).done == 4


def test_status_is_of_what_the_last_command_asked_for(tmp_path):
    ecjax.evaluate(X, TASKS, out=tmp_path, **SWEPT)
    ecjax.evaluate(X, TASKS, out=tmp_path, **(SWEPT | {"ridge_lambda": 1.0}))
    found = status(tmp_path)
    assert (found.cells, found.done, found.stored) == (1, 1, 4)


def test_tables_of_a_run_before_the_last_are_told_apart(tmp_path, monkeypatch):
    assert not_done(tmp_path) == ""
    ecjax.evaluate(X, TASKS, out=tmp_path, **SWEPT)
    assert not_done(tmp_path) == "" and "tables  whole" in str(status(tmp_path)).splitlines()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compute.CellStore, "save", lambda self, *given: interrupt())
        ecjax.evaluate(X, TASKS, out=tmp_path, **(SWEPT | {"seeds": 2}))
    assert "(interrupted, 0 of 4 cells, written 2" in not_done(tmp_path)
    assert str(status(tmp_path)).endswith("tables  whole, of a run before")
    ecjax.evaluate(X, TASKS, out=tmp_path, **(SWEPT | {"seeds": 2}))
    assert not_done(tmp_path) == ""


def interrupt():
    raise KeyboardInterrupt


def test_a_run_that_says_nothing_for_long_may_be_gone(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compute.CellStore, "save", lambda self, *given: interrupt())
        patch.setattr(journal.Journal, "state", lambda self, state: None)  # as one that is killed
        ecjax.evaluate(X, TASKS, out=tmp_path, **SWEPT)
    assert "ago" not in str(status(tmp_path))
    told = json.loads((tmp_path / "progress.json").read_text("utf-8"))
    told["updated"] = "2025-11-01T00:00:00+00:00"
    (tmp_path / "progress.json").write_text(json.dumps(told), "utf-8")
    assert "00:00, 5" in str(status(tmp_path)) and "ago: is it still there?" in str(
        status(tmp_path)
    )


def test_what_is_no_directory_of_a_run_is_told(tmp_path):
    (tmp_path / "study.toml").touch()
    for command in (status, compact):
        with pytest.raises(ecjax.InputError, match="is no directory; name the one"):
            command(tmp_path / "study.toml")
    (tmp_path / "progress.json").write_text(
        '{"state": "interrupted", "cells": 2, "done": 0, "seconds_left": null, "updated": "now"}'
    )  # as a stream has that writes predictions, of which no cells are kept
    assert "0 of 2 cells done" in str(status(tmp_path))


def test_where_nothing_can_be_written_nothing_is_compacted(tmp_path, monkeypatch):
    ecjax.evaluate(X, TASKS, out=tmp_path, **SWEPT)

    def refused(**given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(ecjax.InputError, match="nothing can be written there .Permission denied."):
        compact(tmp_path)


def test_a_damaged_plan_is_told(tmp_path):
    ecjax.evaluate(X, TASKS, out=tmp_path, **SWEPT)
    (tmp_path / "cells" / "plan.json").write_text("{", encoding="utf-8")
    with pytest.raises(ecjax.InputError, match="damaged"):
        status(tmp_path)
