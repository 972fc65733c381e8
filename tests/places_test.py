"""Tests of ecjax.places: a directory here and one in an object store, which hold the same.

The store is moto's server, see object_store for how it starts; others fail, or fall silent.
"""

import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import object_store
import pytest
import store_test
from make_tables import labels, study, vectors, write

import ecjax
from ecjax import cli, filesystems, report_files, store
from ecjax.align import align
from ecjax.atomic import WriteError
from ecjax.errors import InputError
from ecjax.fingerprints import of_rows
from ecjax.places import LocalPlace, place_of
from ecjax.remote import RemotePath, path_of
from ecjax.study import read_study

KILLS = 20
BIOMASS = """
[embeddings.alphaearth]
path = "alphaearth_centre/biomass_alphaearth_centre.csv"
[embeddings.geoclip]
path = "geoclip/*.parquet"
[tasks.biomass]
path = "downstream_tasks/biomass_cleaned_centre.csv"
id = "index"
target = "biomass_mean"
kind = "regression"
"""


@pytest.fixture(scope="module")
def bucket():
    with object_store.started() as found:
        yield found


@pytest.fixture
def remote(bucket, tmp_path):
    """A URL in the bucket, of this test alone."""
    return bucket.url(hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])


@pytest.fixture(params=["here", "store"])
def place(request, tmp_path):
    directory = tmp_path / "run" if request.param == "here" else request.getfixturevalue("remote")
    return place_of(directory)


def upload(folder: Path, url: str) -> RemotePath:
    """Puts all files of a folder below a URL."""
    there = path_of(url)
    for file in folder.rglob("*"):
        if file.is_file():
            (there / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())
    return there


def test_files_of_a_place(place):
    assert place.files() == {} and place.files("cells") == {} and not place.is_directory()
    content = bytes(range(256)) * 50
    place.write("cells/b.bin", content)
    place.write("cells/a.bin", b"")
    place.write("top", b"1")
    place.write("top", b"22")
    assert place.is_directory() and not place.is_taken()
    assert place.files() == {"top": 2} and place.files("cells") == {"a.bin": 0, "b.bin": 12800}
    assert place.read("cells/b.bin") == content and place.read("top") == b"22"
    assert place.read_part("cells/b.bin", 5, 300) == content[5:305]
    assert place.read_part("top", 1, 300) == b"2"
    assert place.has("top") and not place.has("cells") and not place.has("cells/none")
    for missing in ("none", "cells/none", "none/at/all"):
        with pytest.raises(FileNotFoundError):
            place.read(missing)
        with pytest.raises(FileNotFoundError):
            place.read_part(missing, 0, 4)
        place.remove(missing)
    place.remove("top")
    assert place.files() == {}
    assert place_of(place) is place
    for name in ("../x", "/x", "", "a//b", "a/.", "a/../b"):
        with pytest.raises(ValueError, match="no name of a file within"):
            place.write(name, b"")


def test_hidden_files_are_not_told_of(place):
    place.write(".hidden", b"1")
    place.write("cells/.hidden", b"1")
    assert place.files() == {} and place.files("cells") == {}


def test_what_is_in_the_way_and_what_a_check_leaves(place):
    place.check_writable()
    assert place.files() == {}
    place.write("file", b"")
    assert place_of(place.path("file")).is_taken()


def test_staged_files_are_moved(place):
    place.write("old", b"old")
    with place.staging() as folder:
        (folder / "new").write_bytes(b"new")
        place.move(folder / "new", "old")
        place.sync()
        assert place.files() == {"old": 3}
    assert place.read("old") == b"new" and not folder.exists()


