"""`fetch` from end to end, with made models: what is written, and what is asked for."""

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import make_hub
import make_models
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from make_models import Made, places_table, values_of, write_places
from tile_server import TileServer

from ecjax import cli, fetch, part_store, registry
from ecjax.align import align
from ecjax.errors import InputError, UsageError
from ecjax.fetch_asked import Asked
from ecjax.models import Places
from ecjax.places import place_of
from ecjax.precomputed import Precomputed
from ecjax.progress import Silent
from ecjax.study import read_study
from ecjax.wanted import Given

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "made", "make_models:Made")
    monkeypatch.setitem(registry.BUILT_IN, "timeless", "make_models:Timeless")
    monkeypatch.setattr(Made, "asked", [])


@pytest.fixture
def places(tmp_path):
    return write_places(tmp_path / "plots.csv", places_table())


def get(places, out, models=("made",), year=2021, progress=None, **more):
    return fetch.fetch(Asked(places, models, year=year, **more), out, progress)


def tables(out):
    return {path.name: path.read_bytes() for path in out.glob("*.parquet")}


def parts(out, name="made"):
    return sorted((out / part_store.FOLDER / name).glob("*.part"))


@pytest.mark.parametrize("ids", [None, [f"p{i:03d}" for i in range(40)]])
def test_tables_hold_what_the_model_gave(tmp_path, ids):
    given = places_table(ids=ids).sample(frac=1, random_state=1)
    found = get(write_places(tmp_path / "plots.csv", given), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "made.parquet")
    north = given[given["lat"] >= -60]
    assert table[["id", "lat", "lon"]].equals(north[["id", "lat", "lon"]].reset_index(drop=True))
    expected = values_of(Places(north["lat"], north["lon"], np.full(len(north), 2021)))
    assert np.array_equal(np.stack(table["embedding"]), expected)
    assert set(table["year"]) == {2021} and set(table["dataset"]) == {"made v1"}
    assert table["tile"].str.endswith("_2021").all() and (table["checksum"].str.len() == 8).all()
    kind = pq.read_schema(tmp_path / "out" / "made.parquet").field("embedding").type
    assert str(kind) == "fixed_size_list<element: float>[3]"
    missing = pd.read_parquet(tmp_path / "out" / "missing.parquet")
    assert missing["id"].tolist() == given.loc[given["lat"] < -60, "id"].tolist()
    assert set(missing["model"]) == {"made"} and set(missing["reason"]) == {"no tile there"}
    assert pd.read_parquet(tmp_path / "out" / "labels.parquet").equals(given.reset_index(drop=True))
    assert found.models["made"]["missing"] == {"no tile there": len(missing)}
    assert 0 < len(missing) < 40


def test_the_study_is_ready_to_run(places, tmp_path):
    get(places, tmp_path / "out", models=("made", "timeless"))
    (task,) = align(read_study(tmp_path / "out" / "study.toml"))
    assert task.name == "height" and task.kind == "regression" and task.lat is not None
    assert {name: x.shape[1] for name, x in task.embeddings.items()} == {"made": 3, "timeless": 3}
    assert len(task.ids) == (places_table()["lat"] >= -60).sum()


def test_the_manifest_says_where_all_is_from(places, tmp_path):
    sources = {"made": "https://user:secret@example.org/tiles?sig=secret"}
    get(places, tmp_path / "out", sources=sources)
    text = (tmp_path / "out" / "fetch.json").read_text()
    said = json.loads(text)
    assert "secret" not in text
    assert said["models"]["made"]["source"] == "https://example.org/tiles"
    assert said["models"]["made"]["licence"] == "free, by nobody" and said["complete"] is True
    assert said["arguments"]["year"] == 2021 and said["rows"] == 40
    assert set(said["files"]) == {"made.parquet", "missing.parquet", "labels.parquet"}


