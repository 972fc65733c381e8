"""The leak guard finds what is hidden, lets features pass, and is fast."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_tables import write
from scipy import stats

import ecjax
from ecjax import guard
from ecjax.align import align
from ecjax.arrays import align_arrays
from ecjax.errors import InputError
from ecjax.leaks import LEAK_R, find_leaks, ranks
from ecjax.study import read_study

TASKS = {
    "crops": ("cropharvest200", "cropharvest_cleaned_global_threshold-200-sample", "label_name"),
    "biomass": ("biomass", "biomass_cleaned_centre", "biomass_mean"),
}


def found(matrix, references=None, labels=None, **keys):
    """{column number: what} of the findings."""
    columns = [f"emb_{j}" for j in range(matrix.shape[1])]
    leaks = find_leaks(matrix, columns, references or {}, labels, **keys)
    return {columns.index(leak.column): leak.what for leak in leaks}


def features(n, p, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, p)).astype(dtype)


def real_study(folder, data, task, embedding="alphaearth", path=None, keys=""):
    sample, labels, target = TASKS[task]
    files = {
        "alphaearth": f"{data}/data/alphaearth_centre/{sample}_alphaearth_centre.csv",
        "geoclip": f"{data}/data/geoclip/{sample}_geoclip.parquet",
    }
    kind = "classification" if task == "crops" else "regression"
    (folder / "study.toml").write_text(
        f'[embeddings.{embedding}]\npath = "{path or files[embedding]}"\n'
        f'[tasks.{task}]\npath = "{data}/data/downstream_tasks/{labels}.csv"\nid = "index"\n'
        f'target = "{target}"\nkind = "{kind}"\n{keys}\n'
    )
    return read_study(folder / "study.toml")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("embedding", ["alphaearth", "geoclip"])
def test_the_unaltered_real_tables_pass(tmp_path, paper_data, task, embedding):
    keys = 'lat = "lat"\nlon = "lon"'
    (aligned,) = align(real_study(tmp_path, paper_data, task, embedding, keys=keys))
    assert aligned.suspects == {embedding: ()}
    assert len(aligned.ids) == {"crops": 3596, "biomass": 4581}[task] + 4 * (embedding == "geoclip")
    reasons = {note.reason: note.count for note in aligned.notes}
    if (task, embedding) == ("crops", "alphaearth"):
        assert reasons["identical vectors"] == 151
        assert reasons["near neighbours"] / len(aligned.ids) == pytest.approx(0.81, abs=0.005)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("declared", [True, False], ids=["lat lon given", "lat lon not given"])
@pytest.mark.parametrize("what", ["id", "row", "file row", "lat", "lon", "target", "exp target"])
def test_what_is_hidden_in_the_real_tables_is_refused(tmp_path, paper_data, task, what, declared):
    sample, labels, target = TASKS[task]
    table = pd.read_csv(paper_data / f"data/alphaearth_centre/{sample}_alphaearth_centre.csv")
    truth = pd.read_csv(paper_data / f"data/downstream_tasks/{labels}.csv")
    truth["row"] = np.arange(len(truth))
    truth["id"] = truth["index"]
    if task == "crops":
        truth[target] = pd.factorize(truth[target])[0] * 0.25
    truth["target"] = truth[target]
    truth["exp target"] = np.exp(truth[target] / truth[target].max())
    at = truth.set_index("index").loc[table["id"]]
    hidden = np.arange(len(table)) if what == "file row" else at[what].to_numpy()
    if what == "file row":
        table = table.sample(frac=1, random_state=1)
    path = write(table.assign(emb_64=hidden), tmp_path / "ae.parquet")
    keys = 'lat = "lat"\nlon = "lon"' if declared else ""
    with pytest.raises(InputError, match=r"ae\.parquet\): feature column \"emb_64\"") as caught:
        align(real_study(tmp_path, paper_data, task, path=path, keys=keys))
    assert "1 such column" in str(caught.value)


@pytest.mark.parametrize("name", ["id", "index", "emb_64"])
def test_the_papers_defect_is_refused_by_name_and_by_content(tmp_path, paper_data, name):
    """The id that stayed among the features of crops, as the authors' join left it or renamed."""
    table = pd.read_csv(paper_data / "data/alphaearth_centre/cropharvest200_alphaearth_centre.csv")
    table[name] = table["id"]
    path = write(table, tmp_path / "ae.parquet")
    real_study(tmp_path, paper_data, "crops", path=path)
    keys = 'columns = "*"' if name == "id" else 'columns = "[ei]*[0-9x]"'
    text = (tmp_path / "study.toml").read_text("utf-8")
    text = text.replace("[tasks.crops]", f"{keys}\n[tasks.crops]")
    (tmp_path / "study.toml").write_text(text, "utf-8")
    study = read_study(tmp_path / "study.toml")
    words = {"id": "among the 65 feature", "index": "is named like an id", "emb_64": "is the id"}
    with pytest.raises(InputError, match=words[name]):
        align(study)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(12, 700),
    seed=st.integers(0, 2**20),
    dtype=st.sampled_from([np.float32, np.float64]),
    form=st.sampled_from(["line", "falling", "cube", "exp"]),
    offset=st.sampled_from([0.0, 1.0, -1e3]),
)
def test_any_monotone_form_of_a_reference_is_found(n, seed, dtype, form, offset):
    rng = np.random.default_rng(seed)
    references = {"other": rng.normal(size=n), "the id": rng.permutation(n)}
    values = (references["the id"] - n / 2) / n
    forms = {"line": values, "falling": -values, "cube": values**3, "exp": np.exp(values)}
    matrix = features(n, 7, seed, dtype)
    matrix[:, 3] = forms[form] + offset if form == "line" else forms[form]
    assert found(matrix, references) == {3: "the id"}


