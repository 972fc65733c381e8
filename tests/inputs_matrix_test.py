"""The forty inputs that are not what they should be, each in every container that can hold it.

A test is one thing that is wrong with a table, array or study, made by the test. What is refused is
refused by `ecjax evaluate`: exit code 2, nothing written, and a message that names the file, the
column, the first id or row, how many there are, and the way out. What is reported goes on, and the
tables, the manifest, the summary and the page say so. `pytest -s -k the_matrix` prints which rows
are tested in which containers. Files are tested in inputs_files_test, values in inputs_values_test.
"""

import contextlib
import csv
import io
import json
import sys

import inputs_files_test
import inputs_values_test
import numpy as np
import pandas as pd
import pytest
from make_tables import N, labels, study, vectors, write
from quick import quickly_compiled
from wild import ARRAYS, PLACES, SETTINGS, TABLES, WIDE, Case, Row, crowded, flat, row, spoilt

import ecjax
from ecjax import cli

ROWS = (*range(1, 41), "also")


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


@pytest.fixture
def case(tmp_path, container, capsys):
    return Case(tmp_path, container, capsys)


@row(30, "reported", *TABLES, ARRAYS)
def test_constant_column(case):
    case.embedding(vectors().assign(emb_2=0.5))
    case.noted("a", "constant column", 1, case.column(2))


@row(30, "reported", "csv", ARRAYS)
def test_column_constant_in_a_folds_training_rows(case):
    """Of 60 rows one is another; the fold that scores it trains on the 48 others."""
    case.embedding(spoilt(vectors().assign(emb_2=0.5), 17, "emb_2", 2.0))
    if case.container == ARRAYS:
        manifest = ecjax.evaluate(*case.given, protocol="strict", folds=5).manifest
    else:
        assert case.evaluate(protocol="strict") == cli.DONE
        manifest = json.loads((case.out / "manifest.json").read_text("utf-8"))
        assert "column constant in a fold's training rows: 1, first emb_2" in flat(case.printed.out)
    notes = {(n["source"], n["reason"]): (n["count"], n["first"]) for n in manifest["notes"]}
    assert notes["a", "column constant in a fold's training rows"] == (1, "emb_2")
    assert ("a", "constant column") not in notes


def with_rare_classes():
    """Two classes with three members and one, the first of them at ids 110 and 120."""
    frame = labels().assign(crop=lambda f: np.where(f["height"] > 0, "rice", "wheat"))
    frame.loc[[10, 11, 12], "crop"] = "lava"
    frame.loc[20, "crop"] = "moss"
    return frame


@row(28, "error", *WIDE, ARRAYS)
def test_few_members_in_stratified_folds(case):
    case.task(with_rare_classes(), target="crop", kind="classification")
    words = ("2 classes with fewer members than --folds=5", 'first "lava" with 3', 'id "110"')
    case.refused(*words, "use another --split, or leave those rows out", split="stratified")


@row(28, "null", *WIDE, ARRAYS)
def test_few_members_in_other_folds(case):
    case.task(with_rare_classes(), target="crop", kind="classification")
    scores, manifest = case.undefined()
    (note,) = (note for note in manifest["notes"] if note["reason"] == "few members")
    assert (note["source"], note["count"], note["first"]) == ("task table", 2, "lava")
    null = scores[scores["metric"] == "log_loss"]
    assert null["score"].isna().all()
    assert null["reason"].str.contains("absent from the training rows").all()
    assert scores.loc[scores["metric"] == "accuracy", "score"].notna().all()


@row(29, "null", *WIDE, ARRAYS)
@pytest.mark.parametrize(
    ("target", "kind", "reason"),
    [("crop", "classification", "only one class"), ("height", "regression", "constant")],
)
def test_one_class_or_a_constant_target(case, target, kind, reason):
    frame = labels()
    case.task(frame.assign(**{target: frame[target].iloc[0]}), target=target, kind=kind)
    scores, _ = case.undefined()
    assert scores["score"].isna().all() and scores["reason"].str.contains(reason).all()


@row(31, "error", *WIDE, ARRAYS)
def test_fewer_rows_than_two_per_fold(case):
    case.task(labels()).refused("60 rows", "2 x 31 = 62", "use --folds=30 or fewer", folds=31)


NAMES = "../x", "a/b", "a+b", "a\u0007b", "a,b", "", ".hidden", "a\\b"