def test_a_source_that_fails_in_between_changes_nothing(places, tmp_path, monkeypatch):
    get(places, tmp_path / "whole")
    whole, Made.asked[:] = list(Made.asked), []
    monkeypatch.setattr(Made, "fails_after", 7)
    vectors_csv(tmp_path / "mine.csv", places_table())
    mine = {"mine": str(tmp_path / "mine.csv")}
    found = get(places, tmp_path / "out", ("made", "mine"), workers=1, sources=mine)
    assert re.search("503 .*; 7 of .* parts of made were read and are kept", found.late["made"])
    assert list(found.models) == ["mine"] and found.models["mine"]["rows"] == 39
    assert not json.loads((tmp_path / "out" / "fetch.json").read_text())["complete"]
    assert len(parts(tmp_path / "out")) == 7
    assert not (tmp_path / "out" / "made.parquet").exists()
    monkeypatch.setattr(Made, "fails_after", None)
    get(places, tmp_path / "out")
    assert sorted(Made.asked) == sorted(whole)  # each once
    (tmp_path / "out" / "mine.parquet").unlink()
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_a_directory_without_vectors_is_bound_to_no_source(places, tmp_path):
    how = dict(models=("mine",), sources={"mine": str(tmp_path / "nope.csv")})
    with pytest.raises(InputError, match="nope"):
        get(places, tmp_path / "out", **how)
    vectors_csv(tmp_path / "mine.csv", places_table())
    found = get(places, tmp_path / "out", ("mine",), sources={"mine": str(tmp_path / "mine.csv")})
    assert found.models["mine"]["rows"] == 39


class EndsEarly(Silent):
    """A user who asks to end after two parts."""

    asked = property(lambda self: len(make_models._asked_tiles()) >= 2)


def test_a_user_who_asks_to_end_is_told_what_is_kept(places, tmp_path):
    with pytest.raises(KeyboardInterrupt, match="2 of .* are kept; the same command goes on"):
        get(places, tmp_path / "out", workers=1, progress=EndsEarly())
    assert len(parts(tmp_path / "out")) == 2


def test_more_places_ask_for_these_alone(tmp_path):
    given = places_table(60)
    get(write_places(tmp_path / "a.csv", given[:40]), tmp_path / "out")
    before, Made.asked[:] = set(Made.asked), []
    more = write_places(tmp_path / "b.csv", given[::-1])
    get(more, tmp_path / "out")
    assert len(Made.asked) == 20 and not before & set(Made.asked)
    get(more, tmp_path / "whole")
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


def test_places_that_rows_share_are_asked_for_once(tmp_path):
    given = places_table(10)
    twice = pd.concat([given, given.assign(id=given["id"] + 100)])
    twice["year"] = np.repeat([2020, 2021], 10)
    both = write_places(tmp_path / "a.csv", twice)
    get(both, tmp_path / "out", models=("made", "timeless"), year=None)
    assert len(Made.asked) == 20 + 10  # the second knows no years
    table = pd.read_parquet(tmp_path / "out" / "timeless.parquet")
    assert table["year"].isna().all() and len(table) == 2 * (given["lat"] >= -60).sum()
    years = pd.read_parquet(tmp_path / "out" / "made.parquet").set_index("id")["year"]
    assert all((year == 2021) == (place >= 100) for place, year in years.items())
    told = fetch.plan(Asked(both, ("made", "timeless")), tmp_path / "new").splitlines()
    assert told[0].startswith("made: 20 places; ")
    assert told[2].startswith("timeless: 20 rows at 10 distinct places; ")
    thrice = write_places(tmp_path / "b.csv", pd.concat([twice, twice.assign(id=twice.id + 500)]))
    told = fetch.plan(Asked(thrice, ("made",)), tmp_path / "new")
    assert told.startswith("made: 40 rows at 20 distinct places and years; ")


class Shown(Silent):
    """Notes what a terminal would show, and whether it would show how far the work is."""

    def __init__(self):
        self.labels = []

    def run(self, work, label, seconds, share=None):
        found = work()
        self.labels.append((label if isinstance(label, str) else label(), share is not None))
        return found


def test_all_that_takes_long_is_shown(places, tmp_path):
    vectors_csv(tmp_path / "mine.csv", places_table())
    shown = Shown()
    sources = {"mine": str(tmp_path / "mine.csv")}
    get(places, tmp_path / "out", ("made", "mine"), sources=sources, progress=shown)
    count = len(parts(tmp_path / "out"))
    assert shown.labels == [
        ("reading the places", False),
        ("made: what is there, and what is left", False),
        (f"made: {count} of {count} parts", True),
        ("made: writing made.parquet", False),
        ("mine: what is there, and what is left", False),
        ("mine: reading its table", False),
        ("mine: writing mine.parquet", False),
    ]


