"""Whatever can change a number changes the key; whatever cannot does not."""

import dataclasses

import jax
import numpy as np
import pytest

import ecjax
from ecjax import cell_keys
from ecjax.align import by_id
from ecjax.arrays import align_arrays
from ecjax.cell_keys import Hashes, keys_of, part_of, unit_key
from ecjax.pieces import Piece
from ecjax.plan import make_plan
from ecjax.settings import Settings

N = 40
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(N, 4)), "b": RNG.normal(size=(N, 3))}
Y = RNG.normal(size=(N, 2))
LABELS = RNG.choice(["maize", "rice"], N)
IDS = np.arange(100, 100 + N)
GROUPS = np.arange(N) % 8
LAT, LON = RNG.uniform(40, 60, N), RNG.uniform(0, 30, N)
FAR = RNG.normal(size=N)


def keys(x=X, y=Y, labels=LABELS, ids=IDS, names=("soil", "crop"), order=None, **given):
    """Of a regression of two targets and a classification on the same rows."""
    settings = dataclasses.replace(Settings(folds=4, seeds=2), **given)
    order = np.arange(len(ids)) if order is None else order
    rows = {"embeddings": {k: v[order] for k, v in x.items()}, "id": ids[order]}
    places = {"lat": LAT[order], "lon": LON[order], "group": GROUPS[order]}
    tasks = {
        names[0]: ecjax.Task(y[order], **rows, **places),
        names[1]: ecjax.Task(labels[order], **rows, **places),
    }
    aligned = align_arrays({}, tasks)
    if settings.strict:
        aligned = by_id(aligned)
    plan = make_plan(aligned, settings, jax.devices("cpu")[0])
    return [(i, g, *key) for (i, g), key in keys_of(plan, Hashes()).items()]


def other(values, place, value):
    changed = values.copy()
    changed[place] = value
    return changed


def names_of(found):
    """Base × seed × subset of each number."""
    return {
        (base, seed, subset)
        for _, _, base, seeds, subsets in found
        for seed in seeds
        for subset in subsets
    }


BASE = keys()
STRICT = {
    "a value of an embedding": {"x": X | {"a": other(X["a"], (3, 1), 0.5)}},
    "the last bit of one": {"x": X | {"a": other(X["a"], (3, 1), np.nextafter(X["a"][3, 1], 9))}},
    "columns in another order": {"x": X | {"a": X["a"][:, ::-1].copy()}},
    "a column less": {"x": X | {"a": X["a"][:, :3].copy()}},
    "a dtype": {"x": X | {"a": X["a"].astype(np.float32)}},
    "an embedding's name": {"x": {"a2": X["a"], "b": X["b"]}},
    "a third embedding": {"x": X | {"c": FAR[:, None]}},
    "embeddings in another order": {"x": dict(reversed(X.items()))},
    "a row's id": {"ids": other(IDS, 0, 7)},
    "ids that order rows otherwise": {"ids": IDS[::-1].copy()},
    "a row less": {"order": np.arange(N - 1)},
    "seed": {"seed": 45},
    "folds": {"folds": 5},
    "split": {"split": "hash"},
    "split by group": {"split": "group"},
    "split by blocks": {"split": "spatial", "block_km": 200.0},
    "split by wider blocks": {"split": "spatial", "block_km": 400.0},
    "a buffer": {"split": "spatial", "block_km": 200.0, "buffer_km": 5.0},
    "inner folds": {"inner_folds": 2},
    "protocol": {"protocol": "paper", "ridge_lambda": (1.0,), "logistic_c": (1.0,)},
}
OF_ONE = {  # what changes the numbers of the regression, or of the classification, alone
    "a target": ({"y": other(Y, (5, 1), 0.5)}, 0),
    "the last bit of one": ({"y": other(Y, (5, 1), np.nextafter(Y[5, 1], 9))}, 0),
    "a target less": ({"y": Y[:, :1].copy()}, 0),
    "a task's name": ({"names": ("earth", "crop")}, 0),
    "the grid of λ": ({"ridge_lambda": (0.1, 1.0)}, 0),
    "another grid of λ": ({"ridge_lambda": (0.1, 2.0)}, 0),
    "penalty": ({"penalty": "banded"}, 0),
    "a label": ({"labels": other(LABELS, 3, "rice" if LABELS[3] == "maize" else "maize")}, 1),
    "the name of a class": ({"labels": np.where(LABELS == "rice", "wheat", LABELS)}, 1),
    "the grid of C": ({"logistic_c": (0.1, 1.0)}, 1),
    "tolerance": ({"logistic_tolerance": 1e-6}, 1),
}
NOTHING = {
    "row order under strict": {"order": np.random.default_rng(1).permutation(N)},
    "memory": {"max_memory_gib": 3.0},
    "platform": {"require_platform": "cpu"},
    "precision, where it is float64 anyway": {"precision": "float64"},
    "predictions": {"predictions": True},
    "interval": {"interval": "bootstrap", "bootstraps": 100},
    "confidence": {"confidence": 0.9},
    "unit": {"bootstrap_unit": "group"},
    "maps": {"map_by": "group"},
    "control": {"control": "permuted"},
}