@row(34, "error", "toml")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("old", ["embeddings.a", "tasks.t"])
def test_unusable_name(case, old, name):
    path = study(case.folder)
    what = old.split(".")[0]
    text = path.read_text().replace(f"[{old}]", f"[{what}.{json.dumps(name)}]")
    path.write_text(text)
    words = (f"{what[:-1]} name", "cannot be used", "rename it")
    assert case.refused("study.toml", *words).rstrip("\n").isprintable()


@row(34, "error", ARRAYS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["embedding", "task"])
def test_unusable_name_of_an_array(case, what, name):
    names = {"embedding": (name, "t"), "task": ("a", name)}[what]
    case.name, x = "", vectors().drop(columns="id")
    case.given = {names[0]: x}, {names[1]: labels()["height"]}
    assert case.refused(f"{what} name", "cannot be used", "rename it").isprintable()


@row(36, "error", *TABLES, ARRAYS)
def test_the_same_vectors_under_two_names(case):
    frame = vectors(3, seed=2)  # as b
    case.embedding(frame.astype({f"emb_{j}": "float32" for j in range(3)}))
    other = "(array)" if case.container == ARRAYS else "b.csv"
    case.refused('"a" and "b"', other, "60 common rows", "remove one, or correct its path")


@row(36, "error", *TABLES)
def test_the_same_file_under_two_names(case):
    ids = 'ids = "./a_ids.npy"' if case.container == "npy" else ""
    case.embedding(vectors(), b=f"./a.{case.container}", b_keys=ids)
    case.refused('"a" and "b"', "the same file", "remove one, or correct its path")


LEAKS = {
    "the id": lambda f: f["id"],
    "the row number": lambda f: np.arange(N),
    "the coordinate lat": lambda f: f["lat"],
    "the coordinate lon": lambda f: -(f["lon"] ** 3),
    "the target": lambda f: 3 * f["height"] + 2,
}


@row(37, "error", *TABLES, ARRAYS)
@pytest.mark.parametrize("what", LEAKS)
def test_leak(case, what):
    task = labels().sample(frac=1, random_state=3).reset_index(drop=True)
    frame = vectors(ids=task["id"]).assign(emb_4=np.asarray(LEAKS[what](task), float))
    if case.container == ARRAYS:
        case.given = (
            {"a": frame.drop(columns="id")},
            {"t": ecjax.Task(task["height"], id=task["id"], lat=task["lat"], lon=task["lon"])},
        )
    else:
        write(task, case.folder / "labels.csv")
        case.embedding(frame)
    words = (f'column "{case.column(4)}"', what, "1 such column", "60 rows", "Remove them from the")
    case.refused(*words)


@row(37, "error", *WIDE)
def test_leak_by_name(case):
    case.embedding(vectors(), a_keys='columns = "*"')
    case.refused('the id column "id" is among the', "feature columns", "choose a narrower pattern")
    frame = vectors().assign(key=lambda f: f["id"], fid=0.5).drop(columns="id")
    case.write(frame, case.name)
    case.embedding(a_keys='columns = "[ef][mi][bd]*"\nid = "key"')
    case.refused('column "fid"', "named like an id", "1 such column", 'columns = "…"')


@row(37, "reported", *WIDE)
def test_leak_allowed(case):
    frame = vectors().assign(emb_4=labels()["height"])
    case.embedding(frame, a_keys='allow_leaks = ["emb_4"]')
    case.noted("a", "leak allowed", 1, "emb_4")


@row(37, "error", *WIDE, ARRAYS)
def test_code_of_the_class(case):
    frame = vectors().assign(emb_4=pd.factorize(labels()["crop"])[0] % 4 + 0.0)
    case.embedding(frame, target="crop", kind="classification")
    case.refused('column "emb_4"', "a code of the class", "1 such column", "Remove them from the")


@row(38, "error", "toml")
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"top": 'jion = "inner"'}, ('unknown key "jion"', 'did you mean "join"?')),
        ({"a_keys": 'colums = "emb_*"'}, ("[embeddings.a]", 'did you mean "columns"?')),
        ({"task_keys": 'longitude = "lon"'}, ("[tasks.t]", 'unknown key "longitude"')),
        ({"task_keys": "lat = 3"}, ("[tasks.t]", "lat must be text", "a number")),
        ({"a_keys": "allow_leaks = [1]"}, ("[embeddings.a]", "allow_leaks", "list of texts")),
        ({"kind": "regresion"}, ("[tasks.t]", 'did you mean "regression"?')),
        ({"task_keys": "split = 3"}, ("[tasks.t]", "split must be text", "a number")),
        ({"a_keys": "path"}, ("not valid TOML", "line 4", "correct that line")),
        ({"task_keys": "[tasks.t.embeddings]\nc = 'x.csv'"}, ('unknown embedding "c"',)),
    ],
)
def test_study_file(case, keys, words):
    study(case.folder, **keys)
    case.refused("study.toml", *words)