def test_a_width_that_changes_under_one_version_is_told(tmp_path, monkeypatch):
    given = places_table()
    get(write_places(tmp_path / "a.csv", given[:20]), tmp_path / "out")
    monkeypatch.setattr(make_models, "values_of", lambda places: np.ones((len(places.lat), 5)))
    with pytest.raises(InputError, match='"made": gives 5 numbers a place, but 3 before'):
        get(write_places(tmp_path / "b.csv", given), tmp_path / "out")


class Indexed(Made):
    """Keeps an index."""

    def __init__(self, source="published", cache=None):
        super().__init__(source)
        self.cache = cache

    def parts(self, places):
        if self.cache is not None:
            (self.cache / "index").write_text("kept")  # the folder is there
        return super().parts(places)


def test_an_index_is_kept_beside_the_parts(places, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "made", "fetch_test:Indexed")
    fetch.plan(Asked(places, ("made",), year=2021), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    get(places, tmp_path / "out")
    assert (tmp_path / "out" / part_store.FOLDER / "made" / "index").exists()
    before, Made.asked[:] = tables(tmp_path / "out"), []
    get(places, tmp_path / "out")
    assert tables(tmp_path / "out") == before and not Made.asked


def test_the_directory_may_be_elsewhere(places, tmp_path):
    out = "memory://fetched/out"
    get(places, out)
    whole, Made.asked[:] = list(Made.asked), []
    get(places, out)
    assert whole and not Made.asked
    get(places, tmp_path / "out")
    for name, content in tables(tmp_path / "out").items():
        assert place_of(out).read(name) == content


def test_a_public_label_set_has_its_own_tasks(tmp_path, monkeypatch, capsys):
    how = "fetch", "--task=bt-biomass", f"--out={tmp_path / 'out'}"
    with TileServer(make_hub.hub(make_hub.all_tables())) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert run(*how, "--models=timeless", "--dry_run") == cli.USAGE
        assert run(*how) == cli.DONE
        printed = capsys.readouterr().out
        assert 'task "bt-biomass": regression of "biomass_mean"' in printed
        assert "Licence: CC-BY-SA" in printed
    assert run(*how, "--models=timeless", "--dry_run") == cli.DONE  # the hub is gone
    assert run(*how, "--models=timeless") == cli.DONE
    (task,) = align(read_study(tmp_path / "out" / "study.toml"))
    assert task.name == "bt-biomass" and list(task.embeddings) == ["timeless"]
    said = json.loads((tmp_path / "out" / "fetch.json").read_text())
    assert said["labels"]["task"] == "bt-biomass" and len(said["labels"]["checksum"]) == 64
    assert run("fetch", "p.csv", "--task=bt-biomass", "--out=o") == cli.USAGE
    assert run(*how, "--target=x") == cli.USAGE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.setattr(Made, "version", "made v2"), r"made.version \(there: made v1; now: m"),
        (lambda m: None, r"made.source \(there: published; now: /elsewhere\)"),
    ],
)
def test_versions_are_not_mixed(places, tmp_path, monkeypatch, change, says):
    get(places, tmp_path / "out")
    before = tables(tmp_path / "out")
    change(monkeypatch)
    sources = {"made": "/elsewhere"} if "source" in says else {}
    with pytest.raises(InputError, match=says):
        get(places, tmp_path / "out", sources=sources)
    assert tables(tmp_path / "out") == before