@settings(max_examples=30, deadline=None)
@given(n=st.integers(12, 400), p=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_no_false_alarm_on_random_tables(n, p, seed):
    rng = np.random.default_rng(seed)
    references = {
        "the id": rng.permutation(n),
        "the row number": np.arange(n),
        "text": np.array([f"k{i}" for i in rng.permutation(n)], object),
        "skewed": np.exp(3 * rng.normal(size=n)),
        "mostly 0": (rng.random(n) < 0.05) * rng.normal(size=n),
    }
    matrix = features(n, p, seed)
    matrix[:, 0] = rng.integers(0, 3, n)  # few distinct values
    assert found(matrix, references, rng.integers(0, 6, n)) == {}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), noise=st.sampled_from([0.0, 1e-4, 5e-4, 2e-3, 1e-2, 0.1]))
def test_the_threshold_is_the_one_of_the_contract(seed, noise):
    rng = np.random.default_rng(seed)
    n = 1500
    reference = rng.normal(size=n)
    matrix = features(n, 3, seed, np.float64)
    matrix[:, 1] = reference + noise * rng.normal(size=n)
    pearson = stats.pearsonr(matrix[:, 1], reference).statistic
    spearman = stats.spearmanr(matrix[:, 1], reference).statistic
    assert bool(found(matrix, {"r": reference})) == (max(pearson, spearman) > LEAK_R)


def test_a_reference_that_is_zero_nearly_everywhere_is_found():
    rng = np.random.default_rng(0)
    reference = np.zeros(5000)
    reference[rng.choice(5000, 4, replace=False)] = [1.0, 2.0, 5.0, 9.0]
    matrix = features(5000, 20)
    matrix[:, 3], matrix[:, 8] = reference, -np.sqrt(reference)
    assert found(matrix, {"r": reference}) == {3: "r", 8: "r"}


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wild_scales_and_offsets(scale, dtype):
    matrix = features(2000, 6, dtype=np.float64) * scale + 1e3 * scale
    reference = np.random.default_rng(1).normal(size=2000)
    matrix[:, 2] = (reference + 1e3) * scale
    assert found(matrix.astype(dtype), {"r": reference}) == {2: "r"}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**20))
def test_ranks_are_scipys(n, p, distinct, seed):
    values = np.random.default_rng(seed).integers(0, distinct, (n, p)).astype(np.float32)
    assert (ranks(values) + 1 == stats.rankdata(values, axis=0)).all()
    assert (ranks(values[:, 0]) + 1 == stats.rankdata(values[:, 0])).all()