@row(38, "error", "toml")
def test_unset_path(case):
    path = study(case.folder)
    path.write_text(path.read_text().replace('path = "b.csv"', ""))
    words = ("[tasks.t]", 'embedding "b"', "unset path", "set path under [embeddings.b]")
    case.refused("study.toml", *words)


HOSTILE = "=1+1", "@SUM(A1)", "\t=3", "<script>alert(5)</script>"


@row(35, "reported", "csv")
def test_html_and_formulas_in_names_and_labels(case):
    """As names of task, embeddings and target, and as labels of strata."""
    frame = labels().rename(columns={"height": "=height()"})
    frame["crop"] = [HOSTILE[i % 4] for i in range(N)]
    case.task(frame, target="=height()", task_keys='strata = { crop = "values" }')
    path = case.folder / "study.toml"
    text = path.read_text()
    names = {"embeddings.a": "@a", "embeddings.b": "-<b>", "tasks.t": "=<i>t()"}
    for old, new in names.items():
        text = text.replace(f"[{old}]", f'[{old.split(".")[0]}."{new}"]')
    path.write_text(text)
    assert case.evaluate() == cli.DONE, case.printed.err
    harmless(case)
    assert "'=<i>t()" in (case.out / "scores.csv").read_text("utf-8")
    assert "=<i>t()" in set(pd.read_parquet(case.out / "scores.parquet")["task"])
    assert set(HOSTILE) <= set(pd.read_parquet(case.out / "strata.parquet")["stratum"])


@row(35, "null", "csv")
def test_html_and_formulas_in_classes(case):
    frame = labels().assign(crop=[HOSTILE[i % 3] for i in range(N)])
    frame.loc[3, "crop"] = HOSTILE[3]
    case.task(frame, target="crop", kind="classification").undefined()
    harmless(case)


def harmless(case):
    """No cell of the tables in CSV is a formula, and no name is an element of the page."""
    tables = list(case.out.glob("*.csv"))
    assert len(tables) >= 5
    for path in tables:
        with path.open(encoding="utf-8", newline="") as stream:
            cells = [cell for line in csv.reader(stream) for cell in line]
        text = [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]
        assert [cell for cell in text if not is_number(cell)] == []
    assert case.printed.out.replace("\n", "").isprintable()
    assert cli.main(["report", str(case.out)]) == cli.DONE
    page = (case.out / "report.html").read_text("utf-8")
    for tag in ("<i>", "<b>", "<img", "<script>alert"):
        assert tag not in page
    assert "&lt;" in page


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@row(40, "error", "evaluate", "overlap", "scale", "foreign")
def test_the_directory_of_another_study(case):
    task_keys = PLACES
    study(case.folder, task_keys=task_keys)
    assert case.evaluate() == cli.DONE
    if case.container == "foreign":
        (case.out / "manifest.json").unlink()
    before = {path.name: path.read_bytes() for path in case.out.iterdir() if path.is_file()}
    write(labels(seed=10), case.folder / "labels.csv")
    command = case.container if case.container != "foreign" else "evaluate"
    arguments = ["--protocol=paper", "--folds=5"] if command == "evaluate" else []
    path, out = str(case.folder / "study.toml"), f"--out={case.out}"
    assert cli.main([command, path, out, *arguments]) == cli.BAD_INPUT
    message = case.captured().err
    says = {
        "evaluate": 'another study; it differs in the data of task "t"',
        "foreign": "no manifest.json, so it cannot be known which study",
    }.get(case.container, "holds the results of `ecjax evaluate`")
    assert str(case.out) in message and says in message
    assert "Name another directory with --out" in message
    assert before == {path.name: path.read_bytes() for path in case.out.iterdir() if path.is_file()}


@row("also", "reported", *TABLES, ARRAYS)
def test_identical_vectors(case):
    frame = vectors()
    frame.loc[[5, 6, 30], "emb_0":] = frame.loc[4, "emb_0":].to_numpy()
    case.embedding(frame).noted("a", "identical vectors", 4, "104")


