"""Study files: what they resolve to, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_tables import labels, study, vectors, write

from ecjax.coordinates import Coordinates
from ecjax.errors import InputError, listing, neutral, quote
from ecjax.study import check_name, read_study


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        read_study(path)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_reads_the_example_of_the_contract(tmp_path):
    for name in ("ae/2.parquet", "ae/1.parquet", "tessera.csv", "ae_biomass.csv", "biomass.csv"):
        write(vectors(), tmp_path / name)
    path = tmp_path / "study.toml"
    path.write_text(
        'name = "my-study"\njoin = "inner"\n'
        '[embeddings.alphaearth]\npath = "ae/*.parquet"\nid = "id"\ncolumns = "emb_*"\n'
        '[embeddings.tessera]\npath = "tessera.csv"\n'
        '[tasks.biomass]\npath = "biomass.csv"\nid = "index"\ntarget = ["biomass_mean"]\n'
        'kind = "regression"\nlat = "lat"\nlon = "lon"\ngroup = "country"\nsplit = "part"\n'
        'embeddings = { alphaearth = "ae_biomass.csv" }\n'
        "[sweep]\nridge_lambda = [0.1, 1, 10]\n"
    )
    found = read_study(path)
    assert (found.name, found.join, found.path) == ("my-study", "inner", path)
    assert [f.name for f in found.embeddings["alphaearth"].files] == ["1.parquet", "2.parquet"]
    assert found.embeddings["tessera"].columns is None
    task = found.tasks["biomass"]
    assert (task.id, task.target) == ("index", ("biomass_mean",))
    assert (task.group, task.split) == ("country", "part")
    own = task.embeddings["alphaearth"]
    assert own.files == (tmp_path / "ae_biomass.csv",) and own.columns == "emb_*"
    assert task.embeddings["tessera"] == found.embeddings["tessera"]
    assert list(task.embeddings) == list(found.embeddings)
    assert found.sweep == {"ridge_lambda": (0.1, 1.0, 10.0)}


def test_a_task_may_change_any_key_of_an_embedding(tmp_path):
    write(vectors(), tmp_path / "own.csv")
    keys = 'embeddings = { a = { path = "own.csv", id = "key", allow_leaks = ["emb_0"] } }'
    path = study(tmp_path, a_keys='columns = "emb_*"', task_keys=keys)
    own = read_study(path).tasks["t"].embeddings["a"]
    assert (own.id, own.columns, own.allow_leaks) == ("key", "emb_*", ("emb_0",))
    assert own.files == (tmp_path / "own.csv",) and own.name == "a"


def test_an_embedding_needs_no_path_if_every_task_gives_one(tmp_path):
    path = study(tmp_path, task_keys='embeddings = { a = "a.parquet" }')
    path.write_text(path.read_text().replace('path = "a.parquet"', "", 1))
    found = read_study(path)
    assert found.embeddings["a"].path is None
    assert found.tasks["t"].embeddings["a"].files == (tmp_path / "a.parquet",)


def test_defaults_and_one_target_as_text(tmp_path):
    found = read_study(study(tmp_path))
    assert (found.name, found.join, found.sweep) == ("study", "inner", {})
    task = found.tasks["t"]
    assert (task.id, task.target, task.lat, task.group) == ("id", ("height",), None, None)
    assert task.split is None


def test_a_folder_stands_for_its_parquet_parts(tmp_path):
    write(vectors(), tmp_path / "parts/1.parquet")
    write(vectors(), tmp_path / "parts/0.parquet")
    found = read_study(study(tmp_path, a="parts")).embeddings["a"].files
    assert [f.name for f in found] == ["0.parquet", "1.parquet"]


def test_pattern_characters_in_the_folder_of_the_study(tmp_path):
    folder = tmp_path / "run [1]*"
    write(vectors(), folder / "parts/0.csv")
    assert len(read_study(study(folder, a="parts/*.csv")).embeddings["a"].files) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ridge_lambda = []", ("list of at least one number",)),
        ("ridge_lambda = 1", ("list of at least one number",)),
        ("ridge_lambda = [0]", ("finite number above 0",)),
        ("ridge_lambda = [[1, 2], []]", ("an empty list is no grid",)),
        ("ridge_lambda = [[1, 1], 2]", ("a value is given twice",)),
        ("ridge_lambda = [[1, -1], 2]", ("finite number above 0",)),
        ("ridge_lambda = [[1, 2], [1, 2]]", ("a value is given twice",)),
        ("folds = [[5, 10], 2]", ("no number",)),
        ("ridge_lambda = [inf]", ("finite number above 0",)),
        ('ridge_lambda = ["1"]', ("no number",)),
        ("ridge_lambda = [true]", ("no number",)),
        ("ridge_lambda = [1, 1.0]", ("given twice",)),
        ("folds = [2.5]", ("whole number of at least 2",)),
        ("folds = [1]", ("whole number of at least 2",)),
        ("seed = [-1]", ("whole number of at least 0",)),
        ("ridge_lamda = [1]", ('did you mean "ridge_lambda"?',)),
    ],
)
def test_sweep_is_checked(tmp_path, line, words):
    path = study(tmp_path)
    path.write_text(path.read_text() + f"[sweep]\n{line}\n")
    refused(path, "[sweep]", *words)


def test_sweep_of_whole_numbers(tmp_path):
    path = study(tmp_path)
    path.write_text(path.read_text() + "[sweep]\nseed = [0, 42]\nfolds = [5, 20]\n")
    assert read_study(path).sweep == {"seed": (0, 42), "folds": (5, 20)}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('target = "height"', "", ('"target" is missing',)),
        ('kind = "regression"', "", ('"kind" is missing',)),
        ('target = "height"', 'target = ["a", "a"]', ("names one column twice",)),
        ('path = "labels.csv"', "", ('"path" is missing',)),
        ('kind = "regression"', 'kind = "regression"\nlat = "lat"', ("lat is given without lon",)),
        ('target = "height"', 'target = ["a", "b"]', ("takes one target",)),
        ("[tasks.t]", "[jobs.t]", ('unknown key "jobs"',)),
        ('path = "b.csv"', 'path = ""', ("path must be text", "empty text")),
        ("[embeddings.b]", '[embeddings]\nb = "b.csv"\n[embeddings.b]', ("not valid TOML",)),
        ('path = "b.csv"', 'path = "b\\u0000.csv"', ("path",)),
        ('path = "b.csv"', 'path = "x/*.csv"', ("no file matches the pattern",)),
        ('target = "height"', 'target = "height"\nstrata = { height = 3 }', ("the target itself",)),
        ('target = "height"', 'target = "height"\nstrata = { x = "bins" }', ("number of bins",)),
        ("[tasks.t]", '[regions]\npath = "x"\n[tasks.t]', ('"name" is missing',)),
        ('path = "b.csv"', "path = " + "9" * 5000, ("thousands of digits",)),
        ('path = "b.csv"', "path = 0x" + "f" * 17, ("beyond 64 bits",)),
        ('path = "b.csv"', "path = " + "[" * 300 + "]" * 300, ("nested too deeply",)),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path, old, new, words):
    path = study(tmp_path)
    kind = "classification" if new == 'target = ["a", "b"]' else "regression"
    text = path.read_text().replace(old, new, 1)
    path.write_text(text.replace('kind = "regression"', f'kind = "{kind}"'))
    refused(path, "study.toml", *words)


def test_keys_to_come_are_refused_as_such(tmp_path):
    refused(study(tmp_path, a_keys='transform = "x"'), '"transform" is not there yet', "remove it")


PLACE = '[embeddings.place]\nsource = "coordinates"\n'
HERE = 'lat = "lat"\nlon = "lon"\n'


def test_an_embedding_of_the_coordinates(tmp_path):
    own = "embeddings = { low = { degree = 3 }, plain = {}, flat = { degree = 2 } }"
    path = study(tmp_path, task_keys=HERE + own)
    low, plain, flat = (PLACE.replace("place", name) for name in ("low", "plain", "flat"))
    flat += 'encoding = "spherical_harmonics"\ndegree = 7\n'
    path.write_text(f'{low}degree = 5\n{plain}encoding = "latlon"\n{flat}{path.read_text()}')
    found = read_study(path)
    made = {name: source.built_in for name, source in found.embeddings.items()}
    assert made.pop("a") is made.pop("b") is None
    assert made == {
        "low": Coordinates("spherical_harmonics", 5),
        "plain": Coordinates("latlon"),
        "flat": Coordinates(degree=7),
    }
    made = {name: source.built_in for name, source in found.tasks["t"].embeddings.items()}
    assert (made["low"].degree, made["plain"].degree, made["flat"].degree) == (3, None, 2)
    assert made["a"] is None and found.embeddings["low"].files == ()


def test_a_task_may_change_the_encoding(tmp_path):
    path = study(tmp_path, task_keys=HERE + 'embeddings = { place = { encoding = "latlon" } }')
    path.write_text(PLACE + "degree = 5\n" + path.read_text())
    assert read_study(path).tasks["t"].embeddings["place"].built_in == Coordinates("latlon")


@pytest.mark.parametrize(
    ("keys", "own", "words"),
    [
        ('source = "coords"', "", ('unknown value of source "coords"', '"coordinates"?')),
        ("source = 1", "", ("source must be text",)),
        ("degree = 5", "", ("degree is for", 'add source = "coordinates"')),
        ('encoding = "latlon"', "", ("encoding is for", 'add source = "coordinates"')),
        (PLACE + 'encoding = "lonlat"', "", ('unknown value of encoding "lonlat"', '"latlon"?')),
        (PLACE + "degree = 41", "", ("degree = 41", "whole number from 1 to 40")),
        (PLACE + "degree = 0", "", ("whole number from 1 to 40",)),
        (PLACE + "degree = 2.0", "", ("degree = 2.0", "whole number from 1 to 40")),
        (PLACE + "degree = true", "", ("whole number from 1 to 40",)),
        (PLACE + 'degree = "10"', "", ("whole number from 1 to 40",)),
        (PLACE + 'encoding = "latlon"\ndegree = 5', "", ("degree = 5 is for", "remove one")),
        (PLACE + 'path = "a.parquet"', "", ('key "path" is for tables', "remove path")),
        (PLACE + 'allow_leaks = ["lat"]', "", ('key "allow_leaks" is for tables',)),
        (PLACE + "degre = 5", "", ('unknown key "degre"; did you mean "degree"?',)),
        (PLACE, 'place = "a.parquet"', ('embeddings.place: key "path" is for tables', "its own")),
        (PLACE, "place = { degree = 99 }", ("embeddings.place: degree = 99",)),
        (PLACE, 'a = { source = "coordinates" }', ("embeddings.a: source", "[embeddings.a]")),
        (PLACE, 'a = { path = "a.parquet", degree = 3 }', ("embeddings.a: degree is for",)),
    ],
)
def test_keys_of_an_embedding_of_the_coordinates(tmp_path, keys, own, words):
    path = study(tmp_path, task_keys=HERE + (f"embeddings = {{ {own} }}" if own else ""))
    keys = keys if keys.startswith("[") else f'[embeddings.place]\npath = "a.parquet"\n{keys}'
    keys = keys.replace('path = "a.parquet"\nsource', "source")
    path.write_text(f"{keys}\n{path.read_text()}")
    refused(path, "study.toml", "[tasks.t]" if own else "[embeddings.place]", *words)


def test_a_task_without_coordinates_gets_no_embedding_of_them(tmp_path):
    path = study(tmp_path)
    path.write_text(PLACE + path.read_text())
    refused(path, "[tasks.t]", 'embedding "place"', 'lat = "lat"', "remove [embeddings.place]")


@pytest.mark.parametrize("name", ["tessera.csv", "my model.parquet"])
def test_a_table_in_place_of_a_study_is_told_how_to_write_one(tmp_path, name):
    for table in (name, "other.csv", "labels.csv"):
        write(vectors(), tmp_path / table)
    with pytest.raises(InputError) as caught:
        read_study(tmp_path / name)
    message, *lines = str(caught.value).splitlines()
    assert name in message and "a study file is wanted" in message
    path = tmp_path / "study.toml"
    path.write_text("\n".join(lines))
    found = read_study(path)
    assert [e.files[0].name for e in found.embeddings.values()] == [name, "other.csv"]
    assert found.tasks["TASK"].target == ("COLUMN",)


def test_number_of_embeddings(tmp_path):
    path = study(tmp_path)
    extra = "".join(f'[embeddings.e{j}]\npath = "a.parquet"\n' for j in range(9))
    path.write_text(path.read_text() + extra)
    refused(path, "11 embeddings", "at most 10", "remove 1")
    path.write_text("[embeddings]\n")
    refused(path, "no embedding", "[embeddings.NAME]")


def test_unreadable_study_files(tmp_path):
    refused(tmp_path / "absent.toml", "absent.toml", "no such file")
    refused(tmp_path, "is a directory; name the study file in it")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    refused(tmp_path / "latin.toml", "not UTF-8 at byte 8")


@given(st.text(max_size=20))
def test_names_that_pass_are_safe_anywhere(name):
    try:
        check_name(name, "task")
    except InputError as error:
        assert str(error).isprintable()
        return
    assert name and name not in (".", "..")
    assert not set(name) & set("/\\+,\n\r\t\0\x1b") and not name.startswith(".")


@given(st.text())
def test_quoted_text_is_printable(text):
    assert quote(text).isprintable() and neutral(text).isprintable()


def test_listing_counts_what_it_leaves_out():
    assert listing("abcd", 2) == '"a", "b" and 2 more'
    assert listing("ab", 2) == '"a", "b"'


def test_a_pattern_names_many_targets(tmp_path):
    table = labels()
    table[["sp_2", "sp_1", "sp [x]"]] = 1.0
    write(table, tmp_path / "labels.csv")
    path = study(tmp_path, target="sp*")
    assert read_study(path).tasks["t"].target == ("sp_2", "sp_1", "sp [x]")
    path = study(tmp_path, target="*", task_keys='lat = "lat"\nlon = "lon"\ngroup = "crop"')
    assert read_study(path).tasks["t"].target == ("height", "sp_2", "sp_1", "sp [x]")
    path = study(tmp_path, target="sp [x]")
    assert read_study(path).tasks["t"].target == ("sp [x]",)
    with pytest.raises(InputError, match=r'no column matches target = "tree_\*"; the file has 8'):
        read_study(study(tmp_path, target="tree_*"))
    with pytest.raises(InputError, match=r"classification takes one target, not 2"):
        read_study(study(tmp_path, target="sp_?", kind="classification"))