def test_text_ids_are_compared_by_rank():
    ids = np.array([f"place-{i:05}" for i in np.random.default_rng(0).permutation(900)], object)
    matrix = features(900, 5)
    matrix[:, 4] = np.argsort(np.argsort(ids))
    assert found(matrix, {"the id": ids}) == {4: "the id"}


def test_classes():
    labels = np.random.default_rng(0).integers(0, 7, 900)
    matrix = features(900, 9)
    matrix[:, 0] = np.random.default_rng(1).permutation(7)[labels]  # a code in no order
    matrix[:, 1] = labels == 4
    matrix[:, 2] = labels // 2  # two classes share a value
    matrix[:, 3] = labels + 0.5 * (matrix[:, 5] > 0)  # two values per class
    matrix[:, 4] = 3.0
    expected = {0: "a code of the class", 1: "whether the class is e", 3: "a code of the class"}
    assert found(matrix, {}, labels, classes=list("abcdefg")) == expected


def test_a_near_copy_of_a_class_is_no_leak_but_a_feature():
    labels = np.random.default_rng(0).integers(0, 7, 900)
    matrix = features(900, 4)
    matrix[:, 0] = labels
    matrix[17, 0] = (labels[17] + 1) % 7
    assert found(matrix, {}, labels) == {}


@pytest.mark.parametrize("name", ["id", "ID", "Index", "row", "fid", "LAT", "lng", "GEOID", "dbh"])
def test_names(name):
    leaks = find_leaks(features(50, 2), ["emb_0", name], {}, names={"geoid", "DBH"})
    assert [leak.column for leak in leaks] == [name] and np.isnan(leaks[0].r)


def test_constants_missing_references_and_tiny_tables():
    matrix = features(100, 3)
    matrix[:, 1] = 4
    assert found(matrix, {"one": np.ones(100), "gap": np.full(100, np.nan)}) == {}
    for n in range(1, 4):
        assert found(features(n, 3), {"the row number": np.arange(n)}, np.arange(n) % 2) == {}


def test_the_number_in_text_ids_is_found():
    rng = np.random.default_rng(0)
    numbers = rng.permutation(400)
    x = rng.normal(size=(400, 5))
    x[:, 2] = numbers
    letters = str.maketrans("0123456789", "qwertyuiop")
    forms = {"place-{}": True, "{}": True, "{}-of-2019": False}
    ids = {tuple(form.format(i) for i in numbers): caught for form, caught in forms.items()}
    ids[tuple(str(i).translate(letters) for i in numbers)] = False
    for texts, caught in ids.items():
        task = ecjax.Task(rng.normal(size=400), id=list(texts))
        if caught:
            with pytest.raises(InputError, match="the number in the id"):
                align_arrays({"a": x}, {"t": task})
        else:
            align_arrays({"a": x}, {"t": task})


def test_what_features_are_held_against_is_made_once_for_all_embeddings(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=(60, 4)) for name in "abc"}
    ids, made = [f"place-{i}" for i in rng.permutation(60)], []

    def references_of(*arguments):
        made.append(guard.references_of(*arguments))
        return made[-1]

    monkeypatch.setattr("ecjax.align.references_of", references_of)
    task = ecjax.Task(rng.normal(size=60), id=ids, lat=rng.normal(size=60), lon=rng.normal(size=60))
    align_arrays(vectors, {"t": task})
    (references,) = made
    assert list(references.orders) == ["the id", "the row number", "the number in the id"]
    assert list(references.coordinates) == ["the coordinate lat", "the coordinate lon"]
    assert len(references.targets) == 1 and references.labels is None


def test_the_guard_takes_a_fraction_of_a_second():
    matrix = features(10_000, 960)
    rng = np.random.default_rng(1)
    references = {f"r{i}": rng.normal(size=10_000) for i in range(20)}
    labels = rng.integers(0, 18, 10_000)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert found(matrix, references, labels) == {}
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0  # 0.1 s on an idle core; far from the minutes of all ranks