@row("also", "reported", *WIDE, ARRAYS)
def test_near_neighbours(case):
    case.task(crowded(), task_keys=PLACES).noted("task table", "near neighbours", 6, "110")


@row("also", "reported", "csv", ARRAYS)
def test_near_neighbours_in_different_folds(case):
    """Told by the run for its own folds, of which those of blocks keep neighbours together."""
    words = "rows nearer than 1 km to one that their fold trains on"
    for split, expected in {"hash": (6, "110"), "spatial": None}.items():
        case.task(crowded(), task_keys=PLACES)
        case.out = case.folder / split
        if case.container == ARRAYS:
            manifest = ecjax.evaluate(*case.given, folds=5, split=split, protocol="paper").manifest
        else:
            assert case.evaluate(split=split) == cli.DONE
            manifest = json.loads((case.out / "manifest.json").read_text("utf-8"))
            assert (f"{words}: 6, first 110" in flat(case.printed.out)) == (split == "hash")
        notes = {n["reason"]: (n["count"], n["first"]) for n in manifest["notes"]}
        assert notes.get(words) == expected and notes["near neighbours"] == (6, "110")


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """One run of a study that has all of it."""
    folder = tmp_path_factory.mktemp("reported")
    frame = vectors().assign(emb_3=0.5)
    frame.loc[3, "emb_2"] = np.nan
    frame.loc[7, "emb_0":] = -9999.0
    frame.loc[[5, 6], "emb_0":] = frame.loc[4, "emb_0":].to_numpy()
    frame = pd.concat([frame.drop(index=[20, 21]), vectors(4, n=3, seed=5, ids=[900, 901, 902])])
    write(frame, folder / "a.parquet")
    write(vectors(3, seed=2).assign(emb_3=labels()["height"]), folder / "b.csv")
    write(spoilt(crowded(), [30, 31], "height", np.nan), folder / "labels.csv")
    keys = {"b_keys": 'allow_leaks = ["emb_3"]', "task_keys": PLACES}
    path, out = str(study(folder, **keys)), folder / "out"
    printed, flags = {}, [f"--{name}={value}" for name, value in SETTINGS.items()]
    for command in (
        ["evaluate", path, f"--out={out}", *flags],
        ["report", str(out)],
        ["validate", path],
    ):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            assert cli.main(command) == cli.DONE
        printed[command[0]] = flat(text.getvalue())
    page = (out / "report.html").read_text("utf-8")
    return out, printed | {"page": flat(page.replace("<bdi>", "").replace("</bdi>", ""))}


@pytest.mark.parametrize(
    ("source", "reason", "count", "first"),
    [
        ("a", "id absent", 2, "120"),
        ("a", "id without label", 3, "900"),
        ("a", "missing value", 1, "103"),
        ("task table", "missing target", 2, "130"),
        ("a", "masked row", 1, "107"),
        ("a", "constant column", 1, "emb_3"),
        ("b", "leak allowed", 1, "emb_3"),
        ("a", "identical vectors", 3, "104"),
        ("task table", "near neighbours", 6, "110"),
    ],
)
def test_what_is_reported_is_said_everywhere(reported, source, reason, count, first):
    out, printed = reported
    note = {"task": "t", "source": source, "reason": reason, "count": count, "first": first}
    assert note in json.loads((out / "manifest.json").read_text("utf-8"))["notes"]
    assert set(pd.read_parquet(out / "scores.parquet")["n_rows"]) == {N - 6}
    for where in ("evaluate", "report", "page"):
        assert f"t, {source}: {reason}: {count}, first {first}" in printed[where]
    assert f'(first: "{first}")' in printed["validate"]


def test_the_matrix():
    """Every row has a test; which ones, in which containers and with which outcome is printed."""
    modules = inputs_files_test, inputs_values_test, sys.modules[__name__]
    named = [own for module in modules for own in vars(module).items()]
    every = [own for own in named if isinstance(getattr(own[1], "row", None), Row)]
    cases = 0
    for number in ROWS:
        for name, test in every:
            if test.row.number == number:
                what = name.removeprefix("test_").replace("_", " ")
                containers = test.row.containers
                print(f"{number} | {what} | {test.row.outcome} | {', '.join(containers)}")
                cases += len(containers)
    print(f"{cases} cases of {len(ROWS)} rows")
    assert {test.row.number for _, test in every} == set(ROWS)
    assert cases >= 120