@pytest.mark.parametrize("damage", ["flip", "cut", "rename"])
def test_a_damaged_part_is_read_again(places, tmp_path, damage):
    get(places, tmp_path / "out")
    before, Made.asked[:] = tables(tmp_path / "out"), []
    first, second = parts(tmp_path / "out")[:2]
    content = bytearray(first.read_bytes())
    content[-70] ^= damage == "flip"
    first.write_bytes(content[: -1 if damage == "cut" else None])
    if damage == "rename":
        os.replace(second, first)
    stray = first.with_name("stray.part")
    stray.write_bytes(b"nothing")
    said = io.StringIO()
    progress = Silent()
    progress.say = lambda line: print(line, file=said)
    get(places, tmp_path / "out", progress=progress)
    assert f"{first.name}: is damaged" in said.getvalue() and "read again" in said.getvalue()
    assert 0 < len(Made.asked) < 40 and tables(tmp_path / "out") == before
    assert not stray.exists()


def test_a_dry_run_writes_nothing_and_reads_nothing(places, tmp_path, monkeypatch):
    text = fetch.plan(Asked(places, ("made",), year=2021), tmp_path / "out")
    assert not Made.asked and not (tmp_path / "out").exists()
    assert "made: 40 places; " in text and " parts to read: 40 requests, 0.04 MiB" in text
    assert "about 1:00; nobody pays" in text and "licence: free, by nobody" in text
    assert 'regression of "height"' in text
    get(places, tmp_path / "out")
    assert "made: 40 places, all there already" in fetch.plan(
        Asked(places, ("made",), year=2021), tmp_path / "out"
    )


def vectors_csv(path, table, columns=4):
    values = np.random.default_rng(1).normal(size=(len(table), columns)).astype(np.float32)
    frame = pd.DataFrame(values).add_prefix("emb_").assign(id=table["id"].to_numpy())
    frame.loc[3, [f"emb_{j}" for j in range(columns)]] = np.nan
    frame.sample(frac=1, random_state=2).to_csv(path, index=False)
    return frame.set_index("id")


def test_a_table_computed_before_is_joined_on_the_ids(tmp_path, monkeypatch):
    given = places_table().rename(columns={"id": "plot", "lat": "Latitude", "lon": "X"})
    mine = vectors_csv(tmp_path / "mine.csv", given.rename(columns={"plot": "id"})[:30])
    plots = write_places(tmp_path / "plots.csv", given)
    how = dict(models=("mine",), sources={"mine": str(tmp_path / "mine.csv")}, year=None)
    ids = dict(given=Given(id="plot"))
    found = get(plots, tmp_path / "out", **how, **ids)
    table = pd.read_parquet(tmp_path / "out" / "mine.parquet").set_index("id")
    assert table.index.tolist() == [i for i in range(30) if i != 3]
    assert np.allclose(np.stack(table["embedding"]), mine.drop(index=3), rtol=1e-6)
    assert found.models["mine"]["missing"] == {"masked in the table": 1, "not in the table": 10}
    before = tables(tmp_path / "out")
    monkeypatch.setattr(Precomputed, "read", None)  # it is not read again
    get(plots, tmp_path / "out", **how, **ids)
    assert tables(tmp_path / "out") == before


def test_a_table_that_changed_is_not_taken_for_what_was_read(places, tmp_path):
    mine = tmp_path / "mine.csv"
    how = dict(models=("mine",), sources={"mine": str(mine)})
    vectors_csv(mine, places_table())
    get(places, tmp_path / "out", **how)
    before = tables(tmp_path / "out")
    mine.write_text(mine.read_text())  # the same, written anew
    get(places, tmp_path / "out", **how)
    assert tables(tmp_path / "out") == before
    mine.write_text(mine.read_text().replace("0.1", "0.2"))
    with pytest.raises(InputError, match="version"):
        get(places, tmp_path / "out", **how)
    assert tables(tmp_path / "out") == before


def test_ids_of_another_type_have_nothing_in_common(tmp_path):
    vectors_csv(tmp_path / "mine.csv", places_table())
    plots = write_places(tmp_path / "p.csv", places_table(ids=[f"p{i}" for i in range(40)]))
    with pytest.raises(InputError, match="ids are numbers .* but text in places .*p.csv"):
        get(plots, tmp_path / "out", ("mine",), sources={"mine": str(tmp_path / "mine.csv")})