def test_a_write_here_is_synced_before_and_after_its_move(tmp_path, monkeypatch):
    sync, move, events = os.fsync, os.replace, []
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("move"), move(a, b)))
    place_of(tmp_path).write("a", b"1")
    assert events == ["sync", "move", "sync"]
    events.clear()
    place_of(tmp_path).write("new/er/b", b"1")
    assert events == ["sync", "sync", "sync", "move", "sync"]  # first the two new folders
    os.umask(mask := os.umask(0))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_here_that_fails_leaves_what_was_there(tmp_path, monkeypatch, error):
    place = place_of(tmp_path)
    place.write("a", b"old")

    def failing(*arguments):
        raise error

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            expected = WriteError if isinstance(error, OSError) else KeyboardInterrupt
            with pytest.raises(expected, match=r"/a: cannot be written \(No space|^$"):
                place.write("a", b"new")
        assert place.read("a") == b"old" and os.listdir(tmp_path) == ["a"]


def test_writers_of_the_same_file_do_not_disturb_each_other(tmp_path):
    place, faults, stop = place_of(tmp_path), [], threading.Event()
    contents = [bytes([65 + i]) * 5000 for i in range(3)]
    place.write("cell", contents[0])

    def repeat(work):
        try:
            while not stop.is_set():
                work()
        except Exception as error:
            faults.append(error)

    def read():
        assert place.read("cell") in contents

    def stage():  # as a run that writes its tables does, which clears away what others left
        with place.staging():
            pass

    works = [read, stage, *(lambda c=c: place.write("cell", c) for c in contents)]
    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults and os.listdir(tmp_path) == ["cell"]


def test_what_killed_writers_left_is_removed_when_it_is_old(tmp_path):
    place = place_of(tmp_path)
    for name in ("cells/.a.bin." + 32 * "0", "cells/.a.bin." + 32 * "1", "cells/.mine", "cells/a"):
        place.write(name, b"1")
    old = time.time() - 25 * 3600
    for name in os.listdir(tmp_path / "cells"):
        if not name.endswith("1"):
            os.utime(tmp_path / "cells" / name, (old, old))
    place.tidy("cells")
    assert sorted(os.listdir(tmp_path / "cells")) == [".a.bin." + 32 * "1", ".mine", "a"]
    place.tidy("none")


def test_a_place_here_without_permission_says_so():
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a place nobody can write to")
    with pytest.raises(WriteError, match=r"/proc/self/x/a: cannot be written \("):
        LocalPlace(Path("/proc/self/x")).write("a", b"")


def test_results_in_a_store_are_those_of_a_directory(tmp_path, remote, monkeypatch):
    events, write_bytes = [], RemotePath.write_bytes
    frames, manifest = store_test.frames(), store_test.manifest()
    more = {**frames, "predictions": frames["folds"], "targets": frames["scores"]}
    for out in (tmp_path, remote):
        store.check_directory(out, store_test.STUDY)
        store.write_results(out, more, manifest)
        report_files.replace_page(out, "page")
        report_files.replace_figures(out, "png", {"a": ("of a", b"1"), "b": ("of b", b"2")})
        report_files.replace_figures(out, "png", {"a": ("of a", b"3")})
    assert place_of(remote).files("figures") == {"a.png": 1, "figures.json": 22}

    def noted(path, content):
        events.append(path.name + ("…" if b'"complete": false' in content else ""))
        write_bytes(path, content)

    monkeypatch.setattr(RemotePath, "write_bytes", noted)
    removed = [store.write_results(out, frames, manifest) for out in (tmp_path, remote)]
    tables = ["scores.parquet", "scores.csv", "folds.parquet", "index.parquet", "index.csv"]
    assert events == ["manifest.json…", *tables, "manifest.json"]
    assert removed[0] == removed[1] and "figures (1 file)" in removed[0]
    names = sorted(os.listdir(tmp_path))
    assert sorted(place_of(remote).files()) == names and not place_of(remote).files("figures")
    for name in names:
        assert place_of(remote).read(name) == (tmp_path / name).read_bytes(), name
    assert store.read_results(remote)[1] == store.read_results(tmp_path)[1]
    assert store.read_csv(remote, store.read_results(remote)[1], 20)["index.csv"] is None
    with pytest.raises(InputError, match="this study with other settings") as raised:
        store.check_directory(remote, {**store_test.STUDY, "folds": 10})
    assert "endpoint_override=127.0.0.1" in str(raised.value)  # as it was given, to go on with


