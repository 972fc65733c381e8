"""Label sets from a hub on the loopback, and what is made of tables that are not as documented."""

import tomllib

import make_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_hub import API, COMMIT, DATA, N, canonical, hub
from tile_server import Fault, TileServer

from ecjax import hub_tables, web
from ecjax.coordbench import fetch_task
from ecjax.errors import InputError
from ecjax.label_sets import label_sets
from ecjax.models import Unavailable
from ecjax.study import read_study
from ecjax.tables import read_task


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.0)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


@pytest.fixture
def fetch(tmp_path):
    """Fetches a label set whose one table is this."""

    def fetched(name, table, **more):
        with TileServer(hub({label_sets()[name].table: table})) as server:
            found = fetch_task(name, tmp_path / "sets", server.url, **more)
        return found, pq.read_table(found.path)

    return fetched


def study_of(tasks: dict) -> str:
    """A study file with these tasks and made-up vectors."""
    lines = ['[embeddings.a]\nsource = "coordinates"']
    for name, keys in tasks.items():
        told = [f"{key} = {str(value).replace(chr(39), chr(34))}" if isinstance(value, list)
                else f'{key} = "{value}"' for key, value in keys.items()]  # fmt: skip
        lines.append("\n".join([f'[tasks."{name}"]', *told]))
    return "\n\n".join(lines)


def test_all_label_sets_become_tasks(tmp_path):
    tasks = {}
    with TileServer(hub(make_hub.all_tables())) as server:
        for name in label_sets():
            found = fetch_task(name, tmp_path, server.url)
            tasks |= found.tasks
            assert found.path == tmp_path / f"{name}.parquet"
            assert (found.version, len(found.checksum)) == (COMMIT, 64)
    assert len(tasks) == 61 and {"ecoregions-biome", "ecoregions-ecoregion"} < set(tasks)
    text = study_of(tasks)
    assert tomllib.loads(text)["tasks"] == tasks
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    study = read_study(tmp_path / "study.toml")
    for source in study.tasks.values():
        task = read_task(source)
        assert len(task.ids) == (N // 2 if "random_sample" in label_sets().get(
            source.name, label_sets()["ecoregions"]).only else N)  # fmt: skip
    sustain = tasks["sustainbench-asset"]
    assert sustain["split"] == "split" and sustain["target"] == ["asset_index"]
    assert tasks["mosaiks-income"]["transform"] == "log1p"
    assert tasks["pdfm-conus27"]["target"] == ["asthma", "elevation"]


def test_the_pool_of_rows_is_that_of_another_table(tmp_path):
    tables = {
        "bt_landcover": canonical({"random_sample": [1, 0, 1]}, n=3, id=pa.array([7, 8, 9])),
        "bt_bioclim": canonical(
            {f"bioclim_{i:02d}": np.arange(3.0) + i for i in range(1, 20)},
            n=3, id=pa.array(["9", "8", "7"]),
        ),
    }  # fmt: skip
    with TileServer(hub(tables)) as server:
        found = fetch_task("bt-bioclim", tmp_path, server.url)
    table = pq.read_table(found.path)
    assert table["id"].to_pylist() == ["9", "7"] and table["bioclim_01"].to_pylist() == [1.0, 3.0]
    assert table.column_names[:3] == ["id", "lat", "lon"] and len(table.column_names) == 22
    assert found.notes[1] == (
        "1 row of 3 left out: only those with id in bt_landcover where random_sample=1"
    )


def test_sentinels_and_gaps_are_left_out(fetch):
    values = [5.0, -999, None, 7, 8]
    table = canonical({"treecover": values}, n=5, lat=pa.array([1.0, 2, 3, None, 5]))
    found, made = fetch("mosaiks-treecover", table)
    assert made["treecover"].to_pylist() == [5.0, 8.0] and made["id"].to_pylist() == [0, 4]
    assert found.rows == 2 and found.notes == [
        "1 row of 5 left out: treecover is -999, for missing",
        "1 row of 5 left out: no target has a value",
        "1 row of 5 left out: without coordinates in degrees",
    ]


def test_ocean_is_left_out_and_classes_are_whole_numbers(fetch):
    table = canonical({"country": [0.0, 3, 4, 3]}, n=4)
    _, made = fetch("satclip-country", table)
    assert made["country"].to_pylist() == [3, 4, 3]
    assert made.schema.field("country").type == pa.int64()
    table = canonical(
        {"ecoregion_class_index": [1, 2, -1], "biome_class_index": [-1, 2, -1]}, n=3
    )  # fmt: skip
    _, made = fetch("satclip-biome", table)
    assert made["biome_class_index"].to_pylist() == [2]