def test_a_study_file_that_was_edited_is_left(places, tmp_path):
    get(places, tmp_path / "out")
    study = tmp_path / "out" / "study.toml"
    assert not get(places, tmp_path / "out", ("made", "timeless")).notes  # written anew
    assert "timeless" in tomllib.loads(study.read_text())["embeddings"]
    study.write_text(study.read_text() + "# mine\n")
    found = get(places, tmp_path / "out")
    assert "# mine" in study.read_text() and "left as it is" in str(found)
    told = str(found)
    assert "task" not in told.replace("embeddings and tasks", "") and not found.tasks
    assert "does not name" not in told  # it has both tables, of two runs
    study.write_text('[embeddings.mine]\npath = "./timeless.parquet"\n')
    told = str(get(places, tmp_path / "out"))
    assert 'does not name "made.parquet": a table [embeddings.NAME] with path = "made' in told
    dry = fetch.plan(Asked(places, ("made",), year=2021), tmp_path / "out")
    assert "left as it is" in dry and 'task "height"' not in dry
    assert json.loads((tmp_path / "out" / "fetch.json").read_text())["tasks"] == {}


def test_files_of_others_are_not_replaced(places, tmp_path):
    (tmp_path / "made.parquet").write_bytes(b"mine")
    with pytest.raises(InputError, match='holds "made.parquet" but no fetch.json'):
        get(places, tmp_path)
    (tmp_path / "fetch.json").write_text('{"models": 3}')
    with pytest.raises(InputError, match="fetch.json: is not a manifest"):
        get(places, tmp_path)
    assert (tmp_path / "made.parquet").read_bytes() == b"mine"


def test_a_year_is_wanted_where_a_model_knows_years(places, tmp_path):
    with pytest.raises(UsageError, match='"made": of which year'):
        get(places, tmp_path / "out", ("made", "timeless"), year=None)
    get(places, tmp_path / "out", ("timeless",), year=None)


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def test_exit_codes(places, tmp_path, capsys, monkeypatch):
    how = "fetch", places, f"--out={tmp_path / 'out'}", "--year=2021"
    assert run(*how, "--models=made", "--dry_run") == cli.DONE
    assert "40 requests" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert run(*how, "--models=made") == cli.DONE
    printed = capsys.readouterr()
    assert "of 40 rows  made v1" in printed.out and " no tile there" in printed.out
    assert "`ecjax validate" in printed.out and "made: 40 places; " in printed.err
    assert run(*how, "--models=mad") == cli.USAGE
    assert "did you mean made?" in capsys.readouterr().err
    assert run(*how) == cli.USAGE
    assert run(*how, "--models=labels", f"--sources=labels={places}") == cli.USAGE
    assert run("fetch", places, "--models=made") == cli.USAGE
    assert run(*how, "--models=made", "--target=heigt") == cli.BAD_INPUT
    assert 'did you mean "height"?' in capsys.readouterr().err
    monkeypatch.setattr(Made, "fails_after", 0)
    how = "fetch", places, f"--out={tmp_path / 'other'}", "--year=2021"
    assert run(*how, "--models=made") == cli.INTERRUPTED
    told = capsys.readouterr().err
    assert "HTTP 503" in told and 'goes on; without "made" in --models' in told


def test_a_model_without_a_single_vector_exits_3(tmp_path, capsys):
    south = write_places(tmp_path / "s.csv", places_table().assign(lat=-70.0))
    get(write_places(tmp_path / "p.csv", places_table()), tmp_path / "out")
    how = "fetch", south, f"--out={tmp_path / 'out'}", "--year=2021"
    assert run(*how, "--models=made") == cli.UNDEFINED
    assert "0 of 40 rows" in capsys.readouterr().out
    assert not (tmp_path / "out" / "made.parquet").exists()
    assert len(pd.read_parquet(tmp_path / "out" / "missing.parquet")) == 40
    assert "embeddings" not in tomllib.loads((tmp_path / "out" / "study.toml").read_text())


@pytest.mark.parametrize(
    ("kills", "count"), [(4, 200), pytest.param(20, 2000, marks=pytest.mark.long)]
)
def test_kills_lose_nothing_and_change_nothing(kills, count):
    script = ROOT / "experiments" / "fetch_kills.py"
    done = subprocess.run(
        [sys.executable, script, f"--kills={kills}", f"--count={count}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills" in done.stdout and "all tables equal" in done.stdout
