"""Tests of ecjax.store: whole or recognisably unfinished, the same bytes, the right refusals."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecjax import store
from ecjax.errors import InputError

STUDY = {"protocol": "paper", "folds": 20, "rows": {"biomass": "a" * 64}, "tasks": ("biomass",)}


def frames(value: float = 1.0) -> dict[str, pd.DataFrame]:
    """Small tables; every number in them is `value`."""
    scores = pd.DataFrame({"task": ["biomass", "crops"], "score": [value, value]})
    folds = pd.DataFrame({"task": ["biomass"], "fold": [0], "score": [value]})
    index = pd.DataFrame({"task": ["biomass"], "eci": [value], "reason": [None]})
    return {"scores": scores, "folds": folds, "index": index}


def manifest(**more) -> dict:
    return {"name": "my-study", "study": STUDY, **more}


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_round_trip_and_files(tmp_path):
    out = tmp_path / "deep" / "out"
    store.write_results(out, frames(), manifest())
    assert listing(out) == [
        "folds.parquet", "index.csv", "index.parquet", "manifest.json", "scores.csv",
        "scores.parquet",
    ]  # fmt: skip
    tables, read = store.read_results(out)
    assert list(tables) == ["scores", "folds", "index"]
    pd.testing.assert_frame_equal(tables["scores"], frames()["scores"])
    assert read["complete"] is True
    assert read["name"] == "my-study"
    assert list(store.read_results(out, ["index"])[0]) == ["index"]


def test_column_types_nulls_and_order(tmp_path):
    frame = pd.DataFrame(
        {
            "z": np.array([1.5, np.nan], np.float32),
            "a": pd.Series(["x", None], dtype="str"),
            "none": [None, None],
            "i": np.array([1, 2], np.int32),
            "b": [True, False],
            "maybe": pd.Series([True, None], dtype=object),
            "id": pd.Series([7, "seven"], dtype=object),
            "whole": pd.Series([7, None], dtype="Int64"),
            "kind": pd.Categorical(["u", "v"]),
            "undefined": [np.nan, np.nan],
        }
    )
    store.write_results(tmp_path, {"scores": frame}, manifest())
    table = pq.ParquetFile(tmp_path / "scores.parquet").read()
    text = pa.string()
    types = [pa.float64(), text, text, pa.int64(), pa.bool_(), pa.bool_(), text, pa.int64(), text]
    assert table.schema.names == list(frame.columns)
    assert table.schema.types == [*types, pa.float64()]
    assert table.schema.metadata is None
    nulls = {name: table[name].null_count for name in table.schema.names}
    assert nulls == {
        "z": 1, "a": 1, "none": 2, "i": 0, "b": 0, "maybe": 1, "id": 0, "whole": 1, "kind": 0,
        "undefined": 2,
    }  # fmt: skip
    assert table["id"].to_pylist() == ["7", "seven"]


def test_an_empty_table_is_written(tmp_path):
    frame = pd.DataFrame({"task": pd.Series([], dtype="str"), "eci": pd.Series([], dtype=float)})
    store.write_results(tmp_path, {"index": frame}, manifest())
    assert (tmp_path / "index.csv").read_text() == "task,eci\n"
    read = store.read_results(tmp_path)[0]["index"]
    assert list(read.columns) == ["task", "eci"] and len(read) == 0


def test_same_frames_give_same_bytes_anywhere(tmp_path):
    for place in ("one", "two", "one"):
        store.write_results(tmp_path / place, frames(1 / 3), manifest())
        assert contents(tmp_path / "one") == contents(tmp_path / place)
    shuffled = frames(1 / 3)
    shuffled["scores"].index = [9, 3]  # an index is no part of a table
    store.write_results(tmp_path / "two", shuffled, manifest())
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_csv_neutralises_formulas_and_keeps_numbers(tmp_path):
    hostile = ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\rx", "fine=", None]
    numbers = [-0.1, 1 / 3, 1e-300, 5e22, np.nan, 2.0, -3.0, 0.1 + 0.2]
    frame = pd.DataFrame({"task": hostile, "score": numbers, "n": range(-1, 7)})
    store.write_results(tmp_path, {"scores": frame}, manifest())
    with open(tmp_path / "scores.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["task", "score", "n"]
    expected = ["'=1+1", "'+1", "'-x", "'@SUM(A1)", "'\tx", "' x", "fine=", ""]
    assert [row[0] for row in rows[1:]] == expected
    np.testing.assert_array_equal([float(row[1] or "nan") for row in rows[1:]], numbers)
    assert rows[5][1] == ""
    assert rows[1][2] == "-1"
    assert store.read_results(tmp_path)[0]["scores"]["task"][0] == "=1+1"


def test_manifest_is_strict_json(tmp_path):
    extra = {"timings": {"fit": np.float64(1.5), "bad": float("nan")}, "n": np.int64(3)}
    store.write_results(tmp_path, frames(), manifest(**extra, path=Path("x"), folds=np.arange(2)))
    text = (tmp_path / "manifest.json").read_text()
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read["timings"] == {"fit": 1.5, "bad": None}
    assert (read["n"], read["path"], read["folds"]) == (3, "x", [0, 1])


def test_tables_and_page_of_the_earlier_run_go_and_other_files_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "report.html").write_text("mine too: there was no run here yet")
    first = {**frames(), "predictions": frames()["folds"], "targets": frames()["scores"]}
    assert store.write_results(tmp_path, first, manifest()) == []
    assert {"report.html", "predictions.parquet", "targets.csv"} <= set(listing(tmp_path))
    removed = store.write_results(tmp_path, frames(), manifest())
    assert "notes.txt" in listing(tmp_path)
    gone = {"report.html", "predictions.parquet", "targets.csv", "targets.parquet"}
    assert set(removed) == gone and not gone & set(listing(tmp_path))
    assert store.write_results(tmp_path, frames(), manifest()) == []


def state(directory: Path) -> str:
    """One of "old" (0), "new" (1), "unfinished"; fails on a mixture that poses as whole."""
    try:
        tables, _ = store.read_results(directory)
    except InputError as error:
        assert "unfinished" in str(error)
        return "unfinished"
    values = {float(v) for t in tables.values() for v in t.filter(["score", "eci"]).to_numpy().flat}
    csv_values = set(pd.read_csv(directory / "scores.csv")["score"])
    assert len(values) == 1 and values == csv_values
    return "old" if values == {0.0} else "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_every_move_is_old_or_unfinished(tmp_path, monkeypatch, error):
    move = os.replace
    seen = []
    for allowed in range(8):
        out = tmp_path / str(allowed)
        store.write_results(out, frames(0.0), manifest())
        calls = []

        def failing(source, target, allowed=allowed, calls=calls):
            calls.append(target)
            if len(calls) > allowed:
                raise error
            move(source, target)

        monkeypatch.setattr(os, "replace", failing)
        expected = store.WriteError if isinstance(error, OSError) else KeyboardInterrupt
        try:
            store.write_results(out, frames(1.0), manifest())
        except expected as raised:
            if expected is store.WriteError:
                assert "No space left" in str(raised)
                assert ("untouched" if allowed == 0 else "unfinished") in str(raised)
        monkeypatch.setattr(os, "replace", move)
        seen.append(state(out))
        assert not list(out.glob(".writing-*"))
        store.check_directory(out, STUDY)  # the same study may go on
        with pytest.raises(InputError, match="this study with other settings"):
            store.check_directory(out, {**STUDY, "folds": 10})
        store.write_results(out, frames(1.0), manifest())
        assert state(out) == "new"
    # seven moves: the unfinished manifest, five files, the manifest
    assert seen == ["old"] + ["unfinished"] * 6 + ["new"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_before_the_moves_keeps_every_old_byte(tmp_path, monkeypatch, error):
    store.write_results(tmp_path, frames(0.0), manifest())
    before = contents(tmp_path)
    write = pq.write_table
    for allowed in range(3):
        calls = []

        def failing(table, path, calls=calls, allowed=allowed, **options):
            calls.append(path)
            write(table, path, **options)
            if len(calls) > allowed:
                raise error

        monkeypatch.setattr(pq, "write_table", failing)
        with pytest.raises((store.WriteError, KeyboardInterrupt)):
            store.write_results(tmp_path, frames(1.0), manifest())
        assert contents(tmp_path) == before


def test_every_file_is_synced_before_the_first_move(tmp_path, monkeypatch):
    sync, move, events = os.fsync, os.replace, []
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(Path(b).name), move(a, b)))
    store.write_results(tmp_path, frames(), manifest())
    files = ["scores.parquet", "scores.csv", "folds.parquet", "index.parquet", "index.csv"]
    # five tables' files and two manifests, then the moves, each stage followed by its directory
    expected = ["sync"] * 7 + ["manifest.json", "sync", *files, "sync", "manifest.json", "sync"]
    assert events == expected


def test_stale_staging_is_removed_but_no_link_is_followed(tmp_path):
    out, precious = tmp_path / "out", tmp_path / "precious"
    (out / ".writing-dead").mkdir(parents=True)
    (out / ".writing-dead" / "scores.parquet").write_text("half a fi")
    precious.mkdir()
    (precious / "file").write_text("keep")
    (out / ".writing-link").symlink_to(precious)
    store.check_directory(out, STUDY)
    store.write_results(out, frames(), manifest())
    assert not (out / ".writing-dead").exists()
    assert (precious / "file").read_text() == "keep"


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import store_test
from ecjax import store
random.seed(7)
for run in range(12):
    out = Path(sys.argv[1]) / str(run)
    store.write_results(out, store_test.frames(0.0), store_test.manifest())
    child = os.fork()
    if child == 0:
        while True:
            for value in (1.0, 0.0):
                store.write_results(out, store_test.frames(value), store_test.manifest())
    time.sleep(random.uniform(0.005, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked writer")
def test_a_killed_writer_leaves_no_mixture(tmp_path):
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": str(here.parent)}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(here)]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outs = sorted(tmp_path.iterdir())
    assert len(outs) == 12
    for out in outs:
        assert state(out) in ("old", "new", "unfinished")
        store.check_directory(out, STUDY)
        store.write_results(out, frames(1.0), manifest())
        assert state(out) == "new"
        assert not [name for name in listing(out) if name.startswith(".")]


def test_check_directory_accepts_and_creates_nothing(tmp_path):
    store.check_directory(tmp_path / "a" / "b", STUDY)
    store.check_directory(tmp_path, STUDY)
    assert listing(tmp_path) == []
    (tmp_path / "data.parquet").write_text("another's file")
    store.check_directory(tmp_path, STUDY)
    store.write_results(tmp_path, frames(), manifest())
    store.check_directory(tmp_path, STUDY)  # tuples and numpy numbers as JSON gives them back
    store.check_directory(tmp_path, {**STUDY, "folds": np.int64(20)})


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"folds": 10}, ["folds (there: 20; now: 10)"]),
        ({"rows": {"biomass": "b" * 64}}, ["another study; it differs in the data of task"]),
        ({"tasks": ["biomass", "x"]}, ["tasks (there: biomass; now: biomass, x)"]),
        ({"precision": "float32"}, ["precision (there: not set; now: float32)"]),
        ({"protocol": "strict", "folds": 5}, ["protocol (there: paper; now: strict)", "folds ("]),
    ],
)
def test_check_directory_refuses_another_study(tmp_path, change, parts):
    store.write_results(tmp_path, frames(), manifest())
    before = contents(tmp_path)
    with pytest.raises(InputError) as raised:
        store.check_directory(tmp_path, {**STUDY, **change})
    for part in [*parts, str(tmp_path), "--out"]:
        assert part in str(raised.value)
    assert contents(tmp_path) == before


def test_check_directory_refuses_what_cannot_be_written_or_known(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "scores.csv").write_text("task,score\n")
    cases = {"file": "not a directory", "file/below": "cannot be written",
             "loose": "not a directory", "tables": "scores.csv"}  # fmt: skip
    for broken, text in {"cut": '{"study": {', "list": "[]", "foreign": '{"icons": []}'}.items():
        (tmp_path / broken).mkdir()
        (tmp_path / broken / "manifest.json").write_text(text)
        cases[broken] = "manifest.json"
    for name, part in cases.items():
        with pytest.raises(InputError, match=part) as raised:
            store.check_directory(tmp_path / name, STUDY)
        assert "--out" in str(raised.value) and name in str(raised.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a place nobody can write to")
def test_check_directory_refuses_a_place_without_permission():
    with pytest.raises(InputError, match="cannot be written"):
        store.check_directory("/proc/self/out", STUDY)
    with pytest.raises(store.WriteError, match="/proc/self/out"):
        store.write_results("/proc/self/out", frames(), manifest())


def test_read_errors_name_what_is_wrong(tmp_path):
    def broken(name, harm, part):
        out = tmp_path / name
        store.write_results(out, frames(), manifest())
        harm(out)
        with pytest.raises(InputError, match=part) as raised:
            store.read_results(out)
        assert name in str(raised.value)

    def flip(out):
        data = bytearray((out / "index.parquet").read_bytes())
        data[len(data) // 2] ^= 1
        (out / "index.parquet").write_bytes(data)

    broken("no-manifest", lambda out: (out / "manifest.json").unlink(), "has no manifest.json")
    broken("half", lambda out: (out / "manifest.json").write_text('{"study'), "damaged")
    broken("gone", lambda out: (out / "folds.parquet").unlink(), "folds.parquet: is missing")
    broken("flipped", flip, "index.parquet: has changed")
    broken("cut", lambda out: os.truncate(out / "scores.parquet", 9), "scores.parquet: has changed")
    with pytest.raises(InputError, match="no such directory"):
        store.read_results(tmp_path / "nothing")