@pytest.mark.parametrize("change", STRICT)
def test_what_changes_numbers_reuses_nothing(change):
    assert not names_of(BASE) & names_of(keys(**STRICT[change]))


@pytest.mark.parametrize("change", OF_ONE)
def test_what_changes_one_task_reuses_the_other_alone(change):
    given, group = OF_ONE[change]
    found = keys(**given)
    assert not names_of(BASE[group : group + 1]) & names_of(found[group : group + 1])
    assert BASE[1 - group] == found[1 - group]


@pytest.mark.parametrize("change", NOTHING)
def test_what_changes_no_number_reuses_all(change):
    assert keys(**NOTHING[change]) == BASE


def test_further_seeds_and_subsets_keep_the_others():
    assert names_of(BASE) < names_of(keys(seeds=3))
    assert names_of(keys(subsets=("a",))) < names_of(BASE)


def test_each_setting_is_in_the_key_or_named_as_one_that_is_not():
    named = {*cell_keys.IN_KEYS, *cell_keys.OF_TABLES, *cell_keys.OF_MACHINES}
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert named < fields
    tested = {key for given in (STRICT | NOTHING).values() for key in given}
    tested |= {key for given, _ in OF_ONE.values() for key in given}
    # `subsets` and the like are tested above, a probe below.
    untested = fields - tested - {"seeds", "subsets", "max_subset_size", "probe"}
    of_runs = {"stream", "passes", "profile", "shard", "coordinator", "num_processes",
               "process_id"}  # fmt: skip
    assert untested == {"bootstrap_choices", "map_km"} | of_runs and untested < named


def test_under_paper_the_order_of_rows_counts():
    paper = {"protocol": "paper", "ridge_lambda": (1.0,), "logistic_c": (1.0,)}
    shuffled = keys(order=np.random.default_rng(1).permutation(N), **paper)
    assert not names_of(keys(**paper)) & names_of(shuffled)


def test_another_engine_reuses_nothing(monkeypatch):
    monkeypatch.setattr(cell_keys, "engine_digest", lambda: "another")
    assert not names_of(BASE) & names_of(keys())


def test_a_function_of_the_users_own_is_of_this_process(monkeypatch):
    def probe(*_):
        raise AssertionError

    before = names_of(keys(probe=probe))
    assert before == names_of(keys(probe=probe)) and not before & names_of(BASE)
    monkeypatch.setattr(cell_keys, "RUN", "another process")
    assert not before & names_of(keys(probe=probe))


def test_the_key_of_a_piece_names_its_seeds_and_subsets():
    settings = Settings(folds=4, seeds=2)
    plan = make_plan(align_arrays(X, {"soil": Y}), settings, jax.devices("cpu")[0])
    key = keys_of(plan, Hashes())[0, 0]
    part = part_of(key, plan, Piece(0, (1,), ((1,), (0, 1))))
    assert part == (key.base, key.seeds[1:], ("b", "a+b"))


def test_units_are_told_apart_by_all_they_are_given():
    arrays = np.ones(3), np.zeros((2, 2))
    found = {
        unit_key(name, static, given, Hashes())
        for name in ("refit", "nested")
        for static in ((1, "keep"), (1, "redo"))
        for given in (arrays, arrays[::-1], (np.ones(3, np.float32), arrays[1]))
    }
    assert len(found) == 12
    assert unit_key("refit", (1,), arrays, Hashes()) == unit_key("refit", (1,), arrays, Hashes())


def test_a_hash_is_of_the_array_that_is_there_now():
    hashes, seen = Hashes(), set()
    for value in range(50):  # each array is gone before the next one, which may get its id
        seen.add(hashes.of(np.full(10, value)))
    assert len(seen) == 50
    texts = np.array(["a", "bc"], object), np.array(["ab", "c"], object)
    assert len({hashes.of(array) for array in texts}) == 2
