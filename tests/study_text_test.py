"""Which columns become tasks, and the study file."""

import tomllib

import pandas as pd
import pytest
from make_models import places_table, write_places

from ecjax.errors import InputError
from ecjax.study import check_name
from ecjax.study_text import Target, is_unchanged, study_text, targets_of, tasks_of
from ecjax.wanted import Given, read_wanted

ROLES = {"id": "id", "lat": "lat", "lon": "lon"}


@pytest.fixture
def choose(tmp_path):
    def chosen(asked=(), kind=None, **columns):
        table = places_table().drop(columns="height").assign(**columns)
        path = write_places(tmp_path / "plots.parquet", table)
        found = targets_of(read_wanted(path, Given(), 2021), asked, kind)
        return [tuple(t) for t in found.taken], [t.column for t in found.offered]

    return chosen


LAND = ["wood", "grass"] * 20
FLOATS = [i / 7 for i in range(40)]


@pytest.mark.parametrize(
    ("columns", "taken", "offered"),
    [
        ({}, [], []),
        ({"height": FLOATS}, [("height", "regression")], []),
        ({"land": LAND}, [("land", "classification")], []),
        ({"wet": [True, False] * 20}, [("wet", "classification")], []),
        ({"height": FLOATS, "land": LAND}, [("height", "regression")], ["land"]),
        ({"height": FLOATS, "mass": FLOATS}, [], ["height", "mass"]),
        ({"count": range(40)}, [], ["count"]),
        ({"year": 2021, "index": range(40), "note": [f"n{i}" for i in range(40)]}, [], []),
        ({"when": pd.Timestamp("2020-01-01"), "height": FLOATS}, [("height", "regression")], []),
    ],
)
def test_the_only_column_of_numbers_is_the_target(choose, columns, taken, offered):
    assert choose(**columns) == (taken, offered)


def test_text_among_numbers_is_told_and_no_class(tmp_path):
    height = [str(value) for value in FLOATS]
    height[3], height[5], height[9] = "n/a", "", "tall"
    land = [*"123456789", *["wood"] * 31]  # mostly words
    table = places_table().assign(height=height, land=land)
    wanted = read_wanted(write_places(tmp_path / "plots.csv", table), Given(), 2021)
    found = targets_of(wanted, [], None)
    assert [*found.taken, *found.offered] == [Target("land", "classification")]
    assert found.faults == (
        '"height" holds numbers but for 2 values, first "n/a" at id "3"; correct them, or leave '
        "them empty",
    )
    for kind in (None, "regression"):
        with pytest.raises(InputError, match='first "n/a" at id .*say --kind=classification'):
            targets_of(wanted, ["height"], kind)
    assert targets_of(wanted, ["height"], "classification").taken[0].column == "height"


def test_columns_that_are_asked_for(choose):
    both = {"height": FLOATS, "land": LAND, "count": range(40)}
    assert choose(["land", "height"], **both)[0] == [
        ("land", "classification"),
        ("height", "regression"),
    ]
    assert choose(["count"], "classification", **both)[0] == [("count", "classification")]
    assert choose([], "regression", count=range(40))[0] == [("count", "regression")]


@pytest.mark.parametrize(
    ("asked", "kind", "says"),
    [
        (["heigt"], None, 'unknown column for --target "heigt"; did you mean "height"'),
        (["lat"], None, '"lat" cannot be a target'),
        (["when"], None, '"when" cannot be a target'),
        (["count"], None, '"count" holds whole numbers, which may be amounts or class labels; say'),
        (["height"], "regresion", 'did you mean "regression"'),
    ],
)
def test_columns_that_cannot_be_targets(choose, asked, kind, says):
    with pytest.raises(InputError) as caught:
        choose(asked, kind, height=FLOATS, count=range(40), when=pd.Timestamp("2020-01-01"))
    assert says in str(caught.value)


HOSTILE = ['a"b\\c', "[x]\n#y", "über\x7f", "a b", "a_b", "../x", "=1+1", "\U0001f600"]


def test_any_name_makes_valid_toml():
    tasks = tasks_of([Target(name, "regression") for name in HOSTILE], "labels.parquet", ROLES)
    read = tomllib.loads(study_text('n"', ["a.b", "c"], tasks, {}))
    assert read["name"] == 'n"' and read["embeddings"]["a.b"] == {"path": "a.b.parquet"}
    assert [task["target"] for task in read["tasks"].values()] == [[name] for name in HOSTILE]
    assert all(check_name(name, "task") for name in read["tasks"])


def test_what_is_offered_becomes_a_task_without_its_comment():
    targets = [Target(f"t{i}", None if i else "classification") for i in range(30)]
    text = study_text("s", ["a"], {}, tasks_of(targets, "labels.parquet", ROLES))
    assert "tasks" not in tomllib.loads(text) and "10 more are not listed" in text
    assert '# kind = "regression" # or "classification"' in text
    shown = text[text.index("# [tasks") :].replace("# [", "[").replace("\n# ", "\n")
    tasks = tomllib.loads(shown)["tasks"]
    assert len(tasks) == 20 and tasks["t0"]["kind"] == "classification"
    assert tasks["t1"] == {
        "path": "labels.parquet", "id": "id", "target": ["t1"], "kind": "regression",
        "lat": "lat", "lon": "lon",
    }  # fmt: skip


def test_a_change_is_noticed():
    text = study_text("s", ["a"], {}, {}).encode()
    assert is_unchanged(text)
    for changed in (text + b"\n", text.replace(b"a.par", b"b.par"), b"\xff", b"", text[1:]):
        assert not is_unchanged(changed)