def test_coordinates_by_other_names_years_and_splits(fetch):
    columns = {
        "x": [10.0, 20], "y": [1.0, 2], "label": [1, 2], "split": ["train", "test"],
        "timestamp": np.array(["2019-05-01", "2021-01-01"], "datetime64[ms]").astype(np.int64),
        "id": ["a", "b"],
    }  # fmt: skip
    found, made = fetch("dm-glance", pa.table(columns))
    assert made["lon"].to_pylist() == [10, 20] and made["lat"].to_pylist() == [1, 2]
    assert made["year"].to_pylist() == [2019, 2021] and made["id"].to_pylist() == ["a", "b"]
    assert found.tasks["dm-glance"]["split"] == "split"
    columns |= {"split": [None, "test"], "id": ["a", "a"], "timestamp": [None, 1]}
    found, made = fetch("dm-descals", pa.table(columns))
    assert made.column_names == ["id", "lat", "lon", "label"] and made["id"].to_pylist() == [0, 1]
    assert found.notes == [
        "ids are numbers of rows, for not each row has an id of its own",
        "no split, for 1 row has none",
    ]


def test_kinds_that_do_not_fit_are_refused(fetch):
    fractions = canonical({"label": [0.5, 1.0]}, n=2)
    with pytest.raises(InputError, match="that are no whole numbers, first 0.5.*regression"):
        fetch("dm-lcmap_lc", fractions)
    found, made = fetch("dm-lcmap_lc", fractions, kind="regression")
    assert found.tasks["dm-lcmap_lc"]["kind"] == "regression"
    assert made["label"].to_pylist() == [0.5, 1.0]
    with pytest.raises(InputError, match="holds string, not numbers"):
        fetch("dm-aster_ged", canonical({"label": ["a", "b"]}, n=2))


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (pa.table({"lat": [1.0], "biomass_mean": [2.0]}), 'no column of numbers named "lon"'),
        (canonical({"biomass": [1.0]}, n=1), 'has no target "biomass_mean" among "lon", "lat"'),
        (canonical({"biomass_mean": [None]}, n=1), "no row is left"),
    ],
)
def test_a_table_that_is_not_as_documented_is_refused(fetch, tmp_path, table, match):
    with pytest.raises(InputError, match=match):
        fetch("bt-biomass", table)
    assert not (tmp_path / "sets").exists()


def test_what_is_there_is_not_asked_for_again(tmp_path):
    table = canonical({"elevation": np.arange(3.0)}, n=3)
    files = hub({"satclip_elevation": table})
    with TileServer(files | {f"{API}/revision/old": files[f"{API}/revision/main"]}) as server:
        first = fetch_task("satclip-elevation", tmp_path, server.url)
        asked = len(server.requests)
        assert fetch_task("satclip_elevation", tmp_path, server.url) == first
        assert len(server.requests) == asked == 3
        content = first.path.read_bytes()
        fetch_task("satclip-elevation", tmp_path, server.url, revision="old")
        assert len(server.requests) == 2 * asked
        first.path.write_bytes(b"damaged")
        fetch_task("satclip-elevation", tmp_path, server.url)
        assert first.path.read_bytes() == content


def test_the_environment_names_another_hub(tmp_path, monkeypatch):
    with TileServer(hub({"air_temp": canonical({"meanT": [1.0, 2.0]}, n=2)})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
        assert fetch_task("satclip-air-temp", tmp_path).rows == 2


def test_damage_and_absence_are_told(tmp_path, monkeypatch):
    files = hub({"soilgrids": canonical({"soc": [1.0], "phh2o": [2.0]}, n=1)})
    path = f"{DATA}/data/soilgrids/data.parquet"
    with TileServer(files) as server:
        get = lambda name="soilgrids-soc", **more: fetch_task(name, tmp_path, server.url, **more)  # noqa: E731
        with pytest.raises(InputError, match='no data/country/data.parquet.*only "soilgrids"'):
            get("country")
        with pytest.raises(InputError, match='no revision "v9"'):
            get(revision="v9")
        with pytest.raises(InputError, match="give a branch"):
            get(revision="../main")
        server.misbehave(Fault(status=302, headers={"Location": f"/{path}?signature=secret"}),
                         path="resolve")  # fmt: skip
        assert get().rows == 1
        (tmp_path / "soilgrids-soc.parquet").unlink()
        server.misbehave(Fault(body=lambda body: body[::-1]), path="resolve")
        with pytest.raises(Unavailable, match="soilgrids/data.parquet is damaged"):
            get()
        monkeypatch.setattr(hub_tables, "EXPANDED_BYTES", 10)
        with pytest.raises(InputError, match="expands to"):
            get()
        files[path] = b"no Parquet"
        files[f"{API}/tree/{COMMIT}/data/soilgrids"] = make_hub.listed(
            "data/soilgrids/data.parquet", b"no Parquet"
        )
        with pytest.raises(InputError, match="cannot be read as Parquet"):
            get()
        del files[path]
        with pytest.raises(Unavailable, match="is listed, but not there"):
            get()
        files[f"{API}/revision/main"] = b"<html>"
        with pytest.raises(Unavailable, match="gives no JSON"):
            get()
        files[f"{API}/revision/main"] = b'{"sha": "main"}'
        with pytest.raises(Unavailable, match="does not tell the commit"):
            get()
    assert list(tmp_path.iterdir()) == []


def test_names_are_those_of_the_catalogue(tmp_path):
    with pytest.raises(InputError, match="did you mean worldclim-bio12"):
        fetch_task("worldclim-bio2", tmp_path, "http://127.0.0.1:9")
