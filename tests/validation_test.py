"""What validate finds out is true, and says so in words and in JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from make_tables import N, labels, study, vectors, write

from ecjax.align import align
from ecjax.progress import Silent
from ecjax.settings import Settings
from ecjax.splits import folds_of
from ecjax.study import read_study
from ecjax.validate import validate
from ecjax.validation import Validation
from ecjax.validation_text import as_text

HERE = 'lat = "lat"\nlon = "lon"'


def validated(path, **flags) -> Validation:
    return validate(read_study(path), Settings(**flags), Silent())


def clusters(folder, extra="") -> None:
    """60 places of which each third one lies 300 m from its neighbour."""
    task = labels().assign(country=np.repeat([f"c{i}" for i in range(6)], 10))
    task.loc[1::3, ["lat", "lon"]] = task.loc[::3, ["lat", "lon"]].to_numpy() + [0.0027, 0]
    write(task, folder / "labels.csv")


def test_the_facts_of_a_table(tmp_path):
    frame = vectors(4, seed=1)
    frame.loc[3, "emb_0"], frame.loc[9, frame.columns[1:]] = np.nan, -9999.0
    frame = pd.concat([frame.iloc[:-1], frame.iloc[:1].assign(id=7)])
    write(frame, tmp_path / "a.parquet")
    found = validated(study(tmp_path), folds=5)
    (task,) = found.tasks
    a, b = task.embeddings
    assert found.usable and (task.rows, task.table.rows, b.table.rows) == (57, 60, 60)
    assert {note.reason: (note.count, note.first) for note in a.lost} == {
        "id absent": (1, "159"), "missing value": (1, "103"), "masked row": (1, "109"),
    }  # fmt: skip
    assert [note.reason for note in a.notes] == ["id without label"]
    assert (a.width, a.dtype, a.path) == (4, "float64", "a.parquet") and b.lost == ()
    used = frame.set_index("id").drop([7, 103, 109]).to_numpy()
    assert (a.low, a.high) == (used.min(), used.max())
    (target,) = task.targets
    heights = labels().set_index("id")["height"].drop([103, 109, 159])
    assert target.mean == pytest.approx(heights.mean()) and target.low == heights.min()
    assert (task.table.id_type, task.table.first_id) == ("whole numbers", "100")
    assert (found.needs.folds, found.needs.sets, found.needs.streamed) == ((5,), 3, False)
    assert 0 < found.needs.memory_bytes < found.needs.budget_bytes


def test_text_can_be_pasted(tmp_path):
    frame = vectors(4, seed=1)
    frame.loc[3, "emb_0"] = np.nan
    write(frame.assign(emb_2=1.0), tmp_path / "a.parquet")
    task = labels().assign(**{"crop\x1b[31m": labels()["crop"]})
    task.loc[0, "crop\x1b[31m"] = "\x07bell" + "long " * 40
    write(task, tmp_path / "labels.csv")
    text = as_text(validated(study(tmp_path, task_keys=HERE), folds=5))
    assert 'task "t": regression, 59 of 60 rows used' in text
    assert '  columns    id "id", lat "lat", lon "lon"\n' in text
    assert (
        "  places     used for the range of the residuals' correlation; there for --split" in text
    )
    assert "a: 4 columns, float64" in text and 'columns    emb_0 … emb_3, id "id"' in text
    assert "lost       1 row left out: the vector is null or has a missing value (first: " in text
    assert 'note       1 column constant: weight 0 (first: "emb_2")' in text
    assert text.count("leaks      no column is suspected") == 2
    assert str(tmp_path) not in text
    found = validated(study(tmp_path, target="crop\\u001b[31m", kind="classification"), folds=5)
    text = as_text(found)
    assert "classes    5: " in text and "note       5 classes with fewer" not in text
    assert sorted(found.tasks[0].classes.values())[0] == 1
    for line in text.splitlines():
        assert len(line) < 100 and line.isprintable()


def test_a_long_path_is_whole(tmp_path):
    path, name = study(tmp_path), "-".join(["a-long-name"] * 15) + "/a.parquet"
    (tmp_path / name).parent.mkdir()
    (tmp_path / "a.parquet").rename(tmp_path / name)
    path.write_text(path.read_text().replace('"a.parquet"', f'"{name}"'))
    assert name in as_text(validated(path, folds=5))


def test_suspects_are_told(tmp_path):
    rng = np.random.default_rng(0)
    copy = labels()["height"] + 0.01 * rng.normal(size=N)
    write(vectors(9, seed=1).assign(emb_8=copy), tmp_path / "a.parquet")
    found = validated(study(tmp_path), folds=5)
    (suspect,) = found.tasks[0].embeddings[0].suspects
    assert suspect.column == "emb_8" and suspect.what == "the target height"
    words = 'SUSPECTED column "emb_8": tells a target by itself (the target height, 0.999'
    assert words in " ".join(as_text(found).split())
    assert found.usable
    (data,) = json.loads(found.as_json())["tasks"][0]["embeddings"][0]["suspects"]
    assert data == {"column": "emb_8", "kind": suspect.kind, "what": "the target height",
                    "measure": suspect.measure}  # fmt: skip


@pytest.mark.parametrize("flags", [{}, {"split": "group"}, {"split": "spatial", "buffer_km": 2.0}])
def test_near_neighbours_in_other_folds(tmp_path, flags):
    clusters(tmp_path)
    path = study(tmp_path, task_keys=f'{HERE}\ngroup = "country"')
    settings = Settings(folds=5, protocol="paper", **flags)
    (task,) = validate(read_study(path), settings, Silent()).tasks
    table = pd.read_csv(tmp_path / "labels.csv")
    phi, lam = np.radians(table["lat"].to_numpy()), np.radians(table["lon"].to_numpy())
    cosine = np.sin(phi) * np.sin(phi[:, None]) + np.cos(phi) * np.cos(phi[:, None]) * np.cos(
        lam - lam[:, None]
    )
    near = (6371 * np.arccos(np.minimum(cosine, 1)) < 1) & ~np.eye(N, dtype=bool)
    assert task.near.rows == near.any(axis=1).sum() == 40
    folds = folds_of(align(read_study(path))[0], settings)
    wrong = set()
    for k in range(folds.count):
        trained = np.setdiff1d(np.arange(N), folds.held_out[0, k])
        scored = folds.tested[0, k]
        wrong |= {i for i in scored[scored < N] if near[i, trained].any()}
    assert task.near.trained_on == len(wrong)
    assert (len(wrong) == 0) == ("buffer_km" in flags)


def test_places_that_nothing_uses_are_told(tmp_path):
    """Of the task's table, else of an embedding's; not where they cannot be degrees."""
    only = 'none; columns "{}" and "{}"{} only serve to find leaks: {}say lat = '

    def places():
        return validated(path, folds=5).tasks[0].table.places

    path = study(tmp_path, a_keys='columns = "emb_*"')
    assert places().startswith(only.format("lat", "lon", "", ""))
    here = labels()[["lat", "lon"]].to_numpy()
    write(labels().drop(columns=["lat", "lon"]), tmp_path / "labels.csv")
    assert places() == ""
    for scale in (1, 1000):
        table = vectors(4, seed=1)
        table[["latitude", "Lon"]] = here * scale
        write(table, tmp_path / "a.parquet")
        copy = "copy them to the task's table, and "
        of_embedding = only.format("latitude", "Lon", ' of embedding "a"', copy)
        assert places().startswith(of_embedding) == (scale == 1)


def test_json_says_the_same(tmp_path):
    clusters(tmp_path)
    found = validated(study(tmp_path, task_keys=HERE, top="name = '\\x1b é'"), folds=5, seeds=2)
    text = found.as_json()
    assert text.isascii() and all(c.isprintable() or c == "\n" for c in text)
    data = json.loads(text)
    assert set(data) == {"study", "path", "usable", "errors", "tasks", "needs"}
    assert data["study"] == "\\x1b é" and data["needs"]["seeds"] == 2
    (task,) = data["tasks"]
    assert task["near"] == {"km": 1.0, "rows": 40, "trained_on": found.tasks[0].near.trained_on}
    assert [e["width"] for e in task["embeddings"]] == [4, 3]
    assert task["targets"][0]["mean"] == found.tasks[0].targets[0].mean


def test_what_is_no_number_is_null_in_json():
    found = Validation("s", "s.toml", True, (), (), None)
    assert json.loads(found.as_json())["needs"] is None
    found = Validation(float("nan"), float("inf"), True, (), (), None)
    assert json.loads(found.as_json())["study"] is json.loads(found.as_json())["path"] is None


def test_every_error_is_told_once_and_without_the_way_to_the_study(tmp_path):
    path = study(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "b.csv").write_text("id,emb_0,emb_1\n1,2,3\n1,3,4\n")
    text = path.read_text()
    path.write_text(f"{text}\n{text[text.index('[tasks.t]') :].replace('tasks.t', 'tasks.u')}")
    found = validated(path)
    assert not found.usable and found.tasks == () and found.needs is None
    assert len(found.errors) == 2
    assert "a.parquet" in found.errors[0] and "duplicate id" in found.errors[1]
    assert not any(str(tmp_path) in error for error in found.errors)
    path.write_text(text)
    write(vectors(4, seed=1), tmp_path / "a.parquet")
    write(vectors(3, seed=2).assign(id=np.arange(N)), tmp_path / "b.csv")
    assert ["no id in common" in error for error in validated(path).errors] == [True]


def test_rows_that_cannot_be_dealt_are_told_beside_the_tables(tmp_path):
    found = validated(study(tmp_path), folds=31)
    assert not found.usable and len(found.tasks) == 1 and found.needs is None
    assert len(found.errors) == 1 and "60 rows for --folds=31" in found.errors[0]
    assert found.tasks[0].near is None


def test_a_stream_is_planned_without_its_rows(tmp_path):
    for name, p in (("a.parquet", 4), ("b.parquet", 3)):
        write(vectors(p, seed=p), tmp_path / name)
    found = validated(study(tmp_path, b="b.parquet"), stream=True, split="hash", folds=3)
    assert found.usable and found.tasks == () and found.needs.streamed
    assert "rows are streamed, of which none was read" in " ".join(as_text(found).split())


def test_the_real_crops(tmp_path, paper_data):
    (tmp_path / "study.toml").write_text(
        f'[embeddings.alphaearth]\npath = "{paper_data}/data/alphaearth_centre/'
        'cropharvest200_alphaearth_centre.csv"\n[tasks.crops]\n'
        f'path = "{paper_data}/data/downstream_tasks/'
        'cropharvest_cleaned_global_threshold-200-sample.csv"\n'
        f'id = "index"\ntarget = "label_name"\nkind = "classification"\n{HERE}\n'
    )
    (task,) = validated(tmp_path / "study.toml").tasks
    assert task.near.rows / task.rows == pytest.approx(0.81, abs=0.005)
    assert 0.75 < task.near.trained_on / task.rows < 0.81
    (embedding,) = task.embeddings
    assert [(n.reason, n.count) for n in embedding.notes] == [("identical vectors", 151)]
    assert embedding.suspects == () and len(task.classes) == 18