def test_a_store_that_fails_at_any_write_holds_old_results_or_says_they_are_unfinished(
    remote, monkeypatch
):
    write_bytes, seen = RemotePath.write_bytes, []
    for allowed in range(8):
        store.write_results(remote, store_test.frames(0.0), store_test.manifest())
        left = iter(range(allowed))

        def failing(path, content, left=left):
            if next(left, None) is None:
                raise OSError(5, "the store says no")
            write_bytes(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(RemotePath, "write_bytes", failing)
            try:
                store.write_results(remote, store_test.frames(1.0), store_test.manifest())
            except store.WriteError as error:
                assert "the store says no" in str(error) and "may be unfinished" in str(error)
        try:
            value = store.read_results(remote)[0]["scores"]["score"][0]
            seen.append({0.0: "old", 1.0: "new"}[value])
        except InputError as error:
            assert "unfinished" in str(error)
            seen.append("unfinished")
        store.check_directory(remote, store_test.STUDY)  # the same study may go on
    assert seen == ["old"] + ["unfinished"] * 6 + ["new"]


def test_what_is_missing_or_damaged_in_a_store_is_named(remote):
    def refused(words):
        with pytest.raises(InputError, match=words):
            store.read_results(remote)

    place = place_of(remote)
    refused("there is no such directory of results")
    place.write("notes.txt", b"mine")
    refused("has no manifest.json")
    store.write_results(remote, store_test.frames(), store_test.manifest())
    place.write("index.parquet", b"other")
    refused("/index.parquet: has changed since it was written")
    place.remove("scores.parquet")
    refused("/scores.parquet: is missing")


def test_a_study_in_a_store_is_the_one_here(tmp_path, remote, monkeypatch):
    for part in ("1", "2"):
        ids = range(100, 130) if part == "1" else range(130, 160)
        write(vectors(4, 30, seed=int(part), ids=ids), tmp_path / f"ae/{part}.parquet")
    write(vectors(3, seed=5), tmp_path / "parts/all.parquet")
    path = study(tmp_path, a="ae/*.parquet", b="parts", task_keys='embeddings = { a = "ae" }')
    there = upload(tmp_path, remote)
    reads, read_bytes = [], RemotePath.read_bytes
    monkeypatch.setattr(
        RemotePath, "read_bytes", lambda p, *size: (reads.append(p.name), read_bytes(p, *size))[1]
    )
    url = remote.replace("?", "/study.toml?")
    found = align(read_study(url))
    assert [of_rows(task) for task in found] == [of_rows(t) for t in align(read_study(path))]
    assert sorted(reads) == ["1.parquet", "2.parquet", "all.parquet", "labels.csv", "study.toml"]
    elsewhere = tmp_path / "elsewhere.toml"  # a study here, of tables there
    elsewhere.write_text(
        f'[embeddings.a]\npath = "{remote.replace("?", "/ae/[12].parquet?")}"\n'
        f'[embeddings.b]\npath = "parts"\n[tasks.t]\npath = "{remote.replace("?", "/labels.csv?")}"'
        '\ntarget = "height"\nkind = "regression"\n'
    )
    assert [of_rows(task) for task in align(read_study(elsewhere))] == [
        of_rows(task) for task in found
    ]
    assert str(read_study(url).tasks["t"].path) == f"{there}/labels.csv"


def test_inputs_in_a_store_are_refused_as_those_here(tmp_path, remote):
    study(tmp_path)
    there = upload(tmp_path, remote)

    def refused(*words):
        with pytest.raises(InputError) as raised:
            align(read_study(remote.replace("?", "/study.toml?")))
        for word in words:
            assert word in str(raised.value), str(raised.value)
        assert "127.0.0.1" not in str(raised.value)

    content = (tmp_path / "a.parquet").read_bytes()
    (there / "a.parquet").write_bytes(content[:-100])
    refused(f'embedding "a" ({there}/a.parquet)', "truncated", "write or copy it again")
    (there / "a.parquet").write_bytes(b"")
    refused("a.parquet", "empty (0 bytes)")
    (there / "a.parquet").unlink()
    refused("[embeddings.a]: path", f"no file {there}/a.parquet")
    (there / "a.parquet").write_bytes(content)
    csv = labels().to_csv(index=False).splitlines()
    csv[7] += ",1"
    (there / "labels.csv").write_bytes("\n".join(csv).encode())
    refused("labels.csv", "1 ragged line", "line 8", "6 values instead of 5")
    (there / "labels.csv").write_bytes(b"id,height\n1,\xe9\n")
    refused("labels.csv", "not UTF-8 at byte 12")
    (there / "study.toml").write_bytes(b"[")
    refused(f"study {there}/study.toml", "not valid TOML")
    (there / "study.toml").unlink()
    refused(f"study {there}/study.toml: no such file")


def test_commands_take_urls(tmp_path, remote, capsys):
    study(tmp_path)
    upload(tmp_path, remote)
    out = [tmp_path / "out", remote.replace("?", "/out?")]
    studies = [tmp_path / "study.toml", remote.replace("?", "/study.toml?")]
    assert cli.main(["scale", str(studies[0]), f"--out={out[0]}"]) == cli.UNDEFINED
    assert cli.main(["scale", studies[1], f"--out={out[1]}"]) == cli.UNDEFINED
    assert f"Tables: {out[1]}." in capsys.readouterr().out
    for name in ("scale.parquet", "scale.csv"):
        assert place_of(out[1]).read(name) == (out[0] / name).read_bytes()
    assert cli.main(["report", out[1]]) == cli.DONE
    page = place_of(out[1]).path("report.html")
    assert f"Page: {page}" in capsys.readouterr().out and page.is_file()
    assert cli.main(["overlap", studies[1], f"--out={out[1]}"]) == cli.BAD_INPUT
    assert "holds the results of `ecjax scale`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "patience", "words"),
    [
        (500, 60.0, "HTTP status 500|INTERNAL_FAILURE"),
        (403, 60.0, "HTTP status 403|ACCESS_DENIED"),
        (None, 0.7, "no answer for 0.7 s"),
    ],
)
def test_a_store_that_fails_is_told_in_time(status, patience, words, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(filesystems, "PATIENCE", patience)
    monkeypatch.setattr(filesystems, "ATTEMPTS", 2)
    study(tmp_path)
    with object_store.failing(status) as (bucket, requests):
        url = bucket.url("run")
        place = place_of(url)
        calls = {
            "cannot be written": lambda: place.write("a/b.bin", b"1"),
            "cannot be read": lambda: place.read("a/b.bin"),
            "a cannot be read": lambda: place.files("a"),
        }
        for what, call in calls.items():
            requests.clear()
            start = time.monotonic()
            with pytest.raises(WriteError, match=f"{what.split()[-1]} .*({words})") as raised:
                call()
            assert time.monotonic() - start < 10
            assert 1 <= len(requests) <= 2 and "s3://bucket/run/a" in str(raised.value)
            assert "user" not in str(raised.value) and "word" not in str(raised.value)
        with pytest.raises(InputError, match=r"s3://bucket/run.*cannot be.*--out") as raised:
            store.check_directory(url, store_test.STUDY)
        with pytest.raises(WriteError, match=f"results could not be written .*({words})"):
            store.write_results(url, store_test.frames(), store_test.manifest())
        arguments = ["scale", str(tmp_path / "study.toml"), f"--out={url}"]
        assert cli.main(arguments) == cli.BAD_INPUT
        assert cli.main(["validate", bucket.url("study.toml")]) == cli.BAD_INPUT
        text = capsys.readouterr().err
        assert "study s3://bucket/study.toml: cannot be read" in text
        assert "word" not in text and "user" not in text


@pytest.mark.long
def test_biomass_from_and_to_a_store_is_that_of_this_disk_though_it_is_killed(
    tmp_path, remote, paper_data
):
    """About two minutes: a run here, KILLS killed ones in the store, and the one that ends."""
    for name in ("alphaearth_centre/biomass_alphaearth_centre.csv",
                 "geoclip/biomass_geoclip.parquet",
                 "downstream_tasks/biomass_cleaned_centre.csv"):  # fmt: skip
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes((paper_data / "data" / name).read_bytes())
    (tmp_path / "study.toml").write_text(BIOMASS)
    upload(tmp_path, remote)

    def run(study, out):
        command = [sys.executable, "-m", "ecjax", "evaluate", str(study), f"--out={out}",
                   "--protocol=paper", "--predictions"]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    begun = time.monotonic()
    assert run(tmp_path / "study.toml", tmp_path / "out").wait() == cli.DONE
    seconds = time.monotonic() - begun
    there = remote.replace("?", "/study.toml?"), remote.replace("?", "/out?")
    draw = random.Random(5)
    for _ in range(KILLS):
        killed = run(*there)
        time.sleep(draw.uniform(0.3, 1.1) * seconds)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert run(*there).wait() == cli.DONE
    found = place_of(there[1])
    names = tables_of(place_of(tmp_path / "out"))
    assert "predictions.parquet" in names and tables_of(found) == names
    cells = found.files("cells")
    assert cells and cells == place_of(tmp_path / "out").files("cells")


def tables_of(place):
    """Name → content."""
    return {name: place.read(name) for name in place.files() if not name.endswith(".json")}


SMALL = {"folds": 3, "protocol": "paper", "ridge_lambda": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize("status", [500, None])
def test_a_store_that_breaks_in_mid_run_keeps_what_was_done(status, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(filesystems, "PATIENCE", 0.7)
    monkeypatch.setattr(filesystems, "ATTEMPTS", 2)
    ours = read_study(study(tmp_path))
    ecjax.evaluate(ours, out=tmp_path / "out", **SMALL)
    with object_store.breakable(bucket) as (between, store_there):
        out = between.url(f"broken-{status}")
        store_there.break_after(10**6, status)
        ecjax.evaluate(ours, out=between.url(f"whole-{status}"), **SMALL)
        whole = 10**6 - store_there.left
        for share in (0.4, 0.75, 0.95):  # cells, tables, their end
            store_there.break_after(int(share * whole), status)
            with pytest.raises(WriteError, match=f"s3://.*broken-{status}"):
                ecjax.evaluate(ours, out=out, **SMALL)
            store_there.mend()
        cells = place_of(out).files("cells")
        assert len(cells) == 4  # with the plan: none was lost
        ecjax.evaluate(ours, out=out, **SMALL)
        assert place_of(out).files("cells") == cells
        assert tables_of(place_of(out)) == tables_of(place_of(tmp_path / "out"))


@pytest.mark.long
@pytest.mark.parametrize("status", [500, None])
def test_a_run_whose_store_breaks_ends_with_75_and_goes_on(status, bucket, tmp_path):
    """Half a minute, and three of waiting for an answer that does not come, once each time."""
    path = study(tmp_path)
    flags = ["--folds=3", "--protocol=paper", "--ridge_lambda=1,2,3,4,5,6,7,8"]

    def run(out):
        command = [sys.executable, "-m", "ecjax", "evaluate", str(path), f"--out={out}", *flags]
        return subprocess.run(command, capture_output=True, text=True)

    assert run(tmp_path / "out").returncode == cli.DONE
    with object_store.breakable(bucket) as (between, store_there):
        store_there.break_after(10**6, status)
        assert run(between.url(f"all-{status}")).returncode == cli.DONE
        whole = 10**6 - store_there.left
        for share in (0.3, 0.6, 0.9):
            out = between.url(f"{share}-{status}")
            store_there.break_after(int(share * whole), status)
            begun = time.monotonic()
            ended = run(out)
            assert ended.returncode == cli.INTERRUPTED, ended.stderr
            assert f"{share}-{status}" in ended.stderr.splitlines()[-1]
            assert time.monotonic() - begun < 90  # a minute of patience, and the run
            store_there.mend()
            assert run(out).returncode == cli.DONE
            assert tables_of(place_of(out)) == tables_of(place_of(tmp_path / "out"))
